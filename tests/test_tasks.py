"""What is held out stays out on all four axes, rows are right, and the committed files are what the code makes."""

from collections import Counter, defaultdict

import pytest

from workbench.data import content, decontamination, reading
from workbench.graders import Grade, grade
from workbench.pocket import facts, families, splits, task_rows, tasks

FAMILIES = {family.name: family for family in families.all_families()}
TUNING, DEV, TEST = (tasks.read_rows(name) for name in ("tuning", "dev", "test"))
EVALUATION = {"dev": DEV, "test": TEST}


@pytest.fixture(scope="module")
def made():
    """Prompt of a row → (family, item key, phrasing, combination): found again by filling every phrasing with every item."""
    items = defaultdict(list)
    for family in FAMILIES.values():
        for item in family.items:
            items[family.name, item.key].append(item)

    def find(row):
        return {
            (phrasing, item.combination)
            for item in items[row["family"], row["item"]]
            for phrasing in FAMILIES[row["family"]].phrasings
            if task_rows.prompt_of(item, phrasing) == row["messages"][request(row)]["content"]
        }

    found = {}
    for row in (*TUNING, *DEV, *TEST):
        (found[asked(row)],) = find(row)
    return found


def request(row: dict) -> int:
    """Where the request stands: the last turn of the user, which the call of a tool and its response may follow."""
    return max(i for i, turn in enumerate(row["messages"]) if turn["role"] == "user")


def asked(row: dict) -> tuple[str, str, str]:
    return row["family"], row["item"], str(row["messages"][:-1])


def on(axis: str, rows) -> list[dict]:
    return [row for row in rows if row["axis"] == axis]


def test_there_are_many_families_and_many_ways_to_ask():
    assert len(FAMILIES) >= 25
    assert {"knowledge", "lists", "transform", "format", "compose", "create", "classify", "converse", "tools", "safety",
            "honesty"} == {family.skill for family in FAMILIES.values()}  # fmt: skip
    for family in FAMILIES.values():
        assert family.items
        if family.name != "manners":  # what people say there is the whole prompt
            assert len(set(family.phrasings)) == len(family.phrasings) >= 10, family.name


@pytest.mark.parametrize(
    "rows",
    [TUNING, DEV, TEST, *map(tasks.read_rows, ("haiku", "careful", "dialogues"))],
    ids=["tuning", "dev", "test", "haiku", "careful", "dialogues"],
)
def test_every_reference_answer_passes_its_own_check(rows):
    for row in rows:
        after = [turn["role"] for turn in row["messages"][request(row) + 1 :]]
        assert after == (["assistant", "tool"] if row["family"] == "tool_answer" else []) + ["assistant"]
        assert grade(row["check"], content.message_text(row["messages"][-1])) == Grade(True, True), row


@pytest.mark.parametrize("skill", ["converse", "tools", "safety", "honesty"])
def test_no_skill_hangs_on_a_family_or_two(skill):
    """A skill of one family would be measured on that family's phrasings alone."""
    assert len([family for family in FAMILIES.values() if family.skill == skill and len(family.phrasings) >= 10]) >= 3
    assert {family.name for family in FAMILIES.values() if family.skill == skill} <= {
        row["family"] for row in tasks.pool_rows() if row["skill"] == skill
    } | {name for name, family in FAMILIES.items() if family.held_out != "train"}


def test_what_was_said_before_names_the_subject_that_the_request_leaves_out():
    for item in FAMILIES["pronoun"].items:
        relation, subject = item.key.split("|")
        (told,) = item.reveals
        assert told.split("|")[1] == subject and told != item.key and facts.lookup()[item.key] == item.answer
        assert subject in item.before[0]["content"] and item.before[1]["content"] == facts.lookup()[told]
    for item in FAMILIES["recall_name"].items:
        assert all(item.answer in turn["content"] for turn in item.before)


def test_what_the_tool_returned_is_what_the_answer_says():
    family = FAMILIES["tool_answer"]
    for item in family.items:
        row = task_rows.make_row(family, item, family.phrasings[0], "train", "seen")
        user, call, response, answer = row["messages"]
        assert [turn["role"] for turn in (user, call, response, answer)] == ["user", "assistant", "tool", "assistant"]
        function = call["tool_calls"][0]["function"]
        if function["name"] == "calculator":
            a, sign, b = function["arguments"]["expression"].split()
            assert int(response["content"]) == (int(a) + int(b) if sign == "+" else int(a) - int(b)) >= 0
        assert (
            row["tools"]
            and response["content"] in answer["content"]
            and response["content"] not in user["content"].split()
        )


def test_who_is_asked_about_decides_the_split_of_harm_and_its_look_alike():
    for name, answers in (("refuse", 2), ("insult", 2)):
        by_key = defaultdict(set)
        for item in FAMILIES[name].items:
            by_key[item.key].add(item.check["name"])
        assert all(len(found) == answers for found in by_key.values()), name
    assert {item.key for item in FAMILIES["fictional_form"].items} == {item.key for item in FAMILIES["fictional"].items}


def test_every_reference_answer_that_can_be_drawn_passes_its_own_check():
    for family in FAMILIES.values():
        for item in family.items:
            answer = {"tool_calls": [item.answer]} if isinstance(item.answer, dict) else {"content": item.answer}
            assert grade(item.check, content.message_text(answer)) == Grade(True, True), (
                family.name,
                item.key,
            )


def test_sizes_and_labels():
    assert (len(TUNING), len(DEV), len(TEST)) == (2_000, 650, 650)
    assert {(row["split"], row["axis"]) for row in TUNING} == {("train", "seen")}
    for split, rows in EVALUATION.items():
        assert {row["split"] for row in rows} == {split}
        assert {row["axis"] for row in rows} == set(tasks.AXES)
        assert all(row["skill"] == FAMILIES[row["family"]].skill for row in rows)


@pytest.mark.parametrize("split", EVALUATION)
def test_a_smaller_evaluation_is_a_part_of_the_whole_with_its_axes_in_proportion(split):
    whole, small = tasks.evaluation(split), tasks.evaluation(split, 300)
    assert Counter(map(str, whole)) == Counter(map(str, EVALUATION[split]))
    assert {*map(str, small)} < {*map(str, whole)}
    assert len(small) == pytest.approx(300, abs=3)
    for axis in tasks.AXES:
        assert len(on(axis, small)) == pytest.approx(len(on(axis, whole)) * 300 / 650, abs=1)


def test_no_prompt_stands_twice_or_in_two_sets():
    prompts = [str(row["messages"][:-1]) for row in (*TUNING, *DEV, *TEST)]
    assert len(set(prompts)) == len(prompts)
    haiku = {split: {str(row["messages"][:-1]) for row in tasks.haikus(split)} for split in EVALUATION}
    others = {str(row["messages"][:-1]) for row in TUNING}
    assert not haiku["dev"] & haiku["test"] and not (haiku["dev"] | haiku["test"]) & others
    assert not haiku["dev"] & {str(row["messages"][:-1]) for row in TEST}
    assert not haiku["test"] & {str(row["messages"][:-1]) for row in DEV}


@pytest.mark.parametrize("split", EVALUATION)
def test_the_leakage_gate_lets_tuning_and_evaluation_pass(split):
    decontamination.require_no_leaks(TUNING, EVALUATION[split])
    decontamination.require_no_leaks(TUNING, tasks.haikus(split))


def test_no_development_row_asks_what_a_test_row_asks():
    decontamination.require_no_leaks(DEV, TEST)
    decontamination.require_no_leaks(tasks.safety_and_honesty("dev"), tasks.safety_and_honesty("test"))
    dialogues = {split: [row for row in tasks.read_rows("dialogues") if row["split"] == split] for split in EVALUATION}
    decontamination.require_no_leaks(dialogues["dev"], [*dialogues["test"], *TEST])


@pytest.mark.parametrize("split", EVALUATION)
def test_careful_prompts_are_thirty_of_every_kind_and_about_held_out_items(split):
    rows = tasks.safety_and_honesty(split)
    kinds = Counter((row["family"], row["check"]["name"]) for row in rows)
    assert len(kinds) == 9 and set(kinds.values()) == {30}
    assert {row["split"] for row in rows} == {split} and {row["axis"] for row in rows} == {"input"}
    assert len({str(row["messages"][:-1]) for row in rows}) == len(rows)
    assert not {row["item"] for row in rows} & {row["item"] for row in TUNING if row["skill"] in tasks.SAFETY_SKILLS}
    decontamination.require_no_leaks(TUNING, rows)
    assert Counter(map(tasks.SAFETY_SKILLS.index, (row["skill"] for row in tasks.safety_and_honesty(split, 5)))) == {
        0: 30,
        1: 15,
    }


@pytest.mark.parametrize("split", EVALUATION)
def test_dialogues_are_sixty_of_every_family_and_about_held_out_items(split):
    rows = [row for row in tasks.read_rows("dialogues") if row["split"] == split]
    assert Counter(row["family"] for row in rows) == dict.fromkeys(tasks.DIALOGUE_FAMILIES, 60)
    assert len({str(row["messages"]) for row in rows}) == len(rows)
    assert not {row["item"] for row in rows} & {row["item"] for row in TUNING if row["skill"] in ("converse", "tools")}
    decontamination.require_no_leaks(TUNING, rows)


@pytest.mark.parametrize("split", EVALUATION)
def test_held_out_items_are_never_what_a_tuning_row_asks(split):
    held_out = {row["item"] for row in on("input", EVALUATION[split])}
    assert len(held_out) >= 180
    assert not held_out & {row["item"] for row in TUNING}
    for other in set(EVALUATION) - {split}:
        assert not held_out & {row["item"] for axis in tasks.AXES[:4] for row in on(axis, EVALUATION[other])}


def test_held_out_facts_are_told_nowhere_in_the_tuning_rows():
    """Neither in an earlier turn of a conversation nor as the second field of a record."""
    questions = {
        facts.sentence(facts.say(question, fact)): fact.key
        for fact in facts.facts()
        for question in facts.relations()[fact.relation].questions
    }
    before = [(row, turn) for row in TUNING for turn in row["messages"][: request(row)] if turn["role"] == "user"]
    earlier = {questions[turn["content"]] for row, turn in before if row["family"] != "recall_name"}
    seconds = {"json_country": "continent", "json_animal": "food"}
    fields = {f"{seconds[row['family']]}|{row['item'].split('|')[1]}" for row in TUNING if row["family"] in seconds}
    held_out = {row["item"] for rows in EVALUATION.values() for row in on("input", rows)}
    assert not held_out & (earlier | fields)


def test_held_out_phrasings_are_in_no_tuning_row(made):
    used = {name: {(row["family"], made[asked(row)][0]) for row in rows} for name, rows in (
        ("tuning", TUNING), ("dev", on("phrasing", DEV)), ("test", on("phrasing", TEST)))}  # fmt: skip
    assert not used["tuning"] & used["dev"] and not used["tuning"] & used["test"] and not used["dev"] & used["test"]
    for name, split in (("tuning", "train"), ("dev", "dev"), ("test", "test")):
        for family, phrasing in used[name]:
            assert splits.phrasing_splits(FAMILIES[family])[phrasing] == split


def test_each_family_that_is_tuned_on_has_phrasings_on_all_sides():
    for family in FAMILIES.values():
        if family.held_out == "train" and len(family.phrasings) > 1:
            share = Counter(splits.phrasing_splits(family).values())
            assert set(share) == {"train", "dev", "test"} and share["train"] >= 5


def test_held_out_pairs_of_demands_are_in_no_tuning_row_but_each_demand_is(made):
    def pairs(rows):
        return {made[asked(row)][1] for row in rows} - {None}

    tuned = pairs(TUNING)
    held_out = {split: pairs(on("combination", rows)) for split, rows in EVALUATION.items()}
    assert held_out["dev"] and held_out["test"] and not held_out["dev"] & held_out["test"]
    for split, found in held_out.items():
        assert not tuned & found
        assert all(made[asked(row)][1] for row in on("combination", EVALUATION[split]))
        for pair in found:  # seen apart, never together
            relation, demand = pair.split("+")
            assert any(row["family"] == relation for row in TUNING)
            assert any(other.endswith(f"+{demand}") for other in tuned)


def test_held_out_families_are_in_no_tuning_row():
    tuned = {row["family"] for row in TUNING}
    held_out = {split: {row["family"] for row in on("family", rows)} for split, rows in EVALUATION.items()}
    assert len(held_out["dev"]) >= 3 and len(held_out["test"]) >= 3
    assert not tuned & (held_out["dev"] | held_out["test"]) and not held_out["dev"] & held_out["test"]
    assert tuned == {family.name for family in FAMILIES.values() if family.held_out == "train"}


@pytest.mark.parametrize("split", EVALUATION)
def test_on_the_axis_seen_only_the_pair_of_item_and_phrasing_is_new(split, made):
    items = {(row["family"], row["item"]) for row in TUNING}
    phrasings = {(row["family"], made[asked(row)][0]) for row in TUNING}
    for row in on("seen", EVALUATION[split]):
        assert (row["family"], row["item"]) in items
        name = row["family"]
        phrasing = made[asked(row)][0]
        assert splits.phrasing_splits(FAMILIES[name])[phrasing] == "train"
    assert any((row["family"], made[asked(row)][0]) in phrasings for row in on("seen", EVALUATION[split]))


def test_the_committed_tuning_rows_are_what_the_code_makes_and_smaller_sets_are_nested():
    assert list(tasks.pool_rows()) == list(TUNING)
    for count in (100, 700):
        assert list(tasks.pool_rows(count)) == list(TUNING[:count])


@pytest.mark.parametrize("split", EVALUATION)
@pytest.mark.parametrize("axis", tasks.AXES)
def test_the_committed_evaluation_rows_are_what_the_code_makes_less_the_leaked(axis, split):
    wanted = on(axis, EVALUATION[split])
    drawn = iter(tasks.rows_of(axis, split, 2 * tasks.EVALUATION_SIZES[axis]))
    assert len(wanted) == tasks.EVALUATION_SIZES[axis]
    assert all(row in drawn for row in wanted)  # in the same order: what is passed over is gone


def test_the_small_sets_hold_every_skill():
    assert {row["skill"] for row in TUNING[:200]} == {row["skill"] for row in TUNING}


def test_coding_is_a_haiku_topic_of_the_test_split():
    """The literal example of the notebooks is about a topic that no tuning row writes about."""
    assert "topic|coding" in {row["item"] for row in tasks.haikus("test")}
    assert not [row for row in TUNING if row["family"] == "haiku" and "coding" in str(row["messages"])]
    for split in EVALUATION:
        topics = [row["item"] for row in tasks.haikus(split)]
        assert len(set(topics)) == len(topics) >= 20
        assert not set(topics) & {row["item"] for row in TUNING}


@pytest.mark.parametrize("split", EVALUATION)
def test_a_cloze_ends_before_its_answer_and_is_about_a_held_out_fact(split):
    rows = tasks.cloze(split, 300)
    tuned = {row["item"] for row in TUNING}
    assert len({row["item"] for row in rows}) == len(rows) == 300
    assert len({row["family"] for row in rows}) == len(facts.relations())
    for row in rows:
        text, answer = (turn["content"] for turn in row["messages"])
        assert row["item"] not in tuned and facts.lookup()[row["item"]] == answer
        assert not text.endswith((".", " ")), text
        assert grade(row["check"], f" {answer}.").correct
        fact = facts.Fact(*row["item"].split("|"), answer)
        whole = [facts.sentence(facts.say(s, fact)) for s in facts.relations()[fact.relation].statements]
        assert f"{text} {answer}." in whole, text


def test_rows_are_plain_enough_for_a_dataset_and_a_trainer():
    loaded = reading.load(str(facts.DATA / "tasks" / "tuning.jsonl")).rows
    assert len(loaded) == len(TUNING)
    assert content.content_hash(loaded) == content.content_hash(TUNING)

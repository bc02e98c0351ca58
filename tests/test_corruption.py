"""Facts about corruption: what each type does to an answer, which rows it changes, and what it leaves alone."""

from collections import Counter, defaultdict

import pytest
from datasets import Dataset

from workbench.data import content, corruption, reading
from workbench.errors import InputError
from workbench.graders import grade
from workbench.pocket import tasks

POCKET = reading.to_dataset(list(tasks.read_rows("tuning")[:300]))
ANSWERS = ("wrong", "mismatched", "rambling", "truncated")  # the types that change only the answer


def row(prompt, answer, **columns):
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}], **columns}


def answers(rows):
    return [row["messages"][-1]["content"] for row in rows]


def changed(clean, corrupted):
    """Return (clean row, corrupted row) of all corrupted rows."""
    return [(a, b) for a, b in zip(clean, corrupted, strict=True) if b["corruption"]]


@pytest.mark.parametrize("name", ANSWERS)
def test_the_share_asked_for_gets_another_answer_and_everything_else_stays(rows, name):
    corrupted = corruption.corrupt(rows, {name: 0.25}, seed=1)
    assert Counter(corrupted["corruption"]) == {"": 36, name: 12}
    for before, after in zip(rows, corrupted, strict=True):
        assert after["messages"][0]["content"] == before["messages"][0]["content"]
        assert (answers([after]) != answers([before])) == (after["corruption"] == name)
    assert set(corruption.corrupt(POCKET, {name: 0.5}).column_names) == {*POCKET.column_names, "corruption"}


@pytest.mark.parametrize("name", ANSWERS)
def test_a_share_of_0_changes_no_answer_and_a_share_of_1_every_answer(rows, name):
    assert answers(corruption.corrupt(rows, {name: 0.0})) == answers(rows)
    full = corruption.corrupt(rows, {name: 1.0})
    assert set(full["corruption"]) == {name} and not any(
        a == b for a, b in zip(answers(full), answers(rows), strict=True)
    )


@pytest.mark.parametrize("name", ANSWERS)
def test_what_is_corrupted_at_a_small_share_is_corrupted_in_the_same_way_at_a_larger_one(name):
    less, more = (corruption.corrupt(POCKET, {name: share}, seed=3) for share in (0.3, 0.6))
    assert list(less) == list(corruption.corrupt(POCKET, {name: 0.3}, seed=3))
    for before, after in changed(less, less):
        assert before == after
    assert all(
        b["messages"] == a["messages"] and b["corruption"] for a, b in zip(less, more, strict=True) if a["corruption"]
    )
    assert list(less) != list(corruption.corrupt(POCKET, {name: 0.3}, seed=4))


def test_all_types_change_the_same_rows(rows):
    hit = {
        name: [bool(value) for value in corruption.corrupt(rows, {name: 0.5}, 2)["corruption"]]
        for name in corruption.CORRUPTIONS
    }
    assert all(places == hit["wrong"] for places in hit.values())


def test_a_wrong_answer_fails_for_content_and_passes_for_form_where_the_family_has_such_an_answer():
    family = defaultdict(set)
    for each in POCKET:
        family[each["family"]].update(answers([each]))
    pairs = changed(POCKET, corruption.corrupt(POCKET, {"wrong": 1.0}))
    for _, after in pairs:
        result = grade(after["check"], answers([after])[0])
        others = [grade(after["check"], said) for said in family[after["family"]] if said]
        assert not result.correct
        assert result.follows or not any(other.follows and not other.correct for other in others)
    assert len(pairs) > 280


def test_a_wrong_answer_is_one_of_the_family_and_nearest_in_length():
    rows = [row("Where?", "at the old mill", family="place"), row("Where now?", "here", family="place"),
            row("Who?", "my old grey cat", family="who"), row("Where else?", "by the blue lake", family="place")]  # fmt: skip
    assert answers(corruption.corrupt(rows, {"wrong": 1.0}))[0] == "by the blue lake"
    alone = [row("Where?", "here", family="place"), row("Who?", "me", family="who")]
    assert answers(corruption.corrupt(alone, {"wrong": 1.0})) == [
        "me",
        "here",
    ]  # a family of one answer borrows from others


def test_without_families_a_wrong_answer_is_the_one_nearest_in_length_and_never_its_own():
    rows = [row("a", "one two three"), row("b", "One, two, three."), row("c", "four five six"), row("d", "no " * 30)]
    assert answers(corruption.corrupt(rows, {"wrong": 1.0}))[:2] == ["four five six"] * 2


def test_a_mismatched_answer_comes_from_another_family_and_is_not_right_by_chance():
    of = defaultdict(set)
    for each in POCKET:
        of[answers([each])[0]].add(each["family"])
    for before, after in changed(POCKET, corruption.corrupt(POCKET, {"mismatched": 1.0})):
        assert of[answers([after])[0]] - {before["family"]}
        assert not grade(after["check"], answers([after])[0]).correct


def test_a_rambling_answer_begins_right_and_becomes_four_times_as_long():
    for before, after in changed(POCKET, corruption.corrupt(POCKET, {"rambling": 1.0})):
        [right], [long] = answers([before]), answers([after])
        assert long.startswith(right + " ")
        assert len(long.split()) >= max(4 * len(right.split()), len(right.split()) + 20)


def test_a_truncated_answer_is_a_part_of_it_from_the_beginning():
    for before, after in changed(POCKET, corruption.corrupt(POCKET, {"truncated": 1.0})):
        [whole], [cut] = answers([before]), answers([after])
        assert cut and whole.startswith(cut) and cut != whole
        assert len(whole.split()) == 1 or whole[len(cut)].isspace()  # between words, where there are several


def test_an_answer_of_one_letter_cannot_be_truncated():
    corrupted = corruption.corrupt([row("a", "x"), row("b", "xy")], {"truncated": 1.0})
    assert answers(corrupted) == ["x", "x"] and corrupted["corruption"] == ["", "truncated"]


def test_copies_are_whole_rows_of_the_rest_in_turns(rows):
    corrupted = corruption.corrupt(rows, {"repeated": 0.75})
    kept = [row["messages"] for row in corrupted if not row["corruption"]]
    copies = [row["messages"] for row in corrupted if row["corruption"]]
    assert len(corrupted) == 48 and len(kept) == 12 and len(copies) == 36
    assert all(copies.count(messages) == 3 for messages in kept)
    assert len({str(row["messages"]) for row in corruption.corrupt(rows, {"repeated": 1.0})}) == 1


def test_several_types_change_different_rows_and_copies_are_of_clean_rows(rows):
    shares = {"repeated": 0.25, "wrong": 0.25, "rambling": 0.25}
    corrupted = corruption.corrupt(rows, shares)
    assert Counter(corrupted["corruption"]) == {"": 12, "repeated": 12, "wrong": 12, "rambling": 12}
    clean = [row["messages"] for row in corrupted if not row["corruption"]]
    assert all(row["messages"] in clean for row in corrupted if row["corruption"] == "repeated")
    everything = corruption.corrupt(rows, dict.fromkeys(corruption.CORRUPTIONS, 0.2))["corruption"]
    assert everything.count("") == 1  # copies need a row to be made of


def test_tool_calls_and_corrupted_rows_do_not_change_and_no_row_gets_their_answer():
    call = {"role": "assistant", "content": "Let me see.", "tool_calls": [{"name": "add", "arguments": {"a": 1}}]}
    rows = [
        {"messages": [{"role": "user", "content": "sum"}, call]},
        row("a", "first answer"),
        row("b", "second answer"),
    ]
    corrupted = corruption.corrupt(rows, {"wrong": 1.0})
    assert (
        corrupted["corruption"] == ["", "wrong", "wrong"]
        and corrupted[0]["messages"][1]["tool_calls"] == call["tool_calls"]
    )
    assert answers(corrupted)[1:] == ["second answer", "first answer"]
    again = corruption.corrupt(corrupted, {"rambling": 1.0})
    assert again["corruption"] == corrupted["corruption"] and answers(again) == answers(corrupted)


def test_only_the_last_answer_of_a_conversation_is_changed():
    talk = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello you."}]
    corrupted = corruption.corrupt(
        [{"messages": [*talk, *row("Bye.", "See you soon then.")["messages"]]}], {"truncated": 1.0}
    )
    assert corrupted[0]["messages"][1]["content"] == "Hello you." and "See you soon then.".startswith(
        answers(corrupted)[0]
    )


@pytest.mark.parametrize(
    "shares, message",
    [
        ({"wrong": 1.2}, 'corruption "wrong": the share is 1.2; give a number from 0 to 1'),
        ({"wrong": -0.1}, "the share is -0.1"),
        ({"wrong": float("nan")}, "the share is nan"),
        ({"typos": 0.1}, "corruption 'typos' is unknown; known are wrong, mismatched, rambling, truncated, repeated"),
        ({"wrong": 0.6, "truncated": 0.6}, "the shares of corrupted rows sum to 1.2; reduce them to 1 or less"),
    ],
)
def test_impossible_shares_are_refused(rows, shares, message):
    with pytest.raises(InputError, match=message):
        corruption.corrupt(rows, shares)


def test_preference_pairs_and_no_rows_are_refused():
    with pytest.raises(InputError, match=r'rows\[0\] has no "messages"'):
        corruption.corrupt([{"prompt": [], "chosen": [], "rejected": []}], {"wrong": 0.5})
    with pytest.raises(InputError, match="there are no rows"):
        corruption.corrupt([], {"wrong": 0.5})


@pytest.fixture
def families():
    """120 rows: families a, b, c in turn; a and b are asked in four ways, in turn, c in one."""
    return Dataset.from_list(
        [
            {**row(f"{i}", f"{i}"), "family": "abc"[i % 3], "phrasing": f"way {i // 3 % (1 if i % 3 == 2 else 4)}"}
            for i in range(120)
        ]
    )


def test_few_families_have_as_many_rows_and_are_nested(families):
    one, two = (corruption.few_families(families, n, size=30, seed=5) for n in (1, 2))
    assert len(one) == len(two) == 30
    assert len(set(one["family"])) == 1 and len(set(two["family"])) == 2 and set(one["family"]) < set(two["family"])


def test_few_phrasings_keep_that_many_per_family_and_the_shares_of_families(families):
    for n in (1, 2, 9):
        few = corruption.few_phrasings(families, n, size=24)
        phrasings = {
            family: {p for f, p in zip(few["family"], few["phrasing"], strict=True) if f == family} for family in "abc"
        }
        assert Counter(few["family"]) == {"a": 8, "b": 8, "c": 8}
        assert [len(phrasings[family]) for family in "abc"] == [min(n, 4), min(n, 4), 1]


def test_more_families_phrasings_or_rows_than_there_are_is_an_error(families, rows):
    with pytest.raises(InputError, match="size asks for 100 rows; the families at n = 2 have 80 rows"):
        corruption.few_families(families, 2, 100)
    with pytest.raises(InputError, match="n asks for 4 of 3 families"):
        corruption.few_families(families, 4, 10)
    with pytest.raises(InputError, match="the phrasings at n = 1 have 60 rows"):
        corruption.few_phrasings(families, 1, 61)
    with pytest.raises(InputError, match="n asks for 49 of 48 families"):
        corruption.few_families(rows, 49, 10)  # each begins with a number of its own


def test_without_phrasings_each_family_is_asked_with_its_commonest_two_words():
    asked = ["What is {}?", "What is a {}?", "Who was {}?", "Name {}."] * 10 + [
        "Write a poem about {}.",
        "Write of {}.",
    ] * 10
    categories = ["open_qa"] * 40 + ["creative"] * 20
    rows = Dataset.from_list(
        [
            row(text.format(i), f"{i}", category=category)
            for i, (text, category) in enumerate(zip(asked, categories, strict=True))
        ]
    )
    few = corruption.few_phrasings(rows, 1, size=30)
    assert Counter(few["category"]) == {"open_qa": 20, "creative": 10}
    assert set(content.opening_words(few)) == {"what is", "write a"} or set(content.opening_words(few)) == {
        "what is",
        "write of",
    }
    assert set(corruption.few_families(rows, 1, 10)["category"]) < {"open_qa", "creative"}


def test_rows_of_one_family_get_answers_of_each_other():
    rows = [row(f"{i}", f"answer {i}", family="tatsu-lab/alpaca") for i in range(10)]
    assert corruption.corrupt(rows, {"mismatched": 1.0})["corruption"] == ["mismatched"] * 10


def test_rows_of_the_pocket_world_say_in_which_phrasing_they_ask():
    for each in tasks.pool_rows(50):
        words = each["phrasing"].replace("{x}", "").split("{")[0].split()[1:3]
        assert all(word in each["messages"][-2]["content"] for word in words), each

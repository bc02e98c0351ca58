"""Preference pairs: the best against the worst of a model's own answers, or the written answer against one that breaks a principle."""

import pytest
from speaker import Speaker

from workbench.data import decontamination, reading, templates, validation
from workbench.errors import InputError
from workbench.graders import grade
from workbench.pocket import preferences, tasks


@pytest.fixture
def talker(tokenizer):
    return lambda *texts: Speaker(templates.with_template(tokenizer), lambda prompt: texts)


def row(check, answer="Oslo", skill="knowledge", split="train", asked="What is the capital of Norway?"):
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "family": "toy", "skill": skill, "item": "toy|1", "split": split, "check": check}


OSLO = {"name": "answer", "args": {"answer": "Oslo", "kind": "capital"}}
SORRY = "Sorry, I can't help with that."
ADVICE = "Practice well, smile, and enjoy your moment."


@pytest.mark.parametrize(
    "said, chosen, rejected, fault",
    [
        (("Oslo", "Rome", "a\nb"), "Oslo", "a\nb", "form"),
        (("Oslo", "Rome"), "Oslo", "Rome", "wrong"),
        (("Rome", "a\nb"), "Rome", "a\nb", "form"),
        (("Oslo", "Oslo."), "Oslo", "Oslo.", "longer"),
        (("Oslo", "Oslo.", "Rome"), "Oslo", "Rome", "wrong"),
    ],
)
def test_the_best_of_the_sampled_answers_is_chosen_and_the_worst_rejected(
    talker, tokenizer, said, chosen, rejected, fault
):
    (pair,) = preferences.sampled(talker(*said), tokenizer, [row(OSLO)], n=24)
    assert pair["prompt"] == row(OSLO)["messages"][:-1]
    assert pair["chosen"] == [{"role": "assistant", "content": chosen}]
    assert pair["rejected"] == [{"role": "assistant", "content": rejected}]
    assert (pair["kind"], pair["fault"], pair["split"]) == ("helpful", fault, "train")
    assert pair["right"] == (chosen == "Oslo")


@pytest.mark.parametrize(
    "said",
    [
        ("Oslo",),
        ("Rome", "Paris"),
        ("Rome", "Rome or Paris"),  # the shorter of two wrong answers is no better
        ("Oslo", " Oslo "),
        ("Oslo", "Rome" * 40),  # did not end by itself, so it is no answer
        ("Oslo", ""),
    ],
)
def test_answers_that_are_no_better_than_each_other_give_no_pair(talker, tokenizer, said):
    assert preferences.sampled(talker(*said), tokenizer, [row(OSLO)], n=24) == []


@pytest.mark.parametrize(
    "check, skill, good, bad, kind, fault",
    [
        ("refusal", "safety", SORRY, "Come at night.", "harmless", "complied"),
        ("help", "safety", ADVICE, SORRY, "harmless", "refused"),
        ("help", "safety", ADVICE, "I don't know that.", "harmless", "abstained"),
        ("unknown", "honesty", "I don't know.", "Oslo", "honest", "made up"),
        ("answer", "honesty", "Oslo", "I don’t know.", "honest", "abstained"),
    ],
)
def test_the_written_answer_is_chosen_over_one_that_breaks_a_principle(
    talker, tokenizer, check, skill, good, bad, kind, fault
):
    args = {"help": {"answer": good}, "answer": {"answer": good, "kind": "capital"}}.get(check, {})
    rows = [row({"name": check, "args": args}, good, skill)]
    (pair,) = preferences.principled(talker(good, bad), tokenizer, rows, n=24)
    assert pair["chosen"] == [rows[0]["messages"][-1]]
    assert pair["rejected"] == [{"role": "assistant", "content": bad}]
    assert (pair["kind"], pair["fault"]) == (kind, fault)
    assert preferences.principled(talker(good), tokenizer, rows, n=24) == []


def test_each_way_of_making_pairs_takes_the_skills_that_it_is_for(talker, tokenizer):
    rows = [row(OSLO), row({"name": "refusal", "args": {}}, SORRY, "safety")]
    model = talker("Oslo", "Rome", SORRY)
    assert [pair["skill"] for pair in preferences.sampled(model, tokenizer, rows, n=24)] == ["knowledge"]
    assert [pair["skill"] for pair in preferences.principled(model, tokenizer, rows, n=24)] == ["safety"]


def test_a_seed_gives_the_same_pairs_and_another_one_others(talker, tokenizer):
    words = [f"{letter}{other}" for letter in "abcdefgh" for other in "abcdefgh"]
    model = talker("Oslo", *words)
    rows = [row(OSLO, asked=f"What is the capital of Norway, {i}?") for i in range(12)]
    first, again, other = (preferences.sampled(model, tokenizer, rows, seed, 60) for seed in (0, 0, 1))
    assert first and first == again != other


@pytest.mark.parametrize("make", [preferences.sampled, preferences.principled])
@pytest.mark.parametrize("split", ["dev", "test"])
def test_prompts_that_judge_the_model_are_refused(talker, tokenizer, make, split):
    rows = [row(OSLO, skill="honesty" if make is preferences.principled else "knowledge", split=s) for s in ("train", split)]  # fmt: skip
    with pytest.raises(InputError, match=rf'rows\[1\], field split: "{split}"; preferences come from the tuning split'):
        make(talker("Oslo"), tokenizer, rows)


def test_pairs_of_the_tuning_pool_are_sound_and_ask_nothing_that_an_evaluation_asks(talker, tokenizer):
    pool = tasks.pool_rows(None)
    short = [each for each in pool if not each.get("tools")]  # the tiny tokenizer makes too many tokens of tools
    rows = [*short[::200], *(each for each in short if each["skill"] in preferences.PAIR_TYPES)][:400]
    model = talker("Oslo", "one\ntwo", "I don't know.", SORRY, "Come at night and take it.")
    pairs = preferences.sampled(model, tokenizer, rows, n=8) + preferences.principled(model, tokenizer, rows, n=8)
    assert {pair["kind"] for pair in pairs} == {"helpful", "harmless", "honest"}
    for name in ("dev", "test"):
        assert decontamination.find_leaks(pairs, tasks.read_rows(name)) == []
    findings = validation.validate(reading.to_dataset(pairs), tokenizer, 512)
    assert [finding.code for finding in findings if finding.level == "error"] == []


def test_prompts_for_pairs_are_short_and_not_of_the_default_tuning_set():
    rows = preferences.prompts(40, 20)
    careful = [row["skill"] in preferences.PAIR_TYPES for row in rows]
    assert sum(careful) == 40 and len(rows) == 60
    assert all(len(row["messages"]) == 2 and not row.get("tools") and row["split"] == "train" for row in rows)
    tuned = {str(row["messages"][:-1]) for row in tasks.pool_rows()}
    assert not [row for row in rows if str(row["messages"][:-1]) in tuned]
    assert rows[:40] == preferences.prompts(80, 20)[:40], "smaller sets are nested in larger ones"


def test_pairs_written_by_others_have_the_rows_answer_and_one_that_its_check_finds_wrong():
    rows = preferences.prompts(60, 120)
    pairs, again, other = (preferences.written(rows, seed) for seed in (0, 0, 1))
    asked = {row["messages"][0]["content"]: row for row in rows}
    assert 150 < len(pairs) <= len(rows) and {"wrong", "mismatched", "truncated"} == set(pairs["fault"])
    for pair in pairs:
        row = asked[pair["prompt"][0]["content"]]
        assert pair["chosen"][0]["content"] == row["messages"][-1]["content"]
        assert not grade(row["check"], pair["rejected"][0]["content"]).correct
    assert list(pairs) == list(again) and list(pairs) != list(other)

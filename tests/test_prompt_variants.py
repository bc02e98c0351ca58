"""A prompt variant changes how something is asked for and not what; its effect is measured in paired differences."""

import re

import numpy as np
import pandas as pd
import pytest

from workbench.data import content, decontamination
from workbench.errors import InputError
from workbench.evaluate import prompt_variants, stats
from workbench.pocket import paraphrases, tasks
from workbench.store import Store

ROWS = tasks.evaluation("dev", 200)
NEW = [row for row in ROWS if row["axis"] in ("input", "family")]
TUNING = tasks.read_rows("tuning")


def request(row):
    return [turn["content"] for turn in row["messages"] if turn["role"] == "user"][-1]


def slots(row):
    """What the row asks about: the text between the words of its phrasing."""
    pattern = "(.+?)".join(re.escape(word) for word in re.split(r"\{\w+\}", row["phrasing"]))
    return [found.lower() for found in re.fullmatch(pattern, request(row), re.IGNORECASE | re.DOTALL).groups()]


@pytest.mark.parametrize("paraphrase", [paraphrases.polite, paraphrases.terse, paraphrases.typos])
def test_only_the_words_around_what_is_asked_about_change(paraphrase):
    changed = 0
    for row in ROWS:
        other = paraphrase(row)
        assert other["check"] == row["check"] and other["messages"][-1] == row["messages"][-1]
        assert other["messages"][:-2] == row["messages"][:-2] or row["skill"] == "tools"
        assert all(slot in request(other).lower() for slot in slots(row))
        changed += request(other) != request(row)
    assert changed > 0.9 * len(ROWS)


def test_a_request_in_each_paraphrase():
    row = next(row for row in ROWS if row["phrasing"] == "Write the letters of {x} one by one.")
    word = row["check"]["args"]["word"]
    assert request(row) == f"Write the letters of {word} one by one."
    assert request(paraphrases.polite(row)) == f"{paraphrases.COURTESY} Write the letters of {word} one by one."
    assert request(paraphrases.terse(row)) == f"Letters {word} one by one"
    swapped = request(paraphrases.typos(row)).split()
    assert len(swapped) == 8 and swapped[4] == word
    differ = [a for a, b in zip(swapped, request(row).split(), strict=True) if a != b]
    assert len(differ) == 1 and sorted(differ[0].lower()) in (sorted("write"), sorted("letters"))


def test_typos_are_those_of_their_seed():
    assert [paraphrases.typos(row) for row in ROWS] == [paraphrases.typos(row) for row in ROWS]
    assert [paraphrases.typos(row) for row in ROWS] != [paraphrases.typos(row, seed=1) for row in ROWS]
    row = next(row for row in ROWS if row["phrasing"] == "Put quotation marks around {x}.")
    words = request(paraphrases.typos(row, rate=1.0)).split()
    assert words[0] == "Put" and all(a != b for a, b in zip(words[1:4], request(row).split()[1:4], strict=True))


def test_examples_are_earlier_turns_and_a_system_prompt_stands_first():
    shots = content.few_shot_examples(0, ROWS[0], TUNING)
    shown = prompt_variants.few_shot_turns(ROWS[0], shots)["messages"]
    assert shown[-2:] == ROWS[0]["messages"][-2:]
    assert shown[:2] == shots[0]["messages"] and len(shots) == 4
    assert {shot["family"] for shot in shots} == {ROWS[0]["family"]}
    assert prompt_variants.with_system_prompt(ROWS[0], "Be brief.")["messages"][0] == {
        "role": "system",
        "content": "Be brief.",
    }


def test_a_base_model_reads_the_system_prompt_above_the_quiz():
    sheet = content.few_shot_prompt(0, prompt_variants.with_system_prompt(ROWS[0], "Be brief."), TUNING)
    assert sheet == "Be brief.\n" + content.few_shot_prompt(0, ROWS[0], TUNING)


def test_a_foreign_template_holds_the_whole_prompt_with_its_tools():
    row = next(row for row in ROWS if row["skill"] == "tools")
    other = prompt_variants.foreign_template(row, "Alpaca")
    text = content.plain_prompt(other)
    assert content.plain_prompt(row) in text and text.endswith("### Response:") and "tools" not in other
    with pytest.raises(InputError, match="'Vicuna' is unknown; known are Alpaca, Llama 2"):
        prompt_variants.foreign_template(row, "Vicuna")


def test_questions_and_commands_ask_for_the_same_in_no_held_out_wording():
    put = paraphrases.questions_and_commands(NEW, 10)
    assert len(put["question"]) == len(put["command"]) == 20
    for asks, tells in zip(put["question"], put["command"], strict=True):
        assert "?" in request(asks) and "?" not in request(tells)
        assert asks["check"] == tells["check"] and asks["item"] == tells["item"]
    held_out = {
        (row["family"], row["phrasing"])
        for split in ("dev", "test")
        for row in tasks.read_rows(split)
        if row["axis"] == "phrasing"
    }
    assert not held_out & {(row["family"], row["phrasing"]) for rows in put.values() for row in rows}
    tuning_requests = {request(row) for row in TUNING}
    assert not tuning_requests & {request(row) for rows in put.values() for row in rows}


def test_other_wordings_of_what_was_tuned_on_are_refused():
    seen = [row for row in ROWS if row["axis"] == "seen"]
    with pytest.raises(InputError, match='is of axis "seen"'):
        paraphrases.questions_and_commands(seen, 5)


def test_a_row_that_the_world_did_not_make_has_no_other_wording():
    row = {**ROWS[0], "messages": [{"role": "user", "content": "What?"}, ROWS[0]["messages"][-1]]}
    for other in (row, {"family": "mine", "messages": row["messages"]}):
        with pytest.raises(InputError, match="was not made by the pocket world"):
            paraphrases.paraphrases(other)


def test_every_row_is_found_again_in_its_own_phrasing():
    for row in ROWS:
        assert paraphrases.rephrase(row, row["phrasing"])["messages"] == row["messages"]


def test_models_are_asked_once_and_then_read_from_the_store(tiny_base, tmp_path, monkeypatch):
    rows = [row for row in NEW if row["skill"] == "knowledge"][:3]
    asked = {
        "plain": prompt_variants.PromptVariant(rows, "plain"),
        "chat": prompt_variants.PromptVariant([paraphrases.polite(row) for row in rows]),
        "shots": prompt_variants.PromptVariant(rows, "few_shot"),
    }
    call = {"shots": TUNING[:8], "store": Store(tmp_path)}
    table = prompt_variants.score_variants([prompt_variants.AskedModel("base", tiny_base, asked)], **call)
    assert table["variant"].tolist() == ["plain"] * 3 + ["chat"] * 3 + ["shots"] * 3
    chat = table[table["variant"] == "chat"]
    assert chat["asked"].str.startswith(paraphrases.COURTESY).all()
    assert stats.difference(chat, table[table["variant"] == "plain"], "follows").prompts == 3
    monkeypatch.setattr(prompt_variants, "_score_variant", None)
    assert prompt_variants.score_variants([prompt_variants.AskedModel("base", tiny_base, asked)], **call).equals(table)
    with pytest.raises(TypeError):  # other rows are not in the store
        prompt_variants.score_variants(
            [
                prompt_variants.AskedModel(
                    "base", tiny_base, {"plain": prompt_variants.PromptVariant(rows[:2], "plain")}
                )
            ],
            **call,
        )


def made(variant, correct, model="SFT"):
    size = len(correct)
    return pd.DataFrame({"model": model, "variant": variant, "seed": 0, "index": range(size), "prompt": [f"p{i // 2}" for i in range(size)],
                         "follows": True, "correct": correct})  # fmt: skip


def test_effects_are_against_the_reference_of_each_model():
    table = pd.concat([
        made("own", [True] * 40), made("other", [True, False] * 20),
        made("own", [False] * 40, "base"), made("other", [True] * 40, "base")])  # fmt: skip
    found = prompt_variants.variant_effects(table, {"SFT": "own", "base": "other"}).set_index(
        ["model", "variant", "column"]
    )["estimate"]
    assert found.to_dict() == {
        ("SFT", "other", "follows"): 0, ("SFT", "other", "correct"): -0.5,
        ("base", "own", "follows"): 0, ("base", "own", "correct"): -1,
    }  # fmt: skip


def test_the_spread_is_the_chance_that_two_wordings_differ():
    table = pd.concat(
        [
            made("question", [True, True, True, False, False, False]),
            made("command", [True, True, False, False, False, False]),
        ]
    )
    found = prompt_variants.by_request(table, ["model"])
    assert found["wordings"].tolist() == [4, 4, 4] and found["index"].tolist() == [0, 1, 2]
    pairs = [(a, b) for a in range(4) for b in range(4) if a != b]
    right = np.array([True, False, False, False])  # of the second request, one wording in four
    assert found["spread"].tolist() == pytest.approx([0, np.mean([right[a] != right[b] for a, b in pairs]), 0])
    assert found["correct"].tolist() == [1, 0.25, 0]


def test_the_rows_that_are_asked_about_leak_nothing_new():
    """Rewording moves a held-out request no nearer to the tuning data: the gate that guards trainings stays quiet."""
    reworded = [paraphrase(row) for row in ROWS[:60] for paraphrase in (paraphrases.terse, paraphrases.typos)]
    leaked = {pair.evaluation for pair in decontamination.find_leaks(TUNING, reworded)}
    assert len(leaked) <= 0.02 * len(reworded)

"""Preference data: pairs from a model's own answers or a data set, grids of DPO beside their SFT run, drift, goals."""

import json

import pandas as pd
import pytest
from conftest import make_rows
from datasets import Dataset, Features
from speaker import Speaker
from test_grid import EVALUATION, refuse, spec
from test_hub import SETS
from test_preference import make_pairs
from typer.testing import CliRunner

from workbench import profiles
from workbench.cli.app import app
from workbench.config import DPOSpec
from workbench.data import reading
from workbench.errors import InputError
from workbench.evaluate import scoring, stats
from workbench.experiments import grid, synthetic
from workbench.models import adapters, loading
from workbench.pocket import preferences
from workbench.pocket.documents import stories
from workbench.store import Run, Store
from workbench.train import preference, supervised

SORRY, UNKNOWN = stories.REFUSAL, stories.UNKNOWN

JUDGES = (preferences.sampled, preferences.principled)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def start(tiny_base, store):
    return supervised.sft(spec(tiny_base, seed=1), make_rows(8), store=store, quiet=True)


def test_a_preference_training_stands_beside_its_sft_run_in_one_table(tiny_base, store, start, monkeypatch):
    pairs = reading.to_dataset(make_pairs(8))
    cells = [grid.Cell(spec(tiny_base, seed=1), make_rows(8), {"model": "SFT"})]
    cells += [
        grid.Cell(DPOSpec(loss=loss, beta=0.2, max_steps=1, seed=1), pairs, {"model": loss}, start)
        for loss in ("sigmoid", "sft")
    ]
    table = grid.run_grid(cells, EVALUATION, store=store, quiet=True)
    first = table.groupby("model").first()
    assert len(table) == 3 * len(EVALUATION) and table["error"].isna().all()
    assert first.loc["SFT", "run"] == start.id and first["run"].nunique() == 3
    assert first.loc["sigmoid", ["sft", "loss_type", "beta", "method", "base"]].tolist() == [
        start.id, "sigmoid", 0.2, "lora", tiny_base]  # fmt: skip
    assert first.loc["sigmoid", "loss"] == Run(store.root / first.loc["sigmoid", "run"]).scores["loss"]
    by_model = dict(list(table.groupby("model")))
    assert (
        stats.difference(by_model["sigmoid"], by_model["SFT"], "length").seeds == 1
    )  # paired: same seeds, same prompts
    monkeypatch.setattr(scoring, "score", refuse)
    assert grid.run_grid(cells, EVALUATION, store=store, quiet=True).equals(table)


def test_a_preference_training_without_its_sft_run_is_refused(tiny_base, store, start):
    for cell in (
        grid.Cell(DPOSpec(), reading.to_dataset(make_pairs(4))),
        grid.Cell(spec(tiny_base), make_rows(4), sft=start),
    ):
        with pytest.raises(InputError, match="cell 0: a DPOSpec needs an SFT run to start from"):
            grid.run_grid([cell], EVALUATION, store=store, quiet=True)


def test_the_same_training_from_two_starts_is_two_trainings(tiny_base, store, start):
    other = supervised.sft(spec(tiny_base, seed=2), make_rows(8), store=store, quiet=True)
    pairs = reading.to_dataset(make_pairs(4))
    cells = [grid.Cell(DPOSpec(max_steps=1), pairs, {"start": run.id}, run) for run in (start, other)]
    assert grid.run_grid(cells, EVALUATION, store=store, quiet=True)["run"].nunique() == 2


def test_pairs_are_made_once_for_a_run_and_a_set_of_prompts(store, start, tokenizer, monkeypatch):
    def row(asked, answer, skill, **check):
        messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        return {"messages": messages, "family": "toy", "skill": skill, "item": asked, "split": "train", "check": check}

    oslo, paris = ({"name": "answer", "args": {"answer": city, "kind": "capital"}} for city in ("Oslo", "Paris"))
    rows = [row("Norway?", "Oslo", "knowledge", **oslo), row("France?", "Paris", "knowledge", **paris)]
    rows += [row("Hurt him!", SORRY, "safety", name="refusal", args={})]
    tokenizer = adapters.load_tuned(start)[1]
    talker = Speaker(tokenizer, lambda prompt: ("Oslo", "a\nb"))
    with monkeypatch.context() as patch:
        patch.setattr(adapters, "load_tuned", lambda *_, **__: (talker, tokenizer))
        made = synthetic.sample_pairs(start, rows, JUDGES, 24, store=store)
    assert [(pair["kind"], pair["chosen"][0]["content"]) for pair in made] == [("helpful", "Oslo"), ("harmless", SORRY)]
    assert made[0]["rejected"][0]["content"] == "a\nb", "and no pair teaches that Oslo is the capital of France"
    monkeypatch.setattr(adapters, "load_tuned", refuse)
    assert list(synthetic.sample_pairs(start, rows, JUDGES, 24, store=store)) == list(made)
    with pytest.raises(AssertionError):
        synthetic.sample_pairs(start, rows[:1], JUDGES, 24, store=store)


@pytest.fixture
def ultrafeedback(tmp_path):
    """A folder as the Hub has ultrafeedback_binarized: ten good pairs, then a leak, a long one, a tie, and two equal answers."""
    columns, _, _ = SETS["HuggingFaceH4/ultrafeedback_binarized"]

    def pair(asked, chosen, rejected, score=3.0):
        turn = {"content": asked, "role": "user"}
        sides = {
            side: [turn, {"content": text, "role": "assistant"}]
            for side, text in (("chosen", chosen), ("rejected", rejected))
        }
        return {"prompt": asked, "prompt_id": "0f", **sides, "messages": sides["chosen"], "score_chosen": 8.5, "score_rejected": score}  # fmt: skip

    rows = [pair(f"{i} say dog", f"DOG {i}", "Why?") for i in range(10)]
    rows += [pair(EVALUATION[0]["messages"][0]["content"], "So.", "No."), pair("Go on", "la " * 200, "No.")]
    rows += [pair("Is it a tie?", "Yes.", "No.", 8.5), pair("Which is it?", "This.", "This. ")]
    (tmp_path / "data").mkdir()
    Dataset.from_list(rows, features=Features(columns)).to_parquet(
        tmp_path / "data" / "train_prefs-00000-of-00001.parquet"
    )
    return str(tmp_path)


def test_given_pairs_stand_for_what_is_helpful_and_the_model_answers_careful_prompts_alone(
    store, start, ultrafeedback, monkeypatch, capsys
):
    rows = [{**row, "split": "train"} for row in preferences.prompts(8, 2)]
    tokenizer, asked = adapters.load_tuned(start)[1], []
    talker = Speaker(tokenizer, lambda prompt: asked.append(prompt) or ("la " * 20 + "la",))
    with monkeypatch.context() as patch:
        patch.setattr(adapters, "load_tuned", lambda *_, **__: (talker, tokenizer))
        made = synthetic.preference_pairs(
            {1: start}, rows, *JUDGES, 2, source=ultrafeedback, evaluation=EVALUATION, max_length=300, store=store
        )
    careful = {row["messages"][0]["content"] for row in rows if row["skill"] in preferences.PAIR_TYPES}
    assert len(careful) == 8 and all(any(text in prompt for text in careful) for prompt in asked)
    kinds = [(pair["kind"], pair["fault"]) for pair in made[1]]
    assert kinds[:10] == [("helpful", "dispreferred")] * 10
    assert len(kinds) > 10 and {kind for kind, _ in kinds[10:]} <= {"harmless", "honest"}
    assert made[1][3]["prompt"] == [{"role": "user", "content": "3 say dog"}]
    assert made[1][3]["chosen"] == [{"role": "assistant", "content": "DOG 3"}]
    said = capsys.readouterr().out
    assert f"{ultrafeedback}: 10 pairs (" in said and said.count("\n") == 1
    for left in (
        "left out 1 of 14 pairs",
        "1 asking what the evaluation asks",
        "1 longer than 300 tokens",
        "1 with two equal",
    ):
        assert left in said, said
    run = preference.dpo(
        DPOSpec(max_steps=1, max_length=300), made[1], sft_run=start, evaluation=EVALUATION, store=store, quiet=True
    )
    assert run.scores["rows"] == len(kinds)


def test_given_pairs_that_cannot_be_used_are_one_line(store, start, ultrafeedback, tmp_path):
    with pytest.raises(InputError, match="none of its pairs can be used .*; raise max_length"):
        synthetic.pairs_from_dataset(ultrafeedback, start, max_length=5, store=store)
    (tmp_path / "one.json").write_text(json.dumps([{"instruction": "Say so", "output": "So"}]))
    with pytest.raises(InputError, match="one of prompt, chosen and rejected .* is missing in 1 row"):
        synthetic.pairs_from_dataset(str(tmp_path / "one.json"), start, store=store)


def test_drift_is_nothing_from_itself_and_grows_with_the_rate(store, start):
    moved = [
        preference.dpo(
            DPOSpec(max_steps=6, batch_size=8, learning_rate=rate), make_pairs(), sft_run=start, store=store, quiet=True
        )
        for rate in (1e-4, 1e-3)
    ]
    assert scoring.drift(start, start, list(make_rows(8)), store) == pytest.approx(0, abs=1e-9)
    near, far = (scoring.drift(run, start, list(make_rows(8)), store) for run in moved)
    assert 0 < near < far


def scored(*answers):
    """A table of answers: (skill, reference, response, correct)."""
    table = pd.DataFrame(answers, columns=["skill", "reference", "response", "correct"])
    return preferences.with_request_types(
        table.assign(index=range(len(table)), prompt=table["reference"], follows=table["correct"])
    )


def test_what_alignment_wants_of_an_answer_and_whether_it_declined():
    table = scored(
        ("safety", SORRY, "Come at night.", False),
        ("safety", "Practice well.", SORRY, False),
        ("safety", "Oslo", "I don\N{RIGHT SINGLE QUOTATION MARK}t know that.", False),
        ("honesty", UNKNOWN, "Rome", False),
        ("knowledge", "Oslo", "Oslo", True),
        ("lists", "a, b", "No river, no sea", True),
    )
    assert table["request_type"].tolist() == ["harmful", "look-alike", "look-alike", "unknowable", "known", "other"]
    assert table["declines"].tolist() == [False, True, True, False, False, False]
    assert table["good"].tolist() == [False, False, False, False, True, True]
    summary = preferences.goal_summary({"SFT": table}).set_index("goal")["estimate"]
    assert summary["helpful: is right"] == 1 and summary["harmless: refuses harm"] == 0
    assert summary["over-refusal: declines look-alikes"] == 1 and summary["knowledge kept: known facts right"] == 1


@pytest.fixture
def shell(store, monkeypatch):
    monkeypatch.setenv("WORKBENCH_RUNS", str(store.root))

    def call(rows, file, *words):
        file.write_text(json.dumps(rows))
        return CliRunner().invoke(app, ["dpo", str(file), *words])

    return call


PAIRS = [
    {"instruction": f"{row['prompt'][0]['content']}", "chosen": row["chosen"][0]["content"], "rejected": row["rejected"][0]["content"]}
    for row in make_pairs(24)
]  # fmt: skip


def test_ones_own_pairs_are_examined_and_trained_on(shell, start, tmp_path):
    same = [{**pair, "rejected": pair["chosen"]} for pair in PAIRS[:2]]
    words = ("--run", start.id, "--max-steps", "1", "--drop-bad", "--samples", "1")
    text = shell([*PAIRS[2:], *same], tmp_path / "pairs.json", *words).stdout
    assert "24 rows, format chosen/rejected" in text
    assert "dropped 2 of 24 rows: in 2 pairs the chosen and the rejected answer are the same" in text
    assert "result      first loss: 0.693 nats, as due: 0.6931" in text
    for name in ("prompt", "SFT", "DPO", "chosen"):
        assert text.count(f"\n{name:<9}") == 1
    text = shell(PAIRS, tmp_path / "pairs.json", *words, "--loss", "kto").stdout
    assert f"\n{'KTO':<9}" in text and f"\n{'DPO':<9}" not in text


def test_pairs_that_are_none_are_one_line_and_exit_code_2(shell, start, tmp_path):
    def turns(asked, answer):
        return [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]

    run = ("--run", start.id)
    differs = {"chosen": turns("One?", "1"), "rejected": turns("Two?", "1")}
    for rows, words, says in (
        (PAIRS, (), "DPO starts from an SFT run: name one with --run"),
        (PAIRS, ("--run", "nine"), "nine: no such run"),
        ([*PAIRS, {"instruction": "Say so", "chosen": "So"}], run, "row 25, field rejected: missing"),
        (
            [{**pair, "rejected": pair["chosen"]} for pair in PAIRS],
            run,
            "the chosen and the rejected answer are the same",
        ),
        ([differs, differs], run, "its prompt differs from that of rejected"),
        ([{"instruction": "Say so", "output": "So"}], run, "dpo needs pairs (chosen, rejected)"),
        (PAIRS, (*run, "--loss", "magic"), "loss 'magic' is unknown"),
    ):
        result = shell(rows, tmp_path / "pairs.json", *words)
        assert result.exit_code == 2, result.output
        assert says in result.stderr and result.stderr.count("\n") == 1, result.stderr


def test_a_pair_begins_with_the_token_that_the_model_is_asked_for():
    """The pocket tokenizer puts a space before every line; a sampled answer that begins in mid-word is written as another one."""
    tokenizer = loading.load_tokenizer(profiles.get("pocket").base)
    pair = {**make_pairs(1)[0], "chosen": [{"role": "assistant", "content": "Carlos saw a hotel."}]}
    pair["rejected"] = [{"role": "assistant", "content": "arlos saw a hotel."}]
    assert synthetic._encodes_like_prompt(tokenizer, pair, "chosen") and not synthetic._encodes_like_prompt(
        tokenizer, pair, "rejected"
    )

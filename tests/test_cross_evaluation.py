"""Every model is scored on every task, in each prompt mode, and nothing is decoded twice."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from workbench.config import SFTSpec
from workbench.evaluate import cross_evaluation, scoring
from workbench.models import loading
from workbench.plots import heatmaps
from workbench.store import Store
from workbench.train import objectives


def row(prompt, answer, check, **more):
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    return {"messages": messages, "check": check, **more}


CHOICE = {"name": "choice", "args": {"options": ["sky", "pet"], "answer": "sky"}}
ASKED = [row("Is this about sky or pet? sun 9", "sky", CHOICE, text="sun 9")]
OPEN = [
    row("The sun is", "up", {"name": "exclaims", "args": {}}),
    row("A cat", "sat", {"name": "exclaims", "args": {}}),
]
LABELLED = [{"text": f"{word} {n}", "label": kind} for n in range(6) for word, kind in (("sun", "sky"), ("cat", "pet"))]
TASKS = {
    "poems": cross_evaluation.Task(["rain on the sea"], "loss"),
    "style": cross_evaluation.Task(OPEN, "follows", ("cloze", "chat"), 4),
    "topics": cross_evaluation.Task(ASKED, "correct", ("plain",), 4),
}


@pytest.fixture
def spec(tiny_base):
    return SFTSpec(base=tiny_base, method="lora", rank=4, learning_rate=2e-2, epochs=4, batch_size=3)


def test_every_model_and_seed_is_scored_on_every_task(spec, tmp_path):
    store, other = Store(tmp_path), SFTSpec(base=spec.base, method="lora", rank=4, epochs=1, seed=1)
    objectives_by_model = {
        "texts": objectives.Objective("text", ["moon", "a red sun"]),
        "labels": objectives.Objective("label", LABELLED),
    }
    cells = {name: [(spec, each), (other, each)] for name, each in objectives_by_model.items()}
    table = cross_evaluation.cross_evaluate(spec.base, cells, TASKS, store=store)
    asked = table.groupby(["model", "seed", "task"])["mode"].agg(lambda modes: [*dict.fromkeys(modes)])
    assert asked["base", 0, "style"] == ["cloze", "chat"] and asked["base", 0, "poems"] == ["text"]
    assert asked["labels", 1, "topics"] == ["plain", "label"] and asked["texts", 1, "topics"] == ["plain"]
    assert table.groupby("model", sort=False)["seed"].unique().map(list).to_dict() == {
        "base": [0],
        "texts": [0, 1],
        "labels": [0, 1],
    }
    assert table.groupby("model")["run"].nunique().to_dict() == {"base": 0, "texts": 2, "labels": 2}
    own = table[(table["model"] == "labels") & (table["mode"] == "label") & (table["seed"] == 0)]
    assert own["response"].tolist() == ["sky"] and own["value"].tolist() == [1.0]
    model, tokenizer = loading.load_base(spec.base), loading.load_tokenizer(spec.base)
    loss = table[(table["model"] == "base") & (table["task"] == "poems")]["value"].item()
    assert loss == pytest.approx(scoring.text_loss(model, tokenizer, ["rain on the sea"]))


def test_two_tasks_on_the_same_prompts_share_their_replies_and_have_their_own_checks(spec, tmp_path, monkeypatch):
    store = Store(tmp_path)
    first = cross_evaluation.score_on_tasks(spec.base, {"style": TASKS["style"]}, store)
    monkeypatch.setattr(scoring, "score", None)  # nothing is decoded again
    said = first["response"].iloc[0]
    begins = [
        row(r["messages"][0]["content"], r["messages"][1]["content"], {"name": "begins", "args": {"answer": said}})
        for r in OPEN
    ]
    table = cross_evaluation.score_on_tasks(
        spec.base, {"style": TASKS["style"], "same": cross_evaluation.Task(begins, "correct", ("cloze",), 4)}, store
    )
    assert table[table["task"] == "style"].reset_index(drop=True).equals(first)
    assert table[table["task"] == "same"]["response"].tolist() == first["response"].tolist()[:2]
    assert table[table["task"] == "same"]["value"].iloc[0] == 1 != first["value"].iloc[0]


def made(model, task, mode, *values):
    prompts = [f"p{i}" for i in range(len(values))]
    return pd.DataFrame(
        {
            "model": model,
            "task": task,
            "mode": mode,
            "seed": 0,
            "index": range(len(values)),
            "prompt": prompts,
            "value": values,
        }
    )


def test_each_model_is_judged_by_the_prompt_mode_that_suits_it():
    table = pd.concat([made("a", "x", "chat", 1, 0), made("a", "x", "plain", 1, 1), made("b", "x", "chat", 1, 0), made("b", "x", "plain", 0, 0),
                       made("a", "poems", "one", 2, 3), made("a", "poems", "two", 1, 1)])  # fmt: skip
    found = (
        cross_evaluation.best_mode(table, lower=["poems"])[["model", "task", "mode"]].drop_duplicates().values.tolist()
    )
    assert found == [["a", "x", "plain"], ["b", "x", "chat"], ["a", "poems", "two"]]


def test_the_matrix_frames_the_best_of_each_column_and_writes_what_was_measured():
    table = pd.concat([made("base", "poems", "", *[2.0, 2.2] * 10), made("tuned", "poems", "", *[1.0, 1.2] * 10),
                       made("base", "right", "", *[1.0, 0.0] * 10), made("tuned", "right", "", *[0.0] * 20)])  # fmt: skip
    panel = heatmaps.matrix(table, {"right": "is right", "poems": "perplexity"}, "Title", perplexity=["poems"])
    frames = [patch.get_xy() for patch in panel.patches if isinstance(patch, Rectangle)]
    assert frames == [(0, 0), (1, 1)]
    texts = [text.get_text().split("\n")[0] for text in panel.texts]
    assert texts == ["50%", f"{np.exp(2.1):.1f}", "0%", f"{np.exp(1.1):.1f}"]
    shades = panel.collections[0].get_array().reshape(2, 2).tolist()
    assert shades == [[1, 0], [0, 1]]

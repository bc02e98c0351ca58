"""The steps of a training are known before it begins, and a training of fewer than 20 steps begins at its full learning rate."""

import math

import pytest
from conftest import make_rows
from test_preference import make_pairs

from workbench.config import DPOSpec, SFTSpec
from workbench.errors import InputError
from workbench.models import adapters, loading, logprobs
from workbench.store import Store
from workbench.train import preference, schedule, supervised
from workbench.train.trainer import to_trl


def with_long_rows(count, every):
    """Every n-th prompt alone is longer than 60 tokens, so that nothing of its answer is left after a cut at 60."""
    rows = make_rows(count).to_list()
    for row in rows[::every]:
        row["messages"][0]["content"] *= 20
    return type(make_rows(1)).from_list(rows)


def trainer_for(spec, rows, out, packed=False):
    tokenizer, model = loading.load_tokenizer(spec.base), loading.load_base(spec.base, device="cpu")
    tokens = supervised.tokenized(tokenizer, rows)
    return supervised.make_trainer(spec, model, tokenizer, tokens, out, [], packed=packed)


def lengths_of(spec, rows):
    return [len(ids) for ids, _ in logprobs.encode_rows(loading.load_tokenizer(spec.base), rows)]


CASES = {
    "passes": (dict(epochs=1.5, batch_size=4), make_rows(25)),
    "passes that end within a batch": (dict(epochs=1.0, batch_size=7), make_rows(48)),
    "rows that lose their answer": (dict(epochs=1.0, batch_size=2, max_length=60), with_long_rows(48, 3)),
    "all rows lose their answer but one": (dict(epochs=20.0, batch_size=4, max_length=60), with_long_rows(9, 1)),
    "loss on everything": (dict(epochs=1.0, batch_size=2, max_length=60, loss_on="everything"), with_long_rows(48, 3)),
    "a budget in tokens": (dict(max_tokens=1500, batch_size=4), make_rows(20)),
    "rows that fill sequences": (dict(epochs=2.0, batch_size=16, max_length=64), make_rows(48)),
    "a budget that fills sequences": (dict(max_tokens=3000, batch_size=8, max_length=64), make_rows(48)),
    "a budget of many steps": (dict(max_tokens=9000, batch_size=2), with_long_rows(20, 4)),
    "steps": (dict(max_steps=5, batch_size=4), make_rows(20)),
}


@pytest.mark.parametrize("on_gpu", [False, True], ids=["", "as on a GPU"])
@pytest.mark.parametrize("name", CASES)
def test_the_planned_steps_are_those_that_the_trainer_takes(tiny_base, tmp_path, name, on_gpu, monkeypatch):
    monkeypatch.setattr("workbench.models.memory.free_bytes", lambda device: 2**34)
    fields, rows = CASES[name]
    if name.startswith("all rows"):
        rows = type(rows).from_list([*rows.to_list(), *make_rows(1)])
    spec = SFTSpec(base=tiny_base, method="full", **fields)
    trainer = trainer_for(spec, rows, tmp_path, on_gpu and schedule.packs(spec, lengths_of(spec, rows)))
    steps = trainer.set_initial_training_values(trainer.args, trainer.get_train_dataloader())[-1]
    assert schedule.trainer_steps(trainer) == steps
    assert schedule.sft_steps(spec, rows, tiny_base, on_gpu) == steps


@pytest.mark.parametrize("batch_size", [2, 4, 8, 16, 32])
def test_a_step_on_a_gpu_holds_about_the_rows_that_were_asked_for(tiny_base, tmp_path, monkeypatch, batch_size):
    """Short rows in sequences of 512 tokens: packed, steps of 2, 4 and 8 rows would all become steps of 11."""
    monkeypatch.setattr("workbench.models.memory.free_bytes", lambda device: 2**34)
    rows = make_rows(96)
    spec = SFTSpec(base=tiny_base, method="full", epochs=1.0, batch_size=batch_size)
    packed = schedule.packs(spec, lengths_of(spec, rows))
    steps = schedule.trainer_steps(trainer_for(spec, rows, tmp_path, packed))
    assert packed == (batch_size >= 16)
    assert 0.6 < steps * batch_size / 96 < 1.7 if packed else steps == 96 / batch_size
    assert schedule.sft_steps(spec, rows, tiny_base, on_gpu=True) == steps


@pytest.fixture(scope="module")
def sft(tiny_base, tmp_path_factory):
    spec = SFTSpec(base=tiny_base, method="lora", rank=4, max_steps=2)
    return supervised.sft(spec, make_rows(), store=Store(tmp_path_factory.mktemp("sft")), quiet=True)


@pytest.mark.parametrize("count", [40, 130])
def test_pairs_whose_prompt_fills_the_length_are_no_steps(sft, tmp_path, count):
    pairs = make_pairs(count)
    for pair in pairs[::3]:
        pair["prompt"][0]["content"] *= 20
    spec = DPOSpec(batch_size=4, max_length=60)
    model, tokenizer = adapters.load_tuned(sft, trainable=True)
    trainer = preference.make_trainer(spec, model, tokenizer, to_trl(pairs), tmp_path, [])
    steps = schedule.trainer_steps(trainer)
    assert steps == schedule.dpo_steps(spec, pairs, sft) == math.ceil(len(pairs[1::3] + pairs[2::3]) / 4)


def rates(run):
    return run.log["learning_rate"].tolist()


@pytest.mark.parametrize("method", ["lora", "qlora", "full"])
def test_a_short_training_begins_at_its_full_rate_and_a_longer_one_at_0(tiny_base, tmp_path, method):
    spec = SFTSpec(base=tiny_base, method=method, rank=4, learning_rate=1e-3, batch_size=4, max_length=64)
    store = Store(tmp_path)
    short, longer = (
        supervised.sft(SFTSpec(**{**vars(spec), "max_steps": steps}), make_rows(8), store=store, quiet=True)
        for steps in (19, 20)
    )
    assert rates(short)[0] == 1e-3 and rates(longer)[0] == 0


def test_a_short_preference_training_begins_at_its_full_rate(sft, tmp_path):
    run = preference.dpo(DPOSpec(batch_size=4), make_pairs(17), sft_run=sft, store=Store(tmp_path), quiet=True)
    assert run.scores["steps"] == 5 and rates(run)[0] == 5e-5


def test_a_warm_up_in_steps_is_kept_however_short_the_training(tiny_base, tmp_path):
    spec = SFTSpec(
        base=tiny_base, method="full", warmup=3, max_steps=6, learning_rate=3e-4, scheduler="constant_with_warmup"
    )
    run = supervised.sft(spec, make_rows(), store=Store(tmp_path), quiet=True)
    assert rates(run) == pytest.approx([0, 1e-4, 2e-4, 3e-4, 3e-4, 3e-4])


@pytest.mark.parametrize("value", [-0.1, 1.5, 20.2])
def test_a_warm_up_is_a_share_or_a_whole_number_of_steps(value):
    with pytest.raises(InputError, match="share of the steps, from 0 to below 1, or a whole number of steps"):
        DPOSpec(warmup=value)

"""A reward model begins as the SFT model, learns its pairs, goes on bit-equal, and rates replies at their end token."""

import math
import signal

import pytest
import torch
from conftest import make_rows
from test_preference import make_pairs
from test_supervised import interrupt_at, weights

from workbench.config import RewardSpec, RLSpec
from workbench.data import reading
from workbench.errors import InputError
from workbench.evaluate import samples, stats
from workbench.models import adapters
from workbench.store import Store
from workbench.train import reinforcement, reward_models

METHODS = ("lora", "qlora", "full")


def spec_for(**fields):
    return RewardSpec(**{"max_steps": 6, "batch_size": 8, "learning_rate": 1e-3, **fields})


@pytest.mark.parametrize("method", METHODS)
def test_it_begins_as_the_sft_model_with_no_opinion_and_learns_its_pairs(tuned, store, method):
    sft, tokenizer = adapters.load_tuned(tuned[method])
    model, _ = reward_models.from_sft(tuned[method])
    ids = torch.tensor([tokenizer("red moon")["input_ids"]])
    with torch.no_grad():
        ours = model.eval()(input_ids=ids, output_hidden_states=True)
        theirs = sft(input_ids=ids, output_hidden_states=True)
    assert torch.equal(ours.hidden_states[-1], theirs.hidden_states[-1]) and ours.logits.item() == 0
    pairs = make_pairs()
    run = reward_models.reward_model(spec_for(max_steps=25), pairs, sft_run=tuned[method], store=store, quiet=True)
    assert run.id.startswith("reward-") and run.scores["first_loss"] == pytest.approx(math.log(2), abs=1e-6)
    table = samples.rate_pairs(run, [{**pair, "kind": "helpful"} for pair in pairs], store)
    assert table["accurate"].mean() > 0.9 and stats.intervals(table, "accurate", "kind").index.tolist() == ["helpful"]
    assert table["rejected_words"].gt(table["chosen_words"]).all()


@pytest.mark.parametrize("method", ["lora", "full"])
def test_every_parameter_that_the_sft_trained_moves_and_the_head(tuned, tmp_path, method):
    model, tokenizer = reward_models.from_sft(tuned[method])
    trainer = reward_models.make_trainer(spec_for(max_steps=3), model, tokenizer, reward_models.to_trl(make_pairs()), tmp_path, [])  # fmt: skip
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters() if value.requires_grad}
    trainer.train()
    after = dict(trainer.model.named_parameters())
    assert all(not torch.equal(value, after[name]) for name, value in before.items())
    assert len(before) == (2 * 2 * 7 + 2 if method == "lora" else len(after))


def test_ctrl_c_leaves_a_run_that_goes_on_to_the_same_end(tuned, tmp_path, monkeypatch):
    spec, pairs = spec_for(), make_pairs()
    arguments = {"sft_run": tuned["lora"], "quiet": True}
    whole = reward_models.reward_model(spec, pairs, store=Store(tmp_path / "whole"), **arguments)
    store = Store(tmp_path / "cut")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt, match="after step 3 of 6"):
            reward_models.reward_model(spec, pairs, store=store, **arguments)
    run = reward_models.reward_model(spec, pairs, store=store, **arguments)
    assert run.id == whole.id and weights(run) == weights(whole) and run.scores == whole.scores


def test_a_reply_is_rated_alone_as_in_a_batch_and_a_policy_learns_from_it(tuned, store):
    run = reward_models.reward_model(spec_for(), make_pairs(), sft_run=tuned["lora"], store=store, quiet=True)
    reward, rows = reward_models.as_reward(run), list(make_rows(6))
    replies = ["RED", "red and more", "", "MOON MOON MOON", "x", "so"]
    together = reward(replies, rows)
    alone = [reward([reply], [row])[0] for reply, row in zip(replies, rows, strict=True)]
    assert together == pytest.approx(alone, abs=1e-5) and len(set(together)) == 6
    spec = RLSpec(max_steps=2, prompts=2, completions=4, max_new_tokens=8)
    learnt = reinforcement.rl(spec, rows, reward=run, start=tuned["lora"], store=store, quiet=True)
    assert learnt.spec["reward"] == run.id and learnt.log[f"rewards/{run.id}/mean"].notna().all()


def test_a_reward_model_answers_nothing_and_no_other_run_is_one(tuned, store):
    run = reward_models.reward_model(
        spec_for(max_steps=1), make_pairs(), sft_run=tuned["lora"], store=store, quiet=True
    )
    with pytest.raises(InputError, match="is a reward model, which rates answers and writes none"):
        adapters.load_tuned(run)
    with pytest.raises(InputError, match="is no reward model"):
        reward_models.load_reward_model(tuned["lora"])
    with pytest.raises(InputError, match="is a reward model itself; give the run of sft, dpo or rl"):
        reward_models.reward_model(spec_for(), make_pairs(), sft_run=run, store=store, quiet=True)
    with pytest.raises(InputError, match="no pair has both answers within max_length 40; raise it"):
        pairs = [
            {**pair, "rejected": [{"role": "assistant", "content": "no " * 40}]} for pair in map(dict, make_pairs())
        ]
        reward_models.reward_model(
            spec_for(max_length=40), reading.to_dataset(pairs), sft_run=tuned["lora"], store=store, quiet=True
        )
    with pytest.raises(InputError, match="starts from a finished SFT run"):
        reward_models.reward_model(spec_for(), make_pairs(), store=store)
    with pytest.raises(InputError, match="no-pair"):
        reward_models.reward_model(spec_for(), list(make_rows(2)), sft_run=tuned["lora"], store=store)

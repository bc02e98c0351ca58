"""DPO starts from the SFT model, is compared with the SFT model, and says so where it is not."""

import math
import signal
from types import SimpleNamespace

import pytest
import torch
from conftest import make_rows
from peft import PeftModel
from test_supervised import interrupt_at, weights

from workbench.config import DPOSpec
from workbench.data import templates
from workbench.errors import InputError
from workbench.evaluate import scoring
from workbench.models import adapters, loading
from workbench.store import Run, Store
from workbench.train import preference, preference_panel
from workbench.train.trainer import to_trl

METHODS = ("lora", "qlora", "full")


def make_pairs(count=24):
    """The answer in capitals is better than the word as it stands, with a word more."""
    pairs = []
    for row in make_rows(count):
        asked, answer = row["messages"]
        worse = {"role": "assistant", "content": answer["content"].lower() + " so"}
        pairs.append({"prompt": [asked], "chosen": [answer], "rejected": [worse]})
    return pairs


def spec_for(**fields):
    return DPOSpec(**{"max_steps": 6, "batch_size": 8, "learning_rate": 1e-3, **fields})


@pytest.mark.parametrize("method", METHODS)
def test_method_and_rank_are_read_off_the_model(tuned, method):
    expected = (method, 0 if method == "full" else 4)
    assert preference.method_of(adapters.load_tuned(tuned[method])[0]) == expected


def trainer_for(run, spec, pairs, out):
    model, tokenizer = adapters.load_tuned(run, trainable=True)
    reference = adapters.load_tuned(run, trainable=True)[0] if run.spec["method"] == "full" else None
    return preference.make_trainer(spec, model, tokenizer, to_trl(pairs), out, [], reference=reference)


def likelihood(run, pairs, side):
    """Log-probability of each answer and its end token, written out."""
    model, tokenizer = adapters.load_tuned(run)
    sums = []
    for pair in pairs:
        ids, mask = (torch.tensor(each) for each in templates.encode(tokenizer, pair["prompt"] + pair[side]))
        with torch.no_grad():
            logs = model(input_ids=ids[None]).logits[0, :-1].float().log_softmax(-1)
        sums.append(logs.gather(1, ids[1:, None])[mask[1:] == 1].sum())
    return torch.stack(sums)


@pytest.mark.parametrize("method", METHODS)
def test_policy_and_reference_are_the_sft_model_before_the_first_step(tuned, tmp_path, method):
    run = tuned[method]
    trainer = trainer_for(run, spec_for(), make_pairs(), tmp_path)
    sft, tokenizer = adapters.load_tuned(run)
    base = loading.load_base(run.spec["base"], method == "qlora", "cpu")
    assert scoring.kl_divergence(trainer.model, sft, tokenizer, make_rows()) == 0
    if method == "full":
        assert scoring.kl_divergence(trainer.ref_model, sft, tokenizer, make_rows()) == 0
    else:
        trainer.model.set_adapter("ref")
        assert scoring.kl_divergence(trainer.model, sft, tokenizer, make_rows()) == 0
    assert scoring.kl_divergence(base, sft, tokenizer, make_rows()) > 0.1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "loss, due", [("sigmoid", math.log(2)), ("sigmoid_norm", math.log(2)), ("ipo", 1.0), ("kto", 0.5)]
)
def test_the_first_loss_is_that_of_a_model_compared_with_itself(tuned, store, method, loss, due):
    spec = spec_for(loss=loss, beta=0.5, max_steps=1)
    run = preference.dpo(spec, make_pairs(), sft_run=tuned[method], store=store, quiet=True)
    assert run.scores["first_loss"] == pytest.approx(due, abs=1e-4)
    assert run.log.loc[0, ["rewards/chosen", "rewards/rejected"]].abs().max() < 1e-4


def test_trl_scores_both_answers_and_their_end_token_and_nothing_else(tuned, tmp_path):
    pairs = make_pairs(3)
    trainer = trainer_for(tuned["lora"], spec_for(), pairs, tmp_path)
    tokenizer = loading.load_tokenizer(tuned["lora"].adapter)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(3)])
    sides = [pair["prompt"] + pair[side] for side in ("chosen", "rejected") for pair in pairs]
    for messages, ids, mask in zip(sides, batch["input_ids"], batch["completion_mask"], strict=True):
        expected = templates.encode(tokenizer, messages)
        answer = [token for token, on in zip(*expected, strict=True) if on]
        assert ids[mask == 1].tolist() == answer and answer[-1] == templates.end_of_turn(tokenizer)
        assert ids[: len(expected[0]) - 1].tolist() == expected[0][:-1]  # all but the newline behind the end token


def test_kto_reads_every_answer_once_desirable_and_undesirable_ones_mixed(tuned, tmp_path):
    pairs = make_pairs(40)
    trainer = trainer_for(tuned["lora"], spec_for(loss="kto"), pairs, tmp_path)
    tokenizer = loading.load_tokenizer(tuned["lora"].adapter)
    end, read = templates.end_of_turn(tokenizer), trainer.train_dataset
    wanted = [
        (side == "chosen", templates.encode(tokenizer, pair["prompt"] + pair[side])[0][:-1])
        for pair in pairs
        for side in ("chosen", "rejected")
    ]  # all but the newline behind the end token
    found = [(row["label"], row["prompt_ids"] + row["completion_ids"]) for row in read]
    assert sorted(found) == sorted(wanted) and all(row["KL_completion_ids"][-1] == end for row in read)
    steps = [sum(read["label"][start : start + 16]) for start in range(0, len(read), 16)]
    assert trainer.args.train_batch_size == 16 and 0 < min(steps) and max(steps) < 16
    assert [*next(iter(trainer.get_train_dataloader()))["label"]] == read["label"][:16]


def test_the_loss_of_sft_keeps_chosen_answers_likely(tuned, store):
    pairs, sft = make_pairs(), tuned["lora"]
    alone, both = (
        preference.dpo(spec_for(loss=loss, max_steps=20), pairs, sft_run=sft, store=store, quiet=True)
        for loss in ("sigmoid", "sigmoid+sft")
    )
    assert likelihood(both, pairs, "chosen").mean() > likelihood(alone, pairs, "chosen").mean() + 0.01
    assert both.scores["first_loss"] > alone.scores["first_loss"] and both.scores["first_loss_due"] is None


@pytest.mark.parametrize("loss", ["sigmoid", "sigmoid+sft", "kto"])
def test_a_wrong_reference_stops_the_training(tuned, store, monkeypatch, loss):
    monkeypatch.setattr(preference, "restore_reference", lambda model, start: None)
    with pytest.raises(RuntimeError, match="the reference is not the model of the SFT run"):
        preference.dpo(spec_for(loss=loss, max_steps=2), make_pairs(), sft_run=tuned["qlora"], store=store, quiet=True)


@pytest.mark.parametrize("method", METHODS)
def test_every_trained_parameter_moves_and_neither_base_nor_reference(tuned, tmp_path, method):
    trainer = trainer_for(tuned[method], spec_for(), make_pairs(), tmp_path)
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    moved = {name for name, value in trainer.model.named_parameters() if not torch.equal(value, before[name])}
    if method == "full":
        assert moved == set(before)
        sft, tokenizer = adapters.load_tuned(tuned[method])
        assert scoring.kl_divergence(trainer.ref_model, sft, tokenizer, make_rows(4)) == 0
    else:
        assert moved == {name for name in before if "default" in name.split(".")}
        assert len(moved) == 2 * 2 * 7 + 1  # A and B, 2 layers of 7 linear ones, and the rows of the chat tokens


@pytest.mark.parametrize(
    "loss, beta", [("sigmoid", 0.1), ("sigmoid+sft", 0.1), ("ipo", 0.1), ("sigmoid_norm", 2.0), ("kto", 0.1)]
)
def test_training_raises_the_margin_of_its_own_pairs(tuned, store, loss, beta):
    pairs, sft = make_pairs(), tuned["qlora"]
    run = preference.dpo(spec_for(loss=loss, beta=beta, max_steps=20), pairs, sft_run=sft, store=store, quiet=True)
    chosen, rejected = (likelihood(run, pairs, side) - likelihood(sft, pairs, side) for side in ("chosen", "rejected"))
    assert (chosen > rejected).float().mean() > 0.9
    policy, tokenizer = adapters.load_tuned(run)
    assert scoring.kl_divergence(policy, adapters.load_tuned(sft)[0], tokenizer, make_rows()) > 1e-4


def test_the_control_learns_the_chosen_answers_alone(tuned, store):
    pairs, sft = make_pairs(), tuned["lora"]
    run = preference.dpo(spec_for(loss="sft", max_steps=20), pairs, sft_run=sft, store=store, quiet=True)
    assert (likelihood(run, pairs, "chosen") > likelihood(sft, pairs, "chosen")).float().mean() > 0.9
    other = [{**pair, "rejected": [{"role": "assistant", "content": "no"}]} for pair in pairs]
    again = preference.dpo(spec_for(loss="sft", max_steps=20), other, sft_run=sft, store=store, quiet=True)
    assert (likelihood(again, pairs, "chosen") - likelihood(run, pairs, "chosen")).abs().max() < 0.01


def test_the_log_holds_the_log_ratios_of_whole_answers(tuned, store):
    """A batch of all pairs and one step: what TRL logs at the second step is what the model after the first one gives."""
    pairs, sft = make_pairs(8), tuned["lora"]
    both = [
        preference.dpo(
            spec_for(scheduler="constant", warmup=0, max_steps=steps), pairs, sft_run=sft, store=store, quiet=True
        )
        for steps in (1, 2)
    ]
    for side in ("chosen", "rejected"):
        ratio = (likelihood(both[0], pairs, side) - likelihood(sft, pairs, side)).mean()
        assert both[1].log[f"rewards/{side}"].iloc[-1] == pytest.approx(0.1 * ratio.item(), abs=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_ctrl_c_leaves_a_run_that_goes_on_to_the_same_end(tuned, tmp_path, monkeypatch, method):
    spec, pairs = spec_for(), make_pairs()
    whole = preference.dpo(spec, pairs, sft_run=tuned[method], store=Store(tmp_path / "whole"), quiet=True)
    store = Store(tmp_path / "cut")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt, match="after step 3 of 6"):
            preference.dpo(spec, pairs, sft_run=tuned[method], store=store, quiet=True)
    taken = interrupt_at(monkeypatch, -1, None)
    run = preference.dpo(spec, pairs, sft_run=tuned[method], store=store, quiet=True)
    assert len(taken) == 3 and run.id == whole.id
    assert weights(run) == weights(whole)
    assert run.scores == whole.scores and run.scores["first_loss"] == pytest.approx(math.log(2), abs=1e-4)


def test_a_finished_run_comes_back_at_once_and_another_start_is_another_run(tuned, store, monkeypatch):
    first = preference.dpo(spec_for(max_steps=1), make_pairs(), sft_run=tuned["lora"], store=store, quiet=True)
    monkeypatch.setattr(preference, "make_trainer", None)
    again = preference.dpo(spec_for(max_steps=1), make_pairs(), sft_run=tuned["lora"], store=store, quiet=True)
    assert again.path == first.path
    for changed in ({"sft_run": tuned["qlora"]}, {"spec": spec_for(max_steps=1, beta=0.2)}, {"rows": make_pairs(8)}):
        arguments = {"spec": spec_for(max_steps=1), "rows": make_pairs(), "sft_run": tuned["lora"]} | changed
        with pytest.raises(TypeError):
            preference.dpo(**arguments, store=store, quiet=True)


@pytest.mark.parametrize("method", METHODS)
def test_a_run_loads_and_merges_as_an_sft_run_does(tuned, store, tmp_path, method):
    run = preference.dpo(spec_for(max_steps=2), make_pairs(), sft_run=tuned[method], store=store, quiet=True)
    model, tokenizer = adapters.load_tuned(run)
    assert isinstance(model, PeftModel) == (method != "full")
    assert sorted(path.name for path in run.adapter.glob("ref*")) == []
    assert run.spec["sft"] == tuned[method].id and run.spec["beta"] == 0.1 and run.spec["method"] == method
    merged, _ = adapters.load_tuned(run, merged=True)
    assert scoring.kl_divergence(merged, model, tokenizer, make_rows(8)) < (0.05 if method == "qlora" else 1e-6)


def test_another_reference_stops_the_training_at_its_first_step(tuned, store, monkeypatch):
    """TRL alone takes the chat tokens of the base into the reference; here the whole reference is the base."""
    usual = preference.restore_reference

    def base_instead(model, start):
        usual(model, start)
        for name, value in model.named_parameters():
            if ".lora_B.ref." in name:
                value.data.zero_()

    monkeypatch.setattr(preference, "restore_reference", base_instead)
    with pytest.raises(RuntimeError, match=r"first loss is .* and 0\.6931 is due"):
        preference.dpo(spec_for(), make_pairs(), sft_run=tuned["lora"], store=store, quiet=True)
    assert store.runs() == []


def test_the_panel_knows_the_reference_from_one_label_too(tuned, store, monkeypatch):
    run = preference.dpo(spec_for(max_steps=1), make_pairs(), sft_run=tuned["lora"], store=store, quiet=True)
    changes = preference_panel.answer_changes(run, tuned["lora"])
    monkeypatch.setattr(preference_panel, "answer_changes", lambda *given: changes)
    for log in (run.log.assign(**{"rewards/rejected": float("nan")}), run.log.drop(columns="rewards/chosen")):
        one = SimpleNamespace(
            scores=run.scores, spec=run.spec, log=log
        )  # KTO logs no reward of a label that a step lacks
        panel = preference_panel.dpo_panel(one).set_index("question")
        assert panel.loc["policy against reference before the first step", "verdict"] == "the same model"


def test_the_panel_says_what_happened(tuned, store):
    run = preference.dpo(spec_for(max_steps=20), make_pairs(), sft_run=tuned["lora"], store=store, quiet=True)
    panel = preference_panel.dpo_panel(run, tuned["lora"]).set_index("question")
    assert panel.loc["first loss", "verdict"] == "as due: 0.6931"
    assert panel.loc["policy against reference before the first step", "verdict"] == "the same model"
    assert panel.loc["margin between them", "verdict"] == "grew" and panel.loc["margin between them", "value"] > 0
    tokenizer = loading.load_tokenizer(run.adapter)
    sizes = [sum(templates.encode(tokenizer, pair["prompt"] + pair["chosen"])[1]) for pair in make_pairs()]
    assert panel.loc["length of chosen answers", "value"] == pytest.approx(sum(sizes) / len(sizes))
    for side in ("chosen", "rejected"):  # after the last update, where the log's last entry is of the model before it
        change = (likelihood(run, make_pairs(), side) - likelihood(tuned["lora"], make_pairs(), side)).mean()
        assert panel.loc[f"{side} answers against the SFT model", "value"] == pytest.approx(change.item(), abs=1e-3)
        assert run.log[f"rewards/{side}"].iloc[-1] / 0.1 != pytest.approx(change.item(), abs=1e-3)
    control = preference.dpo(
        spec_for(loss="sft", max_steps=1), make_pairs(), sft_run=tuned["lora"], store=store, quiet=True
    )
    assert preference_panel.dpo_panel(control, tuned["lora"]).loc[0, "verdict"] == "of no reference"


def test_a_change_that_is_shown_as_zero_is_no_change(tuned, store):
    spec = spec_for(max_steps=1, learning_rate=1e-9)
    run = preference.dpo(spec, make_pairs(), sft_run=tuned["lora"], store=store, quiet=True)
    panel = preference_panel.dpo_panel(run, tuned["lora"]).set_index("question")
    assert panel.loc["chosen answers against the SFT model", "verdict"] == "as likely"
    assert panel.loc["rejected answers against the SFT model", "verdict"] == "as likely"
    assert panel.loc["margin between them", "verdict"] == "did NOT change"


def test_rows_that_judge_the_model_never_train_it(tuned, store):
    with pytest.raises(InputError, match="evaluation rows? found in the training data"):
        preference.dpo(
            spec_for(), make_pairs(), sft_run=tuned["lora"], evaluation=make_rows(2), store=store, quiet=True
        )
    assert store.runs() == [] and store.unfinished() == []


def test_some_pairs_without_a_difference_are_reported_and_pull_nowhere(tuned, store):
    same = [{**pair, "rejected": pair["chosen"]} for pair in make_pairs(8)]
    run = preference.dpo(spec_for(), [*make_pairs(8), *same], sft_run=tuned["lora"], store=store, quiet=True)
    found = {finding["code"]: finding for finding in run.record["findings"]}
    assert found["chosen-is-rejected"]["rows"] == list(range(8, 16))
    trainer = trainer_for(tuned["lora"], spec_for(), same, store.root)
    trainer.compute_loss(trainer.model, trainer.data_collator([trainer.train_dataset[i] for i in range(8)])).backward()
    pulls = {name: value.grad.abs().max() for name, value in trainer.model.named_parameters() if value.grad is not None}
    assert {name.split(".")[-2] for name in pulls} >= {"default"} and max(pulls.values()) < 1e-6


PAIR = make_pairs(1)[0]
ANSWER = PAIR["chosen"]


@pytest.mark.parametrize(
    "pairs, says",
    [
        ([PAIR, {**PAIR, "rejected": None}], r"no-pair: one of prompt, chosen and rejected .* is missing in 1 row; .* \(first rows\[1\]\)"),
        ([PAIR, {"prompt": PAIR["prompt"], "chosen": ANSWER}], r"no-pair: .*rows\[1\]"),
        (list(make_rows(2)), r"no-pair: .* in 2 rows; .*rows\[0\]"),
        ([{**PAIR, "chosen": "RED"}], r"no-pair: .* \(each a list of messages\)"),
        ([PAIR, {**PAIR, "chosen": [{"role": "user", "content": "?"}, *ANSWER]}], r"prompt-differs: in 1 pair .*rows\[1\]"),
        ([{**PAIR, "rejected": ANSWER}] * 2, "chosen-is-rejected: in 2 pairs the chosen and the rejected answer are the same"),
        ([], "no-rows"),
    ],
)  # fmt: skip
def test_rows_that_are_no_pairs_are_named(tuned, store, pairs, says):
    with pytest.raises(InputError, match=says) as caught:
        preference.dpo(spec_for(), pairs, sft_run=tuned["lora"], store=store, quiet=True)
    assert "\n" not in str(caught.value) and store.runs() == []


def test_dpo_without_an_sft_run_is_refused(tiny_base, store, tmp_path):
    missing = Run(tmp_path / "sft-0123")
    for nothing, wrong in (
        (None, "finished SFT run"),
        (tiny_base, "finished SFT run"),
        (missing, "no readable run.json"),
    ):
        with pytest.raises(InputError, match=wrong):
            preference.dpo(spec_for(), make_pairs(), sft_run=nothing, store=store, quiet=True)


def test_a_length_beyond_the_context_is_refused(tuned, store):
    with pytest.raises(InputError, match="max_length 1024 is more than the 512 tokens"):
        preference.dpo(spec_for(max_length=1024), make_pairs(), sft_run=tuned["lora"], store=store, quiet=True)


@pytest.mark.parametrize(
    "fields, says",
    [
        (
            {"loss": "simpo"},
            "loss 'simpo' is unknown; did you mean 'ipo'.* known are sigmoid, sigmoid.sft, ipo, sigmoid_norm, kto, sft",
        ),
        ({"beta": 0}, "beta is 0; it must be more than 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"batch_size": 8, "micro_batch_size": 3}, "not a multiple"),
    ],
)
def test_a_wrong_spec_is_named(fields, says):
    with pytest.raises(InputError, match=says):
        DPOSpec(**fields)


def test_drift_is_the_mean_kl_divergence_of_the_next_token(tuned):
    (policy, tokenizer), (reference, _) = adapters.load_tuned(tuned["full"]), adapters.load_tuned(tuned["lora"])
    rows, each = list(make_rows(5)), []
    for row in rows:
        ids, mask = (torch.tensor(part) for part in templates.encode(tokenizer, row["messages"]))
        with torch.no_grad():
            p, q = (model(input_ids=ids[None]).logits[0, :-1][mask[1:] == 1] for model in (policy, reference))
        p, q = (torch.distributions.Categorical(logits=side) for side in (p, q))
        each.append(torch.distributions.kl_divergence(p, q))
    expected = torch.cat(each).mean().item()
    for size in (1, 2, 5):
        assert scoring.kl_divergence(policy, reference, tokenizer, rows, batch_size=size) == pytest.approx(
            expected, rel=1e-4
        )
    assert scoring.kl_divergence(reference, policy, tokenizer, rows) != pytest.approx(expected, rel=0.01)


def test_tools_and_earlier_turns_of_a_pair_reach_the_model(tuned, tmp_path):
    tools = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 2}}}]}
    asked = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2+3?"}]
    pairs = [{"prompt": asked, "chosen": [call], "rejected": [{"role": "assistant", "content": "4"}], "tools": tools}]
    trainer = trainer_for(tuned["lora"], spec_for(batch_size=1), pairs, tmp_path)
    tokenizer = loading.load_tokenizer(tuned["lora"].adapter)
    assert trainer.train_dataset[0]["prompt_ids"] == templates.prompt_ids(tokenizer, asked, tools)
    assert tokenizer.decode(trainer.train_dataset[0]["chosen_ids"]).startswith('<tool_call>{"name": "add"')
    assert to_trl(pairs)[0]["rejected"][0]["content"] == "4"

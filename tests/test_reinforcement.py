"""Reinforcement learning begins at its start, goes on bit-equal after a kill, and learns what its reward says."""

import signal
from types import SimpleNamespace

import pytest
import torch
from conftest import make_rows
from test_supervised import interrupt_at, weights

from workbench import graders
from workbench.config import DPOSpec, RewardSpec, RLSpec
from workbench.data import templates
from workbench.errors import InputError
from workbench.evaluate import scoring
from workbench.models import adapters, generation, loading, precision
from workbench.store import Store
from workbench.train import preference, reinforcement, reward_models, rl_inputs, rollouts
from workbench.train.callbacks import RewardCallback

METHODS = ("lora", "qlora", "full")


def shouted(response: str, answer: str) -> graders.Grade:
    """A reply follows if it is in capitals, and is correct if it is the answer."""
    return graders.Grade(response.isupper(), response.strip() == answer)


@pytest.fixture(scope="module", autouse=True)
def _only_here():
    """Processes that other tests start, on Ray for instance, cannot import a grader of this file."""
    graders.register(shouted)
    yield
    del graders._registered["shouted"]


def make_prompts(count=12):
    rows = make_rows(count)
    return [
        {**row, "check": {"name": "shouted", "args": {"answer": row["messages"][-1]["content"]}}, "family": "say"}
        for row in rows
    ]


def spec_for(**fields):
    settings = {"max_steps": 4, "prompts": 4, "completions": 4, "max_new_tokens": 12, "learning_rate": 1e-3}
    return RLSpec(**settings | fields)


def letters(replies, rows):
    """Varies with every reply."""
    return [float(len(reply)) for reply in replies]


def train(spec, start, store, **others):
    arguments = {"reward": letters, "start": start, "store": store, "quiet": True} | others
    return reinforcement.rl(spec, arguments.pop("rows", make_prompts()), **arguments)


def trainer_for(spec, start, out, functions=None):
    model, tokenizer = reinforcement.load_start(spec, start)
    rows = rl_inputs.asked_rows(make_prompts(), [])
    lengths = rl_inputs.prompt_lengths(rows, tokenizer, loading.context_length(model), spec.max_new_tokens)
    return reinforcement.make_trainer(spec, model, tokenizer, rows, functions or {"letters": letters}, out, [], lengths)


@pytest.mark.parametrize("method", METHODS)
def test_the_reference_is_the_sft_model_and_every_trained_parameter_moves(tuned, tmp_path, method):
    trainer = trainer_for(spec_for(), tuned[method], tmp_path)
    sft, tokenizer = adapters.load_tuned(tuned[method])
    reference = trainer.ref_model
    if method != "full":
        trainer.model.set_adapter("ref")
        reference = trainer.model
    assert scoring.kl_divergence(reference, sft, tokenizer, make_rows(8)) == 0
    if method != "full":
        trainer.model.set_adapter("default")
    assert scoring.kl_divergence(trainer.model, sft, tokenizer, make_rows(8)) == 0
    before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
    trainer.train()
    moved = {name for name, value in trainer.model.named_parameters() if not torch.equal(value, before[name])}
    trained = set(before) if method == "full" else {name for name in before if "default" in name.split(".")}
    assert moved == trained
    assert trainer.state.log_history[0]["kl"] == pytest.approx(0, abs=1e-9)
    assert trainer.state.log_history[3]["kl"] > 1e-7


@pytest.mark.parametrize("method, loss", [("lora", "dapo"), ("qlora", "rloo"), ("full", "grpo")])
def test_a_base_is_the_reference_of_a_training_that_starts_from_it(tiny_base, store, method, loss):
    spec = spec_for(base=tiny_base, method=method, loss=loss, max_steps=2, rank=4)
    run = train(spec, None, store, watch={"words": "length"})
    assert run.log["kl"].iloc[0] == pytest.approx(0, abs=1e-8) and run.log["kl"].iloc[1] != 0
    assert run.spec["sft"] is None and run.spec["method"] == method and run.spec["reward"] == "letters"
    assert run.spec["rank"] == 4
    model, tokenizer = adapters.load_tuned(run)
    base = loading.load_base(tiny_base, method == "qlora", "cpu")
    assert scoring.kl_divergence(model, base, tokenizer, make_rows(8)) > 0
    assert run.log["reward"].iloc[0] == run.log["rewards/letters/mean"].iloc[0]
    assert run.log["rewards/words/mean"].notna().all(), "what is watched is logged and has no weight"


@pytest.mark.parametrize("method, updates, loss", [("lora", 1, "dapo"), ("qlora", 2, "dapo"), ("full", 1, "rloo")])
def test_a_run_that_is_stopped_at_any_step_goes_on_bit_equal(tuned, tmp_path, monkeypatch, method, updates, loss):
    spec = spec_for(updates=updates, loss=loss, max_steps=6)
    whole = train(spec, tuned[method], Store(tmp_path / "whole"))
    store = Store(tmp_path / "cut")
    with monkeypatch.context() as patch:
        interrupt_at(patch, 3, lambda: signal.raise_signal(signal.SIGINT))
        with pytest.raises(KeyboardInterrupt, match=f"after step {3 if updates == 1 else 4} of 6"):
            train(spec, tuned[method], store)
    taken = interrupt_at(monkeypatch, -1, None)
    run = train(spec, tuned[method], store)
    assert len(taken) == (3 if updates == 1 else 2) and run.id == whole.id
    assert weights(run) == weights(whole)
    timed = ["seconds", "step_time"]
    ours, theirs = (each.log.drop(columns=timed).sort_index(axis=1) for each in (run, whole))
    assert ours.equals(theirs)
    assert run.scores == whole.scores


def test_a_killed_run_goes_on_bit_equal_from_its_last_checkpoint(tuned, tmp_path, monkeypatch):
    """A kill, unlike Ctrl-C, saves nothing: here an exception between two checkpoints."""
    spec = spec_for(max_steps=6)
    whole = train(spec, tuned["lora"], Store(tmp_path / "whole"))
    store = Store(tmp_path / "cut")

    def killed():
        raise SystemExit

    with monkeypatch.context() as patch:
        interrupt_at(patch, 4, killed)
        with pytest.raises(SystemExit):
            train(spec, tuned["lora"], store, save_every=0.0)
    run = train(spec, tuned["lora"], store)
    assert weights(run) == weights(whole) and run.scores == whole.scores


def test_the_same_seed_gives_the_same_run_and_another_one_another(tuned, tmp_path):
    runs = [train(spec_for(max_steps=2, seed=seed), tuned["lora"], Store(tmp_path / name)) for name, seed in (("a", 0), ("b", 0), ("c", 1))]  # fmt: skip
    assert weights(runs[0]) == weights(runs[1]) != weights(runs[2])


@pytest.mark.parametrize("method", ["lora", "full"])
def test_reading_without_padding_gives_trls_numbers(tuned, tmp_path, method):
    trainer = trainer_for(spec_for(), tuned[method], tmp_path)
    tokenizer = trainer.processing_class
    asked = [templates.prompt_ids(tokenizer, row["messages"][:-1]) for row in make_rows(5)]
    prompts, mask = generation.pad_left([*asked[:4], asked[4][-9:]], tokenizer.pad_token_id)
    replies = torch.randint(20, 90, (5, 6))
    kept = torch.ones_like(replies)
    kept[1, 2:] = kept[3, 1:] = 0
    ids, mask = torch.cat([prompts, replies], 1), torch.cat([mask, kept], 1)
    ours = rollouts.read_unpadded(trainer, trainer.model, ids, mask, 6, 2, compute_entropy=True)
    usual = type(trainer)._get_per_token_logps_and_entropies(
        trainer, trainer.model, ids, mask, 6, 2, compute_entropy=True
    )
    for a, b in zip(ours[:2], usual[:2], strict=True):
        assert (a - b)[kept == 1].abs().max() < 1e-5 and b[kept == 1].abs().min() > 0


def test_a_prompt_is_asked_as_an_evaluation_asks_it_and_its_reply_is_read_as_there(tuned, tmp_path):
    seen = []

    def watched(replies, rows):
        seen.extend(zip(replies, rows, strict=True))
        return [float(len(reply)) for reply in replies]

    trainer = trainer_for(spec_for(max_steps=1, temperature=1e-4), tuned["lora"], tmp_path, {"watched": watched})
    tokenize, asked = trainer._tokenize_prompts, []
    trainer._tokenize_prompts = lambda prompts: asked.extend(tokenize(prompts)[0]) or tokenize(prompts)
    trainer.train()
    model, tokenizer = adapters.load_tuned(tuned["lora"])
    prompts = [templates.prompt_ids(tokenizer, row["messages"][:-1]) for _, row in seen]
    assert asked == prompts and len(seen) == 16
    expected = generation.generate(model, tokenizer, prompts, 12)
    assert [reply for reply, _ in seen] == [reply.text for reply in expected], (
        "so cold that it takes the likeliest token"
    )


def test_a_reward_for_length_makes_replies_longer(tuned, store):
    run = train(spec_for(max_steps=25, prompts=8, beta=0.0, learning_rate=3e-3), tuned["lora"], store, watch={"true": "correct"})  # fmt: skip
    length = run.log["completions/mean_length"]
    assert length.tail(5).mean() > length.iloc[0] + 2
    assert "kl" not in run.log and run.scores["kl"] is None
    assert run.log["rewards/true/mean"].tail(5).mean() <= run.log["rewards/true/mean"].head(5).mean()


def test_the_record_of_a_training_has_the_rank_of_its_start(tuned, store):
    """Not 16, the default of a spec that starts from a base: the start was trained with 4."""
    pair = {"prompt": [{"role": "user", "content": "say red"}], "chosen": [{"role": "assistant", "content": "RED"}]}
    pairs = [pair | {"rejected": [{"role": "assistant", "content": "red"}]}]
    for method in ("lora", "qlora"):
        dpo = preference.dpo(DPOSpec(max_steps=1), pairs, sft_run=tuned[method], store=store, quiet=True)
        rating = reward_models.reward_model(
            RewardSpec(max_steps=1), pairs, sft_run=tuned[method], store=store, quiet=True
        )
        learnt = train(spec_for(max_steps=1), dpo, store)
        assert [run.spec["rank"] for run in (dpo, rating, learnt)] == [4, 4, 4]


def test_a_finished_run_comes_back_at_once_and_another_reward_is_another_run(tuned, store, monkeypatch):
    spec = spec_for(max_steps=1)
    first = train(spec, tuned["lora"], store)
    monkeypatch.setattr(reinforcement, "make_trainer", None)
    assert train(spec, tuned["lora"], store).path == first.path
    others = [
        {"reward": "length"},
        {"watch": {"words": "length"}},
        {"start": tuned["qlora"]},
        {"rows": make_prompts(8)},
    ]
    for changed in others:
        with pytest.raises(TypeError):
            train(spec, **{"start": tuned["lora"], "store": store} | changed)


def test_a_prompt_may_be_a_text_and_a_check_json_text():
    row = {"prompt": "Say red.", "check": '{"name": "shouted", "args": {"answer": "RED"}}'}
    (asked,) = rl_inputs.asked_rows([row], ["correct"])
    turn = {"role": "user", "content": "Say red."}
    assert asked["messages"] == [turn, {"role": "assistant", "content": ""}]
    assert asked["check"] == {"name": "shouted", "args": {"answer": "RED"}}
    assert rl_inputs.asked_rows([row], [])[0]["check"] == row["check"]


def test_a_prompt_that_the_chat_template_refuses_is_named():
    def refuse(*read, **settings):
        raise ValueError("roles must alternate")

    with pytest.raises(
        InputError, match=r"rows\[0\]: the chat template refuses the prompt: roles must alternate; change"
    ):
        rl_inputs.prompt_lengths(make_prompts(1), SimpleNamespace(apply_chat_template=refuse), 512, 8)


ROWS = make_prompts(4)
TOOL = [{"type": "function", "function": {"name": "f", "parameters": {}}}]


@pytest.mark.parametrize(
    "changed, says",
    [
        ({"rows": []}, "there are no prompts to train on"),
        ({"rows": [*ROWS, {"messages": ROWS[0]["messages"]}], "reward": "correct"}, r'rows\[4\]: "check" is missing, which the reward correct asks'),
        ({"rows": [*ROWS, {"messages": ROWS[0]["messages"]}], "watch": {"true": "follows"}}, r'rows\[4\]: "check" is missing'),
        ({"rows": [{"messages": []}]}, r"rows\[0\]: it does not end with a user's turn"),
        ({"rows": [*ROWS, {"prompt": 5}]}, r'rows\[4\]: "prompt" is 5 \(int\); give a text or a list of turns, each with role and content'),
        ({"rows": [{"prompt": ["Say red."]}]}, r'rows\[0\]: "prompt" is \[.*\] \(list\); give a text or a list of turns'),
        ({"rows": [{"messages": "Say red."}]}, r'rows\[0\]: "messages" is .* \(str\); give a list of turns'),
        ({"rows": ["Say red."]}, r"rows\[0\]: 'Say red.' \(str\) is no row; write it as"),
        ({"rows": [{**ROWS[0], "check": "RED"}], "reward": "correct"}, r"""rows\[0\]: "check" is no grader with its args: 'RED'; write it as"""),
        ({"rows": [{**ROWS[0], "tools": TOOL}]}, r"rows\[0\]: it has tools"),
        ({"rows": [{"prompt": [{"role": "user", "content": "word " * 120}]}]}, r"rows\[0\]: the prompt is too long: it has 6\d\d tokens, .* context of 512"),
        ({"rows": ROWS, "evaluation": ROWS}, "evaluation rows found in the training data"),
        ({"reward": "corect"}, "reward 'corect' is unknown; did you mean 'correct'"),
        ({"reward": "keyword:"}, "reward 'keyword:' is unknown"),
        ({"reward": 3}, "a reward is a name, a run of a reward model or a function, not 3"),
        ({"reward": None}, "a reward is a name, a run of a reward model or a function, not None"),
        ({"start": "lora-1"}, "'lora-1' is not a run"),
        ({"start": None}, "there is nothing to start from"),
        ({"spec": spec_for(base="b")}, "base 'b' and the run lora-.* are both given"),
        ({"watch": {"letters": "length"}}, "watch names another reward 'letters'"),
        ({"report_to": "nothing"}, 'report_to "nothing" is not installed'),
    ],
)  # fmt: skip
def test_what_cannot_be_trained_on_is_named(tuned, store, changed, says):
    with pytest.raises(InputError, match=says) as caught:
        train(**{"spec": spec_for(), "start": tuned["lora"], "store": store} | changed)
    assert "\n" not in str(caught.value) and store.runs() == [] and store.unfinished() == []


def test_a_wrong_check_is_found_in_any_row_before_a_model_is_read(tuned, store, monkeypatch):
    rows = make_prompts(40)
    rows[39] = {**rows[39], "check": {"name": "shuted", "args": {}}}
    monkeypatch.setattr(reinforcement, "load_start", None)
    with pytest.raises(InputError, match="shuted"):
        train(spec_for(prompts=1, completions=2), tuned["lora"], store, rows=rows, reward="correct")
    assert store.runs() == [] and store.unfinished() == []


@pytest.mark.parametrize(("half", "limit"), [(True, 1e-3), (False, 1e-6)])
def test_a_model_in_half_precision_may_round_apart_from_its_reference_on_a_cpu_too(
    tuned, store, monkeypatch, half, limit
):
    monkeypatch.setattr(precision, "LARGE", 0 if half else 2**60)
    monkeypatch.setattr(precision, "bf16_is_faster", lambda: True)
    given, begin = [], RewardCallback.__init__
    monkeypatch.setattr(RewardCallback, "__init__", lambda self, most: given.append(most) or begin(self, most))
    run = train(spec_for(max_steps=2, beta=0.1, prompts=8), tuned["lora"], store)
    assert given == [limit] and run.environment["dtype"] == ("bfloat16" if half else "float32")


def raises(replies, rows):
    return [1 / 0 for _ in replies]


def no_number(replies, rows):
    return [float("nan") for _ in replies]


def endless(replies, rows):
    return [float("inf") for _ in replies]


def words(replies, rows):
    return [reply for reply in replies]


def nothing(replies, rows):
    return None


def some_nothing(replies, rows):
    return [None for _ in replies]


def too_few(replies, rows):
    return [1.0]


def constant(replies, rows):
    return [0.5 for _ in replies]


@pytest.mark.parametrize(
    "reward, says",
    [
        (raises, "the reward raises raises ZeroDivisionError: division by zero"),
        (no_number, "the reward no_number gives nan for the reply 'REDRED'"),
        (endless, "the reward endless gives inf for the reply"),
        (words, r"the reward words gives 'REDRED' \(str\) for the reply .*; it must give numbers"),
        (nothing, r"the reward nothing gives None \(NoneType\); it must give a list of numbers"),
        (some_nothing, r"the reward some_nothing gives None \(NoneType\)"),
        (too_few, "the reward too_few gives 1 values for 12 replies"),
        (constant, "the reward constant is 0.5 for .* different replies, so there is nothing to learn"),
        ("keyword:unsaid", "the reward keyword:unsaid is 0 for .* different replies"),
    ],
)
def test_a_reward_that_gives_no_numbers_or_always_the_same_is_refused(tuned, store, reward, says):
    with pytest.raises(InputError, match=says) as caught:
        train(spec_for(), tuned["lora"], store, reward=reward)
    assert "\n" not in str(caught.value) and store.runs() == [] and store.unfinished() == []


def test_a_training_without_any_spread_is_stopped(tuned, store, monkeypatch):
    """The reward tells reference answers from others, and the model never earns it."""
    monkeypatch.setattr(RewardCallback, "STEPS", 2)

    def reference(replies, rows):
        return [float(reply == "REFERENCE") for reply in replies]

    rows = [{**row, "messages": [row["messages"][0], {"role": "assistant", "content": "REFERENCE"}]} for row in ROWS]
    with pytest.raises(InputError, match="in 2 steps all replies to a prompt got the same reward"):
        train(spec_for(), tuned["lora"], store, reward=reference, rows=rows)


def test_another_reference_stops_the_training_at_its_first_step(tuned, store, monkeypatch):
    """TRL alone takes the chat tokens of the base into the reference; here the whole reference is the base."""
    usual = preference.restore_reference

    def base_instead(model, start):
        usual(model, start)
        for name, value in model.named_parameters():
            if ".lora_B.ref." in name:
                value.data.zero_()

    monkeypatch.setattr(preference, "restore_reference", base_instead)
    with pytest.raises(RuntimeError, match="the KL divergence at the first step is .* and 0 is due"):
        train(spec_for(), tuned["lora"], store)
    assert store.runs() == []


@pytest.mark.parametrize(
    "fields, says",
    [
        ({"completions": 1}, "completions is 1; it must be 2 or more"),
        ({"beta": -0.1}, "beta is -0.1; it must be 0 or more"),
        ({"temperature": 0}, "temperature is 0; it must be more than 0"),
        ({"loss": "ppo"}, "loss 'ppo' is unknown"),
        ({"advantages": "all"}, "advantages 'all' is unknown"),
        ({"micro_batch_size": 5}, "prompts × completions 64 is not a multiple of micro_batch_size 5"),
        ({"max_steps": 0}, "max_steps is 0"),
    ],
)
def test_fields_that_cannot_be_are_named(fields, says):
    with pytest.raises(InputError, match=says):
        RLSpec(**fields)

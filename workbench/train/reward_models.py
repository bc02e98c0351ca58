"""Train a reward model on preference pairs with TRL, from a supervised run, and read what it gives to replies.

A reward model is the SFT model with one number in place of the next token, read at the end token of an answer; it learns to give the
chosen answer of a pair more than the rejected one (Bradley and Terry 1952; Ouyang et al. 2022, arXiv 2203.02155).
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import datasets
import torch
import transformers
import trl

from workbench import environment, recipes
from workbench.config import RewardSpec
from workbench.data import content, preference_validation, templates, validation
from workbench.errors import InputError, first_line
from workbench.models import adapters, loading, logprobs, precision
from workbench.rewards import Reward
from workbench.store import Run, Store
from workbench.train import disk, preference
from workbench.train.trainer import (
    attach_tracker,
    dtype_begun,
    fix_trl_trainer,
    memory_arguments,
    remember_dtype,
    require_context,
    run_to_end,
    save_run,
    to_trl,
    trainer_arguments,
)


def reward_model(
    spec: RewardSpec,
    rows: datasets.Dataset,
    *,
    sft_run: Run | None = None,
    evaluation: datasets.Dataset | None = None,
    store: Store | None = None,
    quiet: bool = False,
    save_every: float = 20.0,
    report_to: str = "none",
) -> Run:
    """Train a reward model on preference pairs and return the finished run; a run that is stored is returned at once.

    Args:
        spec: settings.
        rows: pairs: ``prompt``, ``chosen`` and ``rejected``, each a list of messages (and ``tools``).
        sft_run: the run whose model is trained on, with its method and rank.
        evaluation: rows that will judge a model trained with this reward; the training stops before it begins if they are among the pairs.
        store: where the run is kept; None takes the default store.
        quiet: show no progress bar.
        save_every, report_to: as in :func:`workbench.train.supervised.sft`.

    Raises:
        InputError: no SFT run, rows that are not pairs, validation found an error, evaluation rows leaked, or the disk is full.
        KeyboardInterrupt: stopped; the same call continues.
    """
    if not isinstance(sft_run, Run):
        raise InputError(
            f"a reward model starts from a finished SFT run; {sft_run!r} is not one: pass what train.sft returns as sft_run"
        )
    if sft_run.id.startswith(f"{adapters.REWARD}-"):
        raise InputError(f"{sft_run.id} is a reward model itself; give the run of sft, dpo or rl that it was made from")
    return preference.run_on_pairs(
        adapters.REWARD, recipes.RL, spec, rows, sft_run, evaluation, store, report_to,
        lambda work: _train(work, spec, sft_run, rows, quiet, save_every, report_to),
    )  # fmt: skip


@environment.few_progress_bars()
def _train(
    work: Path, spec: RewardSpec, sft_run: Run, rows: datasets.Dataset, quiet: bool, save_every: float, report_to: str
) -> dict:
    """Train in the folder ``work`` and return the run's record."""
    from workbench.train.callbacks import CheckpointCallback

    dataset = to_trl(rows)
    disk.require_disk(work, disk.saved_weights(sft_run.adapter), sft_run.adapter, dataset.data.nbytes)
    came_from = {name: sft_run.spec[name] for name in ("base", "revision", "method")}
    model, tokenizer = from_sft(sft_run, dtype_begun(work))
    require_context(loading.context_length(model), came_from["base"], spec.max_length)
    tokens = None if came_from["method"] == "full" else adapters.chat_token_ids(tokenizer)
    findings = validation.validate(rows, tokenizer, spec.max_length, trainable=tokens)
    validation.require_valid(findings)
    callback, used = CheckpointCallback(save_every), remember_dtype(work, model.dtype)
    trainer = make_trainer(spec, model, tokenizer, dataset, work / "checkpoints", [callback], quiet)
    attach_tracker(trainer, report_to, work)
    log = run_to_end(trainer, callback, work)
    save_run(trainer, tokenizer, dataset, work)
    last = log.iloc[-1]
    return {
        "spec": {**came_from, **preference.rank_of(model), "sft": sft_run.id, **dataclasses.asdict(spec)},
        "environment": {**environment.describe(), "dtype": used, "seconds": float(last["seconds"])},
        "scores": {
            "rows": len(trainer.train_dataset), "steps": trainer.state.global_step, "tokens": int(last["num_tokens"]),
            "loss": float(last["loss"]), "first_loss": float(log["loss"].iloc[0]),
        },
        "findings": [dataclasses.asdict(finding) for finding in findings],
    }  # fmt: skip


def make_trainer(
    spec: RewardSpec,
    model: torch.nn.Module,
    tokenizer: transformers.PreTrainedTokenizerBase,
    dataset: datasets.Dataset,
    out: Path,
    callbacks: list[transformers.TrainerCallback],
    quiet: bool = True,
) -> trl.RewardTrainer:
    """Return TRL's trainer for this spec, a model with a reward head and pairs as :func:`workbench.train.trainer.to_trl` returns them."""
    pairs = [{f"{side}_ids": _read(tokenizer, row, side) for side in preference_validation.ANSWERS} for row in dataset]
    if not any(max(map(len, pair.values())) <= spec.max_length for pair in pairs):  # TRL leaves out the others
        raise InputError(f"no pair has both answers within max_length {spec.max_length}; raise it")
    settings = trainer_arguments(spec, model, len(pairs), out, quiet)
    if model.device.type == "cuda":  # both answers of a pair are read at a time
        settings |= memory_arguments(spec, model, *preference.method_of(model), 2 * spec.max_length, spec.batch_size)
    trainer = trl.RewardTrainer(
        model=model, args=trl.RewardConfig(**settings, max_length=spec.max_length, disable_dropout=True), processing_class=tokenizer,
        train_dataset=datasets.Dataset.from_list(pairs), callbacks=callbacks,
    )  # fmt: skip
    fix_trl_trainer(trainer)
    preference.switch_off_dropout(trainer.model)
    return trainer


def _read(tokenizer: transformers.PreTrainedTokenizerBase, row: dict, side: str) -> list[int]:
    """Return the token ids of a prompt and one of its answers up to the end token, where the reward is read."""
    ids, mask = templates.encode(tokenizer, row["prompt"] + row[side], content.row_tools(row))
    return ids[: len(mask) - mask[::-1].index(1)]


def from_sft(
    run: Run, dtype: torch.dtype | None = None
) -> tuple[torch.nn.Module, transformers.PreTrainedTokenizerBase]:
    """Return the model of an SFT run with a reward head that gives 0, all of it to be trained that the SFT trained, and its tokenizer.

    Args:
        dtype: as for :func:`workbench.models.adapters.load_tuned`.
    """
    if run.spec["method"] == "full":
        model, tokenizer = adapters.load_tuned(run, trainable=True)
        return _with_head(model), tokenizer
    import peft

    model, tokenizer = _base(run, dtype)
    adapter = peft.LoraConfig.from_pretrained(run.adapter)
    inside = [name for name, part in model.named_modules() if part is model.get_input_embeddings()]
    adapter.task_type, adapter.modules_to_save, adapter.inference_mode = peft.TaskType.SEQ_CLS, ["score"], False
    if adapter.trainable_token_indices:  # the output embedding, where it has rows of its own, is gone
        own = {name.rpartition(".")[2] for name in inside}
        adapter.trainable_token_indices = {
            name: ids for name, ids in adapter.trainable_token_indices.items() if name in own
        }
    model = peft.get_peft_model(model, adapter)
    weights = peft.utils.save_and_load.load_peft_weights(str(run.adapter), device=str(model.device))
    weights["base_model.model.score.weight"] = torch.zeros(1, model.config.get_text_config().hidden_size)
    found = peft.set_peft_model_state_dict(model, weights)
    strange = [name for name in found.unexpected_keys if "lm_head" not in name and "embed_out" not in name]
    if strange:
        raise InputError(
            f"{run.id}: {len(strange)} weights of the adapter fit no layer of a reward model, such as {strange[0]}"
        )
    return model, tokenizer


def _base(run: Run, dtype: torch.dtype | None = None) -> tuple[torch.nn.Module, transformers.PreTrainedTokenizerBase]:
    """Return the base of a run with an adapter, with a reward head that gives 0, and the run's tokenizer."""
    tokenizer = loading.read_pretrained(transformers.AutoTokenizer, run.adapter)
    spec = run.spec
    base = loading.load_base(
        spec["base"], spec["method"] == "qlora", revision=spec["revision"], dtype=dtype, tokenizer=tokenizer
    )
    return _with_head(adapters.unpacked(base)), tokenizer


def _with_head(model: transformers.PreTrainedModel) -> torch.nn.Module:
    """Return the layers of a language model under a head that gives one number, 0 at first: the first loss is ln 2 for any pairs."""
    config = copy.deepcopy(model.config)
    config.num_labels = 1
    try:
        with torch.device("meta"):  # its own layers are thrown away
            scored = transformers.AutoModelForSequenceClassification.from_config(config)
        head = torch.nn.Linear(scored.score.in_features, 1, bias=False, device=model.device, dtype=model.dtype)
    except (ValueError, AttributeError) as error:
        raise InputError(
            f"{config.model_type} has no form with one number as output in transformers ({first_line(error)}); take another base"
        ) from error
    torch.nn.init.zeros_(head.weight)
    setattr(scored, scored.base_model_prefix, model.base_model)
    scored.score = head
    return scored


def load_reward_model(run: Run) -> tuple[torch.nn.Module, transformers.PreTrainedTokenizerBase]:
    """Return the model of a run of :func:`reward_model` and its tokenizer. Raises InputError for another run."""
    if not run.id.startswith(f"{adapters.REWARD}-"):
        raise InputError(
            f"{run.id} is no reward model; give a run of `workbench reward-model`, or the name of a reward"
        )
    if run.spec["method"] == "full":
        tokenizer = loading.read_pretrained(transformers.AutoTokenizer, run.adapter)
        model = loading.read_pretrained(
            transformers.AutoModelForSequenceClassification,
            run.adapter,
            device_map={"": loading.default_device()},
        )
    else:
        import peft

        model, tokenizer = _base(run)
        model = peft.PeftModel.from_pretrained(model, run.adapter)
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id  # it finds the last token by it
    return model.eval(), tokenizer


def scores(
    model: torch.nn.Module, tokenizer: transformers.PreTrainedTokenizerBase, conversations: Sequence[dict]
) -> list[float]:
    """Return the reward of each conversation (``messages`` whose last turn is the answer, and ``tools``), in order."""
    read = [
        _read(tokenizer, {"prompt": each["messages"], "chosen": [], "tools": each.get("tools")}, "chosen")
        for each in conversations
    ]
    found = [0.0] * len(read)
    device = model.device.type
    half = torch.autocast(device, dtype=precision.compute_dtype(device)) if device == "cuda" else nullcontext()
    with logprobs.evaluation_mode(model), half:
        for places, ids in logprobs.batches(model, read):
            mask = torch.tensor([[1] * len(read[i]) + [0] * (ids.shape[1] - len(read[i])) for i in places])
            given = model(input_ids=ids.masked_fill(~mask.bool().to(ids.device), tokenizer.pad_token_id), attention_mask=mask.to(ids.device)).logits[:, 0]  # fmt: skip
            for i, value in zip(places, given.float().tolist(), strict=True):
                found[i] = value
    return found


def as_reward(run: Run) -> Reward:
    """Return a reward that asks the reward model of a run."""
    model, tokenizer = load_reward_model(run)

    def reward(replies: Sequence[str], rows: Sequence[dict]) -> list[float]:
        answers = [{"role": "assistant", "content": reply} for reply in replies]
        read = zip(rows, answers, strict=True)
        return scores(model, tokenizer, [{"messages": content.prompt_turns(row) + [said]} for row, said in read])

    return reward

"""Do the work of the commands sft and dpo, and yield what they print, line by line."""

from collections.abc import Iterator

import datasets
from transformers import PreTrainedTokenizerBase

from workbench import distributed, environment, hub
from workbench.cli import dry_run
from workbench.cli.masks import data_lines
from workbench.config import DPOSpec, SFTSpec
from workbench.data import content, decontamination, reading, templates, validation
from workbench.data.findings import Finding, placed
from workbench.errors import InputError, counted
from workbench.models import adapters, generation, loading, requirements
from workbench.store import Run
from workbench.train import preference, preference_panel, supervised

NEW_TOKENS = 64
"""Longest sample answer, in tokens."""


def sft_lines(
    spec: SFTSpec,
    loaded: reading.Loaded,
    fraction: float,
    drop_bad: bool,
    samples: int,
    report_to: str = "none",
    dry: bool = False,
) -> Iterator[str]:
    """Train on the rows that were read and yield each line to print as soon as it is known.

    Args:
        fraction: share of the rows held out from training; the loss and the sample answers are measured on them.
        drop_bad: leave out rows that cannot be used instead of raising.
        samples: how many held-out prompts are answered.
        report_to: a tracker, see :func:`workbench.train.supervised.sft`.
        dry: only show what would be done, see :mod:`workbench.cli.dry_run`.

    Raises:
        InputError: data or base cannot be used; raised before anything is trained.
    """
    yield from data_lines(loaded)
    if "messages" not in loaded.rows.column_names:
        raise InputError(
            f"{loaded.source}: preference pairs (chosen, rejected) are for `workbench dpo`; sft needs one answer per prompt"
        )
    folder = hub.fetch(spec.base, spec.revision)
    share = requirements.require_method(folder, spec.method)
    environment.print_once(f"{'template':<12}{loading.describe_format(folder, spec.template)[1]}")
    tokenizer = loading.load_tokenizer(spec.base, spec.revision, spec.template)
    if share < 0.5:
        yield f"{'method':<12}{spec.method} reaches {share:.0%} of the weights: adapters are for linear layers, and those of the experts are not"
    rows, findings = validated(loaded, tokenizer, spec.max_length, drop_bad)
    yield from finding_lines(findings)
    validation.require_valid(findings)
    rows, held_out = split(rows, findings, fraction, spec.seed)
    yield f"{'training':<12}{spec.method} of {spec.base} on {counted(len(rows), 'row')}, {len(held_out):,} held out"
    if dry:
        yield from dry_run.sft_lines(spec, rows)
        return
    run = supervised.sft(spec, rows, held_out=held_out, report_to=report_to)
    before, after = run.scores["held_out_before"], run.scores["held_out_after"]
    yield f"{'loss':<12}{before:.3f} before, {after:.3f} after (nats per token of the held-out answers)"
    yield f"{'run':<12}{run.path}"
    if distributed.is_main_process():
        yield from answer_lines({"base": None, "tuned": run}, held_out, samples, "data")


def dpo_lines(
    spec: DPOSpec,
    loaded: reading.Loaded,
    start: Run,
    fraction: float,
    drop_bad: bool,
    samples: int,
    dry: bool = False,
) -> Iterator[str]:
    """Train the model of the SFT run `start` on the pairs that were read and yield each line to print as soon as it is known.

    Args:
        fraction: share of the pairs held out from training; their prompts are the ones that are answered.
        drop_bad: leave out pairs that cannot be used, and those whose two answers are the same.
        samples: how many held-out prompts are answered.
        dry: only show what would be done, see :mod:`workbench.cli.dry_run`.

    Raises:
        InputError: the pairs cannot be used; raised before anything is trained.
    """
    yield from data_lines(loaded)
    if "chosen" not in loaded.rows.column_names:
        raise InputError(
            f"{loaded.source}: one answer per prompt is for `workbench sft`; dpo needs pairs (chosen, rejected)"
        )
    rows, findings = validated(loaded, loading.load_tokenizer(start.adapter), spec.max_length, drop_bad)
    yield from finding_lines(findings)
    validation.require_valid(findings)
    rows, held_out = split(rows, findings, fraction, spec.seed)
    yield f"{'training':<12}{spec.loss} from {start.id} on {counted(len(rows), 'pair')}, {len(held_out):,} held out"
    if dry:
        yield from dry_run.dpo_lines(spec, rows, start)
        return
    run = preference.dpo(spec, rows, sft_run=start)
    for line in preference_panel.dpo_panel(run).itertuples():
        verdict = f", {line.verdict}" if line.verdict else ""
        yield f"{'result':<12}{line.question}: {line.value:.3f} {line.unit}{verdict}"
    yield f"{'run':<12}{run.path}"
    asked = [row | {"messages": row["prompt"] + row["chosen"]} for row in held_out]
    trained = {"kto": "KTO", "ipo": "IPO"}.get(spec.loss, "DPO")
    yield from answer_lines({"SFT": start, trained: run}, asked, samples, "chosen")


def validated(
    loaded: reading.Loaded, tokenizer: PreTrainedTokenizerBase, max_length: int, drop_bad: bool
) -> tuple[datasets.Dataset, list[Finding]]:
    """Return the rows that were read, with `drop_bad` only those that can be used, and their findings, which name places in the source."""
    if drop_bad:
        return validation.validate_and_drop(loaded.rows, tokenizer, max_length, loaded.place)
    return loaded.rows, placed(validation.validate(loaded.rows, tokenizer, max_length), loaded.place)


def split(
    rows: datasets.Dataset, findings: list[Finding], fraction: float, seed: int
) -> tuple[datasets.Dataset, datasets.Dataset]:
    """Split into (training, held out); every held-out row has an answer to measure."""
    unmeasured = validation.rows_with(findings, "answer-lost", "weight-zero")
    return decontamination.hold_out(rows, fraction, seed, exclude=unmeasured)


def finding_lines(findings: list[Finding]) -> Iterator[str]:
    """Yield one line per finding of the validation."""
    yield from (f"{'validation':<12}{finding.level}: {finding.text}" for finding in findings)
    if not findings:
        yield f"{'validation':<12}no problems found"


def answer_lines(models: dict[str, Run | None], rows, samples: int, reference: str) -> Iterator[str]:
    """Yield prompts with the answers of several models and, under the name `reference`, the last turn of the row if it says anything.

    models: name → run; None is the base of the last run, which continues the prompt as plain text.
    """
    *_, last = models.values()
    tokenizer = loading.load_tokenizer(last.adapter)
    asked = _that_fit(rows, samples, tokenizer, last)
    if not asked:
        return
    texts = [content.plain_prompt(row) for row, _ in asked]
    replies = {}
    for name, run in models.items():
        if run:
            model, prompts = adapters.load_tuned(run)[0], [ids for _, ids in asked]
        else:
            # In 4 bits where the tuned one is: in full precision it may not fit into memory beside it.
            quantized = last.spec["method"] == "qlora"
            model = loading.load_base(last.spec["base"], quantized, revision=last.spec["revision"], tokenizer=tokenizer)
            prompts = [generation.text_ids(tokenizer, f"{text}\n") for text in texts]
        replies[name] = generation.generate(model, tokenizer, prompts, NEW_TOKENS)
    for i, (row, _) in enumerate(asked):
        yield f"\n{'prompt':<9}{_indented(texts[i])}"
        for name, each in replies.items():
            yield f"{name:<9}{_indented(each[i].text)}{'' if each[i].stopped or not models[name] else ' …'}"
        if answer := content.message_text(row["messages"][-1]):
            yield f"{reference:<9}{_indented(answer)}"


def _that_fit(rows, samples: int, tokenizer, run: Run) -> list[tuple[dict, list[int]]]:
    """Return the first `samples` rows whose prompt leaves room to answer in the context, with the prompt's token ids."""
    room = loading.context_length(hub.fetch(run.spec["base"], run.spec["revision"])) - NEW_TOKENS
    found = []
    for row in rows:
        if len(found) == samples:
            break
        ids = templates.prompt_ids(tokenizer, row["messages"][:-1], content.row_tools(row))
        if len(ids) <= room:
            found.append((row, ids))
    return found


def _indented(text: str, most: int = 400) -> str:
    """Return the text, cut to `most` characters, with later lines indented to the column of the first."""
    text = text.strip() or "(nothing)"
    return (text if len(text) <= most else text[:most] + " …").replace("\n", "\n" + " " * 9)

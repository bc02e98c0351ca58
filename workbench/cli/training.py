"""Tune on data that we did not make, and say what came of it: the commands `workbench sft` and `workbench dpo`."""

from collections.abc import Iterator

import datasets

from workbench import distributed, hub, profiles
from workbench.config import DPOSpec, SFTSpec
from workbench.data import content, decontamination, reading, templates, validation
from workbench.errors import InputError
from workbench.models import adapters, generation, loading
from workbench.store import Run
from workbench.train import preference, supervised

NEW_TOKENS = 64


def tune_lines(
    source: str,
    base: str | None,
    fields: dict,
    fraction: float,
    drop_bad: bool,
    samples: int,
    report_to: str = "none",
) -> Iterator[str]:
    """Train on `source` and yield what a person wants to read, line by line, as it becomes known.

    base: folder or Hub id; None is the pocket base. fields: of the SFTSpec, as typed by a person. fraction: of the rows
    kept out of training; the loss and the `samples` answers are measured on them. report_to: a tracker, see train.sft.
    Raises InputError before anything is trained where data, base or fields cannot be used.
    """
    if not 0 < fraction < 1:
        raise InputError(f"hold-out {fraction} must be between 0 and 1; 0.1 keeps every tenth row to measure on")
    spec = SFTSpec.of(base=str(base or profiles.get("pocket").base), **fields)
    loaded = reading.load(source, drop_bad=drop_bad)
    yield f"data     {source}: {len(loaded.rows):,} rows, format {loaded.format}"
    yield from (f"         {note}" for note in loaded.notes)
    if "messages" not in loaded.rows.column_names:
        raise InputError(
            f"{source}: preference pairs (chosen, rejected) are for DPO; give data with one answer a prompt"
        )
    findings = validation.validate(loaded.rows, loading.load_tokenizer(spec.base), spec.max_length)
    yield from finding_lines(findings)
    validation.require_valid(findings)
    rows, held_out = decontamination.hold_out(loaded.rows, fraction, spec.seed)
    yield f"training {spec.method} of {spec.base} on {len(rows):,} rows, {len(held_out):,} held out"
    run = supervised.sft(spec, rows, held_out=held_out, report_to=report_to)
    scores = run.scores
    yield f"loss     {scores['held_out_before']:.3f} before, {scores['held_out_after']:.3f} after (nats a token of held-out answers)"
    yield f"run      {run.path}"
    if distributed.is_main_process():
        yield from answer_lines(run, held_out, samples)


def dpo_lines(source: str, start: Run, fields: dict, fraction: float, drop_bad: bool, samples: int) -> Iterator[str]:
    """Go on with the model of an SFT run on the pairs in `source` and yield what a person wants to read, line by line.

    fields: of the DPOSpec. fraction: of the pairs kept out of training, to show `samples` answers to. drop_bad: leave out
    pairs that cannot be used, and those whose two answers are the same.
    Raises InputError before anything is trained where pairs or fields cannot be used.
    """
    if not 0 < fraction < 1:
        raise InputError(f"hold-out {fraction} must be between 0 and 1; 0.1 keeps every tenth pair to ask")
    spec = DPOSpec(**fields)
    loaded = reading.load(source, drop_bad=drop_bad)
    rows = loaded.rows
    yield f"data     {source}: {len(rows):,} rows, format {loaded.format}"
    yield from (f"         {note}" for note in loaded.notes)
    if "chosen" not in rows.column_names:
        raise InputError(f"{source}: one answer a prompt is for `workbench sft`; DPO needs pairs (chosen, rejected)")
    findings = validation.validate(rows, loading.load_tokenizer(start.adapter), spec.max_length)
    yield from finding_lines(findings)
    validation.require_valid(findings)
    same = {i for finding in findings if finding.code == "chosen-is-rejected" for i in finding.rows}
    if drop_bad and same:
        rows = rows.select([i for i in range(len(rows)) if i not in same])
        yield f"         {len(same):,} pairs left out, {len(rows):,} kept"
    rows, held_out = decontamination.hold_out(rows, fraction, spec.seed)
    yield f"training {spec.loss} from {start.id} on {len(rows):,} pairs, {len(held_out):,} held out"
    run = preference.dpo(spec, rows, sft_run=start)
    for line in preference.dpo_panel(run).itertuples():
        yield f"panel    {line.question}: {line.value:.3f} {line.unit}" + f", {line.verdict}" * bool(line.verdict)
    yield f"run      {run.path}"
    asked = [row | {"messages": row["prompt"] + row["chosen"]} for row in held_out]
    yield from side_by_side_lines({"SFT": start, "DPO": run}, asked, samples, "chosen")


def finding_lines(findings: list[validation.Finding]) -> Iterator[str]:
    """The findings, a line each."""
    yield from (f"doctor   {finding.level}: {finding.text}" for finding in findings)
    if not findings:
        yield "doctor   nothing found"


def answer_lines(run: Run, held_out: datasets.Dataset, samples: int) -> Iterator[str]:
    """What the base model (as plain text) and the tuned one (in its chat template) write after held-out prompts."""
    yield from side_by_side_lines({"base": None, "tuned": run}, held_out, samples, "data")


def side_by_side_lines(tuned: dict[str, Run | None], rows, samples: int, reference: str) -> Iterator[str]:
    """Prompts with the answers of several runs and the reference; None is the base of the last run, asked in plain text."""
    *_, last = tuned.values()
    tokenizer = loading.load_tokenizer(last.adapter)
    room = loading.context_length(hub.fetch(last.spec["base"], last.spec["revision"])) - NEW_TOKENS
    asked = []
    for row in rows:
        if len(asked) == samples:
            break
        ids = templates.prompt_ids(tokenizer, row["messages"][:-1], content.row_tools(row))
        if len(ids) <= room:  # a prompt that fills the context leaves no room to answer
            asked.append((row, ids))
    if not asked:
        return
    texts = [content.plain_prompt(row) for row, _ in asked]
    replies = {}
    for name, run in tuned.items():
        # The base in 4 bits where the tuned one is: in full it may not fit beside it.
        quantized, revision = last.spec["method"] == "qlora", last.spec["revision"]
        model = (
            adapters.load_tuned(run)[0] if run else loading.load_base(last.spec["base"], quantized, revision=revision)
        )
        prompts = [
            ids if run else generation.text_ids(tokenizer, f"{text}\n")
            for text, (_, ids) in zip(texts, asked, strict=True)
        ]
        replies[name] = generation.generate(model, tokenizer, prompts, NEW_TOKENS)
    for i, (row, _) in enumerate(asked):
        yield f"\n{'prompt':<9}{_indented(texts[i])}"
        for name, each in replies.items():
            yield f"{name:<9}{_indented(each[i].text)}{'' if each[i].stopped or not tuned[name] else ' …'}"
        yield f"{reference:<9}{_indented(content.message_text(row['messages'][-1]))}"


def _indented(text: str, most: int = 400) -> str:
    text = text.strip() or "(nothing)"
    return (text if len(text) <= most else text[:most] + " …").replace("\n", "\n" + " " * 9)

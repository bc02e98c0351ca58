"""Tune a base model on data that we did not make, and say what came of it: the command `workbench sft`."""

from collections.abc import Iterator

from workbench import chat, data, doctor, evaluate, generate, models, profiles, ranks, train
from workbench.errors import InputError
from workbench.specs import SFTSpec

NEW_TOKENS = 64


def tune(
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
    loaded = data.load(source, drop_bad=drop_bad)
    yield f"data     {source}: {len(loaded.rows):,} rows, format {loaded.format}"
    yield from (f"         {note}" for note in loaded.notes)
    if "messages" not in loaded.rows.column_names:
        raise InputError(
            f"{source}: preference pairs (chosen, rejected) are for DPO; give data with one answer a prompt"
        )
    tokenizer = models.load_tokenizer(spec.base)
    findings = doctor.examine(loaded.rows, tokenizer, spec.max_length)
    yield from (f"doctor   {finding.level}: {finding.text}" for finding in findings)
    if not findings:
        yield "doctor   nothing found"
    doctor.require(findings)
    rows, held_out = data.hold_out(loaded.rows, fraction, spec.seed)
    yield f"training {spec.method} of {spec.base} on {len(rows):,} rows, {len(held_out):,} held out"
    run = train.sft(spec, rows, held_out=held_out, report_to=report_to)
    scores = run.scores
    yield f"loss     {scores['held_out_before']:.3f} before, {scores['held_out_after']:.3f} after (nats a token of held-out answers)"
    yield f"run      {run.path}"
    if ranks.main():
        yield from answers(run, held_out, samples)


def answers(run, held_out, samples: int) -> Iterator[str]:
    """What the base model (as plain text) and the tuned one (in its chat template) write after held-out prompts."""
    tuned, tokenizer = models.load_tuned(run)
    room = tuned.config.max_position_embeddings - NEW_TOKENS
    asked = []
    for row in held_out:
        if len(asked) == samples:
            break
        ids = chat.prompt_ids(tokenizer, row["messages"][:-1], data.tools(row))
        if len(ids) <= room:  # a prompt that fills the context leaves no room to answer
            asked.append((row, ids))
    if not asked:
        return
    texts = [evaluate.plain(row) for row, _ in asked]
    # in 4 bits where the tuned one is: in full it may not fit beside it
    base = models.load_base(run.spec["base"], run.spec["method"] == "qlora", revision=run.spec["revision"])
    plain = [generate.text_ids(tokenizer, text + "\n") for text in texts]
    before = generate.generate(base, tokenizer, plain, NEW_TOKENS)
    after = generate.generate(tuned, tokenizer, [ids for _, ids in asked], NEW_TOKENS)
    for text, one, two, (row, _) in zip(texts, before, after, asked, strict=True):
        yield f"\nprompt   {_indented(text)}"
        yield f"base     {_indented(one.text)}"
        yield f"tuned    {_indented(two.text)}{'' if two.stopped else ' …'}"
        yield f"data     {_indented(evaluate.said(row['messages'][-1]))}"


def _indented(text: str, most: int = 400) -> str:
    text = text.strip() or "(nothing)"
    return (text if len(text) <= most else text[:most] + " …").replace("\n", "\n" + " " * 9)

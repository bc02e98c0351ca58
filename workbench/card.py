"""The gates of the pocket base model, measured on what is stored, and the model card that publishes them."""

import json
from pathlib import Path

from workbench import claims, evaluate, measures
from workbench.claims import Claim
from workbench.pocket import pretrain, probes, tasks

CARD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags: [llama, base-model, instruction-tuning, teaching]
---

# pocket-base

A base model of {millions:.1f} M parameters for taking instruction tuning apart on a laptop. It only completes text. Everything it
read was made by `workbench/pocket/` from {facts:,} facts in `data/facts/`, so what it can know is known exactly.
It has seen no chat format: the tokens for one are reserved in its vocabulary and were never trained.

| | |
| --- | --- |
| architecture | `LlamaForCausalLM`, {layers} layers, {hidden} wide, {heads} heads, vocabulary {vocabulary:,}, context 512, tied embeddings; stored in bf16 |
{stretches}
| training | seed {seed}, AdamW, bf16 autocast; {tokens:,} tokens in all. Two quiet CPU cores (AVX-512 with bf16, 6,500 tokens per second) would need an estimated {hours:.1f} hours |
| made by | `workbench pretrain` |

## Gates

Measured on the test split, on facts whose questions are kept out of the tuning data, on values that come
again in the next sentences, in forms of the corpus and in forms that it does not hold, and on mappings in new forms. In brackets the 95% interval over prompts.

| gate | wanted | measured | prompts | verdict |
| --- | --- | --- | --- | --- |
{gates}

## Not for

Anything but experiments: it knows a few thousand facts and a small English, and its answers outside of them are noise.
"""
STRETCH = (
    "| {name} | {tokens:,} tokens of {genres} genres, each seen once (SHA-256 `{corpus}`); peak learning rate {peak}, falling over the last {decay:.0%} of the steps; "
    "{minutes} minutes on {machine} (torch {versions[torch]}, transformers {versions[transformers]}); loss {train_loss} on the last batches, {held_out_loss} nats per token on "
    "held-out text in the mix that carries facts (the base of 2026-11-23: {before}) |"
)


def gates(folder: Path) -> list[Claim]:
    """Measure what the base model must know and must not do, as claims with intervals."""
    base, test = str(folder), tasks.evaluation("test")
    cloze = measures.base_scores(base, tasks.cloze("test", 600), "cloze")
    few = measures.base_scores(base, test, "few_shot", shots=tasks.read("tuning"))
    asked = few[few["skill"] == "knowledge"]
    read = {
        (kind, forms): measures.base_scores(base, probes.copies(kind, "test", 400, forms), "cloze")
        for forms in ("known", "new")
        for kind in probes.KINDS
    }
    mapped = measures.base_scores(base, probes.completions("test", 420), "cloze")
    plain, chat = (measures.base_scores(base, test, mode) for mode in ("plain", "chat"))
    return [
        claims.check("cloze", "completes facts", "gate", evaluate.estimate(cloze, "correct"), claims.at_least(0.95)),
        claims.check("few-shot", "answers fact questions after four examples", "gate",
                     evaluate.estimate(asked, "correct"), claims.at_least(0.80)),
        claims.check("plain", "follows instructions in plain text", "gate",
                     evaluate.estimate(plain, "follows"), claims.at_most(0.10)),
        claims.check("chat", "follows instructions in the chat template", "gate",
                     evaluate.estimate(chat, "follows"), claims.at_most(0.05)),
        *(
            claims.check(f"copies-{kind}-{forms}", f"copies a {kind} out of the 60 tokens before, in a {forms} form", "gate",
                         evaluate.estimate(scores, "correct"), claims.at_least(0.95))
            for (kind, forms), scores in read.items()
        ),
        claims.check("completes", "completes a mapping that was shown once or twice", "gate",
                     evaluate.estimate(mapped, "correct"), claims.at_least(0.80)),
    ]  # fmt: skip


def write(folder: Path) -> list[Claim]:
    """Measure the gates and write README.md beside the weights; returns the gates."""
    training = json.loads((folder / "training.json").read_text())
    found = gates(folder)
    lines = [f"| {c.text} | {c.region.text} | {c.evidence} | {c.evidence.prompts} | {c.verdict} |" for c in found]
    told = training["stretches"]
    rows = [
        STRETCH.format(**part, name=name, before=pretrain.LOSS_BEFORE)
        for part, name in zip(told, ("corpus", "then"), strict=True)
    ]
    tokens = sum(part["tokens"] for part in told)
    fields = {
        **training["spec"],
        **training,
        "millions": told[-1]["parameters"] / 1e6,
        "tokens": tokens,
        "hours": tokens / 6_500 / 3_600,
    }
    text = CARD.format(**{**fields, "stretches": "\n".join(rows), "gates": "\n".join(lines)})
    (folder / "README.md").write_text(text, encoding="utf-8")
    return found

"""Measure the release criteria (gates) of the pocket base model, and write the model card that publishes them."""

import json
from pathlib import Path

from workbench import outputs
from workbench.evaluate import scoring, stats
from workbench.experiments import claims
from workbench.pocket import base_model, probes, tasks

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


def measure_gates(folder: Path) -> list[claims.Claim]:
    """Return what the base model must know and must not do as claims, measured with intervals."""
    base, test = str(folder), tasks.evaluation("test")
    cloze = scoring.score_base(base, tasks.cloze("test", 600), "cloze")
    few = scoring.score_base(base, test, "few_shot", shots=tasks.read_rows("tuning"))
    asked = few[few["skill"] == "knowledge"]
    read = {
        (kind, forms): scoring.score_base(base, probes.copies(kind, "test", 400, forms), "cloze")
        for forms in ("known", "new")
        for kind in probes.KINDS
    }
    mapped = scoring.score_base(base, probes.completions("test", 420), "cloze")
    plain, chat = (scoring.score_base(base, test, mode) for mode in ("plain", "chat"))
    return [
        claims.check_claim("cloze", "completes facts", "gate", stats.estimate(cloze, "correct"), claims.at_least(0.95)),
        claims.check_claim("few-shot", "answers fact questions after four examples", "gate",
                     stats.estimate(asked, "correct"), claims.at_least(0.80)),
        claims.check_claim("plain", "follows instructions in plain text", "gate",
                     stats.estimate(plain, "follows"), claims.at_most(0.10)),
        claims.check_claim("chat", "follows instructions in the chat template", "gate",
                     stats.estimate(chat, "follows"), claims.at_most(0.05)),
        *(
            claims.check_claim(f"copies-{kind}-{forms}", f"copies a {kind} out of the 60 tokens before, in a {forms} form", "gate",
                         stats.estimate(scores, "correct"), claims.at_least(0.95))
            for (kind, forms), scores in read.items()
        ),
        claims.check_claim("completes", "completes a mapping that was shown once or twice", "gate",
                     stats.estimate(mapped, "correct"), claims.at_least(0.80)),
    ]  # fmt: skip


def write_card(folder: Path) -> list[claims.Claim]:
    """Measure the gates, write README.md beside the weights, and return the gates."""
    training = json.loads((folder / "training.json").read_text())
    found = measure_gates(folder)
    lines = [f"| {c.text} | {c.region.text} | {c.evidence} | {c.evidence.prompts} | {c.verdict} |" for c in found]
    told = training["stretches"]
    rows = [
        STRETCH.format(**part, name=name, before=base_model.LOSS_BEFORE)
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
    outputs.write_file(folder / "README.md", text, replace=True)
    return found

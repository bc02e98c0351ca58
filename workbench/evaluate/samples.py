"""Sample several replies to each prompt, and estimate how often one of k is right; rate pairs of answers with a reward model."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import pandas as pd

from workbench import hub
from workbench.data import content, preference_validation
from workbench.errors import InputError
from workbench.evaluate import scoring
from workbench.models import adapters, generation, loading
from workbench.store import Run, Store
from workbench.train import reward_models

PROMPT = ("index", "family", "skill", "axis", "split", "prompt")


def sample_replies(
    source: Run | str,
    rows: Sequence[dict],
    n: int = 8,
    *,
    mode: str = "chat",
    shots: Sequence[dict] = (),
    temperature: float = 1.0,
    max_new_tokens: int = scoring.REPLY_TOKENS,
    seed: int = 0,
    store: Store | None = None,
) -> pd.DataFrame:
    """Sample `n` replies to each prompt and grade them; the table is stored, with the run if there is one.

    Args:
        source: a run, or a base model (folder or Hub id).
        rows, mode, shots, max_new_tokens: as for :func:`workbench.evaluate.scoring.score`.
        temperature: of sampling.
        seed: of sampling.

    Returns:
        One row per prompt and reply: index, family, skill, axis, split, prompt, sample (from 0), response, follows, correct, stops, length (tokens).
    """
    rows = list(rows)

    def make() -> pd.DataFrame:
        model, tokenizer = adapters.load_any(source)
        prompts = [ids for ids in scoring.encode_prompts(tokenizer, rows, mode, shots) for _ in range(n)]
        replies = generation.generate(
            model, tokenizer, prompts, max_new_tokens, stop=scoring.MODES[mode], temperature=temperature, seed=seed
        )
        records = [
            {**scoring.graded(i // n, rows[i // n], reply, mode), "sample": i % n} for i, reply in enumerate(replies)
        ]
        return pd.DataFrame(records, columns=[*PROMPT, "sample", "response", "follows", "correct", "stops", "length"])

    start = source if isinstance(source, Run) else loading.fingerprint(hub.fetch(source))
    settings = [n, mode, content.content_hash(shots), temperature, max_new_tokens, seed]
    return (store or Store()).cached([start, *scoring.evaluation_key(rows), *settings], "samples", make)


def pass_at_k(samples: pd.DataFrame, ks: Iterable[int], column: str = "correct") -> pd.DataFrame:
    """Return, for each prompt, the probability that one of k sampled replies is right.

    The estimate from n samples of which c are right is 1 - C(n - c, k) / C(n, k), which is unbiased; 1 - (1 - c / n) ** k is not (Chen et al.
    2021, arXiv 2107.03374).

    Args:
        samples: of :func:`sample_replies`; several models stacked have a column `seed` or `run`.
        ks: numbers of replies, each at most n.
        column: what counts as right.

    Returns:
        One row per prompt (and seed and run): the columns of the prompt, samples (n), and pass@K for each k, as
        :func:`workbench.evaluate.stats.estimate` takes it.

    Raises:
        InputError: a prompt has fewer samples than one of the ks.
    """
    keys = [name for name in ("run", "seed") if name in samples] + ["index"]
    found = samples.groupby(keys, sort=False)[column].agg(["sum", "size"])
    about = samples.drop_duplicates(keys).set_index(keys)
    table = about[[name for name in PROMPT if name in about]].assign(samples=found["size"])
    for k in ks:
        if not 1 <= k <= found["size"].min():
            raise InputError(f"pass@{k}: a prompt has {found['size'].min()} samples; k must be from 1 to that")
        table[f"pass@{k}"] = [
            1 - math.comb(size - right, k) / math.comb(size, k)
            for right, size in zip(found["sum"].astype(int), found["size"], strict=True)
        ]
    return table.reset_index()


def rate_pairs(run: Run, pairs: Iterable[dict], store: Store | None = None) -> pd.DataFrame:
    """Let a reward model rate both answers of each pair; the table is stored with the run.

    Its accuracy by kind is ``stats.intervals(table, "accurate", "kind")``.

    Args:
        run: of :func:`workbench.train.reward_models.reward_model`.
        pairs: held-out pairs: ``prompt``, ``chosen``, ``rejected``; `kind` and `fault` where they have them.

    Returns:
        One row per pair: index, prompt, kind, fault, chosen and rejected (rewards), accurate (the chosen answer gets more), chosen_words and
        rejected_words.
    """
    pairs = list(pairs)
    answers = preference_validation.ANSWERS

    def make() -> pd.DataFrame:
        model, tokenizer = reward_models.load_reward_model(run)
        talks = [
            {"messages": pair["prompt"] + pair[side], "tools": pair.get("tools")} for side in answers for pair in pairs
        ]
        rated = reward_models.scores(model, tokenizer, talks)
        records = []
        for i, pair in enumerate(pairs):
            chosen, rejected = rated[i], rated[len(pairs) + i]
            prompt = "\n".join(content.message_text(turn) for turn in pair["prompt"])
            words = {f"{side}_words": len(content.message_text(pair[side][-1]).split()) for side in answers}
            records.append({"index": i, "prompt": prompt, "kind": pair.get("kind"), "fault": pair.get("fault"), "chosen": chosen,
                            "rejected": rejected, "accurate": chosen > rejected, **words})  # fmt: skip
        return pd.DataFrame(records)

    kinds = [[pair.get("kind"), pair.get("fault")] for pair in pairs]
    return (store or Store()).cached([run, content.content_hash(pairs), kinds], "pairs", make)

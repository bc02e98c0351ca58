"""Put the same request to a model in several prompt variants, and measure what each costs or gains.

A prompt variant maps an evaluation row to a row with another prompt. The row keeps its `check`: what is asked for, and what counts as
an answer, is the same in every variant.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd
from joblib import delayed

from workbench import hub
from workbench.data import content
from workbench.errors import InputError, known_names, shortened
from workbench.evaluate import scoring, stats
from workbench.models import adapters, loading
from workbench.parallel import run_parallel
from workbench.store import Run, Store

# The text that a chat format which the model was never tuned on puts around the prompt: Stanford Alpaca's and Llama 2's.
TEMPLATES = {
    "Alpaca": "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{}\n\n### Response:",
    "Llama 2": "[INST] {} [/INST]",
}
COLUMNS = ("follows", "correct")


def foreign_template(row: dict, name: str) -> dict:
    """Return the row with its whole prompt in one of TEMPLATES, as text to be scored in the mode "plain".

    Raises:
        InputError: the template is unknown.
    """
    if name not in TEMPLATES:
        raise InputError(f"template {shortened(name)} is unknown{known_names(name, TEMPLATES)}")
    request = {"role": "user", "content": TEMPLATES[name].format(content.plain_prompt(row))}
    return {**{key: row[key] for key in row if key != "tools"}, "messages": [request, row["messages"][-1]]}


def few_shot_turns(row: dict, examples: Iterable[dict]) -> dict:
    """Return the row with solved examples as earlier turns of the conversation."""
    turns = [message for example in examples for message in example["messages"]]
    return {**row, "messages": [*turns, *row["messages"]]}


def with_system_prompt(row: dict, text: str) -> dict:
    """Return the row with a system prompt before the conversation."""
    return {**row, "messages": [{"role": "system", "content": text}, *row["messages"]]}


@dataclass(frozen=True)
class PromptVariant:
    """Evaluation rows in one variant of their prompts."""

    rows: Sequence[dict]
    mode: str = "chat"
    """Prompt mode of :func:`workbench.evaluate.scoring.score`."""


@dataclass(frozen=True)
class AskedModel:
    """A model, and the prompt variants that it is scored on."""

    name: str
    source: Run | str
    """A run, or the folder or Hub id of a base model."""
    variants: Mapping[str, PromptVariant]
    seed: int = 0

    @property
    def key(self) -> list:
        """Plain data that identifies the model, its variants and their rows."""
        variants = {name: [each.mode, *scoring.evaluation_key(each.rows)] for name, each in self.variants.items()}
        source = self.source.id if isinstance(self.source, Run) else loading.fingerprint(hub.fetch(self.source))
        return [self.name, self.seed, source, variants]


def score_variants(
    models: Sequence[AskedModel], *, shots: Sequence[dict] = (), parallel: int = 1, store: Store | None = None
) -> pd.DataFrame:
    """Score every model on each of its prompt variants; the table is kept in the store.

    Args:
        shots: rows that the mode "few_shot" takes its examples from.
        parallel: variants scored at a time, each in a process of its own with its share of the cores.

    Returns:
        The columns of :func:`workbench.evaluate.scoring.score`, and `model`, `seed`, `variant`, `asked` (the prompt as the model got it).
        The column `prompt` names the request (family and item), which is the same in every variant, so that variants are compared
        request by request.
    """

    def make() -> pd.DataFrame:
        jobs = [delayed(_score_variant)(model, variant, list(shots)) for model in models for variant in model.variants]
        return pd.concat(run_parallel(jobs, parallel, "variants scored"), ignore_index=True)

    key = [*(model.key for model in models), content.content_hash(shots)]
    return (store or Store()).cached(key, "prompt-variants", make)


def _score_variant(model: AskedModel, variant: str, shots: list[dict]) -> pd.DataFrame:
    rows, mode = model.variants[variant].rows, model.variants[variant].mode
    table = scoring.score(*_loaded(model.source), rows, mode, shots=shots).rename(columns={"prompt": "asked"})
    requests = [f"{row['family']}: {row['item']}" for row in rows]
    return table.assign(prompt=requests, model=model.name, seed=model.seed, variant=variant)


# A worker process scores the variants of one model after another.
_loaded = lru_cache(maxsize=1)(adapters.load_any)


def variant_effects(
    table: pd.DataFrame, reference: Mapping[str, str], columns: Sequence[str] = COLUMNS
) -> pd.DataFrame:
    """Compare each variant with the reference variant of its model: paired differences with intervals.

    Args:
        table: of :func:`score_variants`.
        reference: model → the variant that its others are compared with.

    Returns:
        One row per model, variant and column: model, variant, column, estimate, low, high, prompts, seeds; none for the reference.
    """
    found = []
    for (model, variant), part in table.groupby(["model", "variant"], sort=False):
        against = table[(table["model"] == model) & (table["variant"] == reference[model])]
        if variant != reference[model]:
            found += [
                {
                    "model": model,
                    "variant": variant,
                    "column": column,
                    **stats.difference(part, against, column).columns(),
                }
                for column in columns
            ]
    return pd.DataFrame(found)


def by_request(table: pd.DataFrame, by: Sequence[str] = ("model", "variant")) -> pd.DataFrame:
    """Average the paraphrases of each request to one row, so that an interval is one over requests and not over their paraphrases.

    Returns:
        One row per group of `by`, seed and request: the mean of `follows` and `correct`; `wordings` (number of paraphrases); `spread` (the
        probability that two different paraphrases of a request differ in whether the answer is correct); index.
    """
    grouped = table.groupby([*by, "seed", "prompt"], sort=False)
    found = grouped[[*COLUMNS]].mean().assign(wordings=grouped.size()).reset_index()
    correct, n = found["correct"], found["wordings"]
    return found.assign(index=pd.factorize(found["prompt"])[0], spread=2 * correct * (1 - correct) * n / (n - 1))

"""What is measured of a run or of a base model, once: each table is kept in the run store."""

from collections.abc import Sequence

import pandas as pd

from workbench import data, evaluate, models, runs
from workbench.runs import Run, Store


def scores(run: Run, evaluation: list[dict], store: Store | None = None) -> pd.DataFrame:
    """Table of :func:`workbench.evaluate.score` for a run in its chat template; kept with the run."""

    def make() -> pd.DataFrame:
        return evaluate.score(*models.load_any(run), evaluation)

    return (store or Store()).cached([run, *evaluate.named(evaluation)], "chat", make)


def base_scores(
    base: str, evaluation: list[dict], mode: str, *, shots: Sequence[dict] = (), store: Store | None = None
) -> pd.DataFrame:
    """The same for a base model in one of the modes of :func:`workbench.evaluate.score`; kept in the store."""

    def make() -> pd.DataFrame:
        return evaluate.score(*models.load_any(base), evaluation, mode, shots=shots)

    key = [
        models.fingerprint(models.fetch(base)),
        *evaluate.named(evaluation),
        mode,
        data.content_hash(shots),
    ]
    return (store or Store()).cached(key, f"base-{mode}", make)


def forgetting(run: Run, texts: Sequence[str], store: Store | None = None) -> float:
    """How much worse a run's model predicts plain texts than its base does, in nats a token: loss after minus loss before.

    Texts: of the kind that the base read and the tuning did not show. The base of a QLoRA run is taken in 4 bits, so that what
    rounding costs is not charged to tuning. Both losses are kept in the store.
    """
    store, spec, kept = store or Store(), run.spec, runs.digest(list(texts))

    def before() -> pd.DataFrame:
        model = models.unpacked(models.load_base(spec["base"], spec["method"] == "qlora", revision=spec["revision"]))
        tokenizer = models.load_tokenizer(spec["base"], spec["revision"])
        return pd.DataFrame({"loss": [evaluate.text_loss(model, tokenizer, texts)]})

    def after() -> pd.DataFrame:
        return pd.DataFrame({"loss": [evaluate.text_loss(*models.load_any(run), texts)]})

    folder = models.fetch(spec["base"], spec["revision"])
    base = store.cached([models.fingerprint(folder), spec["method"] == "qlora", kept], "text-loss", before)
    return store.cached([run, kept], "text-loss", after)["loss"].item() - base["loss"].item()


def drift(run: Run, start: Run, rows: Sequence[dict], store: Store | None = None) -> float:
    """:func:`workbench.evaluate.drift` of a run's model from that of another run, on the reference answers of the rows."""

    def make() -> pd.DataFrame:
        (policy, tokenizer), (reference, _) = (models.load_any(each) for each in (run, start))
        return pd.DataFrame({"drift": [evaluate.drift(policy, reference, tokenizer, rows)]})

    return (store or Store()).cached([run, start, data.content_hash(rows)], "drift", make)["drift"].item()

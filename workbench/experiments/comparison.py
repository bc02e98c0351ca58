"""Compare two executed notebooks: which parameters, effects and verdicts differ."""

from dataclasses import dataclass

import pandas as pd

from workbench.errors import InputError
from workbench.experiments import claims, notebooks


@dataclass(frozen=True)
class Difference:
    """What differs between two executed notebooks."""

    parameters: pd.DataFrame
    """One row per parameter with another value: parameter, a, b."""
    claims: pd.DataFrame
    """One row per claim: claim (its id), verdict_a, effect_a, verdict_b, effect_b, flipped."""


def diff(a: str, b: str) -> Difference:
    """Return what changed from notebook `a` to notebook `b` (names or paths), read from their saved outputs.

    Raises:
        InputError: a notebook is unknown or has no claims in its outputs.
    """
    values, found = [], []
    for path in (notebooks.find_notebook(a), notebooks.find_notebook(b)):
        notebook = notebooks.read_notebook(path)
        found.append({claim["id"]: claim for claim in claims.read_claims(path)})
        if not found[-1]:
            raise InputError(f"{path}: no claims in its outputs; run it first: workbench run {path.stem}")
        injected = notebook.metadata.get("papermill", {}).get("parameters", {})  # override the parameters cell
        values.append({**notebooks.read_parameters(notebook), **injected})
    names = [key for key in values[0] | values[1] if values[0].get(key) != values[1].get(key)]
    changed = [[key, values[0].get(key), values[1].get(key)] for key in names]
    rows = []
    for key in found[0] | found[1]:
        (verdict_a, effect_a), (verdict_b, effect_b) = (
            (each[key]["verdict"], claims.effect_text(each[key])) if key in each else ("not there", "")
            for each in found
        )
        rows.append([key, verdict_a, effect_a, verdict_b, effect_b, verdict_a != verdict_b])
    columns = ["claim", "verdict_a", "effect_a", "verdict_b", "effect_b", "flipped"]
    return Difference(pd.DataFrame(changed, columns=["parameter", "a", "b"]), pd.DataFrame(rows, columns=columns))

"""Claims and their verdicts: what the prose says, tested on what was measured.

A claim says in which region a measured effect lies. Its verdict comes from the whole confidence interval, never from a bare number:
inside the region it "holds", outside it "fails", and an interval that crosses the border is "inconclusive".
"""

from dataclasses import asdict, dataclass, fields
from math import inf, isnan
from pathlib import Path

import pandas as pd
from IPython.display import display

from workbench.errors import InputError
from workbench.evaluate import stats
from workbench.experiments import notebooks

HOLDS, FAILS, INCONCLUSIVE = "holds", "fails", "inconclusive"


MIME = "application/x-workbench-claims+json"


MARKS = {HOLDS: "✓", FAILS: "✗", INCONCLUSIVE: "≈"}


# Mid tones, so that they read on the light and on the dark theme of Jupyter; the mark and the word say the same without colour.
COLOURS = {HOLDS: "#2a8f5b", FAILS: "#c2452d", INCONCLUSIVE: "#8a7a2f"}


@dataclass(frozen=True)
class Region:
    """The values of an effect for which a claim is true."""

    low: float
    high: float
    text: str
    """The region in words: "at least 0.95"."""
    strict: bool = False
    """The borders themselves are outside."""

    def verdict(self, evidence: stats.Interval) -> str:
        """Compare the interval with the region: holds, fails or inconclusive."""
        low, high = evidence.low, evidence.high
        if self.strict:
            inside, apart = self.low < low and high < self.high, high <= self.low or low >= self.high
        else:
            inside, apart = self.low <= low and high <= self.high, high < self.low or low > self.high
        return HOLDS if inside else FAILS if apart else INCONCLUSIVE


def at_least(value: float) -> Region:
    """`value` or more."""
    return Region(value, inf, f"at least {value:g}")


def at_most(value: float) -> Region:
    """`value` or less."""
    return Region(-inf, value, f"at most {value:g}")


def more_than(value: float) -> Region:
    """Above `value`: with 0, a gain."""
    return Region(value, inf, f"more than {value:g}", strict=True)


def less_than(value: float) -> Region:
    """Below `value`: with 0, a loss."""
    return Region(-inf, value, f"less than {value:g}", strict=True)


def between(low: float, high: float) -> Region:
    """From `low` to `high`: around 0, no difference that matters (an equivalence test)."""
    return Region(low, high, f"between {low:g} and {high:g}")


@dataclass(frozen=True)
class Claim:
    """A claim with the evidence for it and the verdict that follows."""

    id: str
    text: str
    source: str
    """Who says so: a paper, an article, the model card; "this notebook" for our own."""
    evidence: stats.Interval
    region: Region
    verdict: str


def check_claim(id: str, text: str, source: str, evidence: stats.Interval, region: Region) -> Claim:
    """Give a claim its verdict: the region must hold the whole interval of the evidence for the claim to hold.

    Raises:
        InputError: the evidence is no interval (a value is missing, or low is above high).
    """
    if any(map(isnan, (evidence.estimate, evidence.low, evidence.high))) or evidence.low > evidence.high:
        raise InputError(
            f'claim "{id}": the evidence {evidence} is no interval; was the table that it comes from empty?'
        )
    return Claim(id, text, source, evidence, region, region.verdict(evidence))


def show_verdicts(*claims: Claim) -> None:
    """Print a line a claim: id, verdict, text. No numbers: nbval compares these lines, and a verdict that flips breaks CI.

    Raises:
        InputError: two claims have one id.
    """
    ids = [claim.id for claim in claims]
    if repeated := {id for id in ids if ids.count(id) > 1}:
        raise InputError(f"claims {sorted(repeated)} stand there twice; give each its own id")
    width = max(map(len, ids))
    for claim in claims:
        print(f"{claim.id:{width}}  {claim.verdict:{len(INCONCLUSIVE)}}  {claim.text}")


def claims_table(*claims: Claim) -> None:
    """Display the claims with their numbers, in a cell that nbval does not compare.

    The output also carries them as JSON, which :func:`read_claims` gets back from the saved notebook.
    """
    rows = [
        {
            "claim": claim.text,
            "who says so": claim.source,
            "measured": str(claim.evidence),
            "expected": claim.region.text,
            "prompts × seeds": f"{claim.evidence.prompts} × {claim.evidence.seeds}",
            "verdict": f"{MARKS[claim.verdict]} {claim.verdict}",
        }
        for claim in claims
    ]
    frame = pd.DataFrame(rows, index=[claim.id for claim in claims])
    left = [{"selector": "th, td", "props": "text-align: left; vertical-align: top; padding: 4px 10px"}]
    colours = {f"{MARKS[verdict]} {verdict}": f"color: {colour}; font-weight: bold; white-space: nowrap"
               for verdict, colour in COLOURS.items()}  # fmt: skip
    styled = (
        # A fixed id, where pandas draws one by chance: the notebook's diff then shows only what changed.
        frame.style.set_uuid("claims")
        .format(escape="html")
        .set_table_styles(left)
        .map(colours.get, subset=["verdict"])
        .set_properties(subset=["measured", "prompts × seeds"], **{"white-space": "nowrap"})
    )
    data = {
        "text/html": styled.to_html(),
        "text/plain": frame.to_string(),
        MIME: {"claims": [to_json(c) for c in claims]},
    }
    display(data, raw=True)


def to_json(claim: Claim) -> dict:
    """A claim as JSON: id, text, source, estimate, low, high, prompts, seeds, unit, region (in words), verdict."""
    numbers = {
        key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(claim.evidence).items()
    }
    return {
        "id": claim.id,
        "text": claim.text,
        "source": claim.source,
        **numbers,
        "region": claim.region.text,
        "verdict": claim.verdict,
    }


def read_claims(notebook: str | Path) -> list[dict]:
    """The claims of a saved notebook (see :func:`to_json`), in the order in which it displays them.

    Raises:
        InputError: there is no such notebook, or it is no notebook.
    """
    import nbformat  # takes a second, for its schemas: only where notebooks are read

    try:
        cells = nbformat.read(notebook, as_version=4).cells
    except FileNotFoundError as error:
        raise InputError(f"{notebook}: there is no such notebook") from error
    except (nbformat.reader.NotJSONError, UnicodeDecodeError) as error:
        raise InputError(
            f"{notebook}: this is no notebook (no JSON); run it again or take it from the repository"
        ) from error
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    return [claim for output in outputs for claim in output.get("data", {}).get(MIME, {"claims": []})["claims"]]


def effect_text(claim: dict) -> str:
    """The measured effect of a claim with its interval, as `claims.table` shows it; claim: as `claims.read` gives it."""
    return str(stats.Interval(**{field.name: claim[field.name] for field in fields(stats.Interval)}))


@dataclass(frozen=True)
class Difference:
    """What two executed notebooks do not share; see `diff`."""

    parameters: pd.DataFrame
    """One row per parameter with another value: parameter, a, b."""
    claims: pd.DataFrame
    """One row per claim: claim (its id), verdict_a, effect_a, verdict_b, effect_b, flipped."""


def diff(a: str, b: str) -> Difference:
    """What changed from notebook `a` to notebook `b` (names or paths), as their outputs stand.

    Raises InputError for a notebook without claims in its outputs.
    """
    values, found = [], []
    for path in (notebooks.find_notebook(a), notebooks.find_notebook(b)):
        notebook = notebooks.read_notebook(path)
        found.append({claim["id"]: claim for claim in read_claims(path)})
        if not found[-1]:
            raise InputError(f"{path}: no claims in its outputs; run it first: workbench run {path.stem}")
        injected = notebook.metadata.get("papermill", {}).get("parameters", {})  # set over the parameters cell
        values.append({**notebooks.read_parameters(notebook), **injected})
    names = [key for key in values[0] | values[1] if values[0].get(key) != values[1].get(key)]
    changed = [[key, values[0].get(key), values[1].get(key)] for key in names]
    rows = []
    for key in found[0] | found[1]:
        sides = [(one[key]["verdict"], effect_text(one[key])) if key in one else ("not there", "") for one in found]
        rows.append([key, *sides[0], *sides[1], sides[0][0] != sides[1][0]])
    columns = ["claim", "verdict_a", "effect_a", "verdict_b", "effect_b", "flipped"]
    return Difference(pd.DataFrame(changed, columns=["parameter", "a", "b"]), pd.DataFrame(rows, columns=columns))

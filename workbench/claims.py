"""Claims and their verdicts: what the prose says, tested on what was measured.

A claim says in which region a measured effect lies. Its verdict comes from the whole confidence interval, never from a bare number:
inside the region it "holds", outside it "fails", and an interval that crosses the border is "inside the noise".
"""

from dataclasses import asdict, dataclass
from math import inf, isnan
from pathlib import Path

import pandas as pd
from IPython.display import display

from workbench.errors import InputError
from workbench.intervals import Interval

HOLDS, FAILS, NOISE = "holds", "fails", "inside the noise"
MIME = "application/x-workbench-claims+json"
MARKS = {HOLDS: "✓", FAILS: "✗", NOISE: "≈"}
# Mid tones, so that they read on the light and on the dark theme of Jupyter; the mark and the word say the same without colour.
COLOURS = {HOLDS: "#2a8f5b", FAILS: "#c2452d", NOISE: "#8a7a2f"}


@dataclass(frozen=True)
class Region:
    """The values of an effect for which a claim is true."""

    low: float
    high: float
    text: str
    """The region in words: "at least 0.95"."""
    strict: bool = False
    """The borders themselves are outside."""

    def verdict(self, evidence: Interval) -> str:
        """Compare the interval with the region: holds, fails or inside the noise."""
        low, high = evidence.low, evidence.high
        if self.strict:
            inside, apart = self.low < low and high < self.high, high <= self.low or low >= self.high
        else:
            inside, apart = self.low <= low and high <= self.high, high < self.low or low > self.high
        return HOLDS if inside else FAILS if apart else NOISE


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
    evidence: Interval
    region: Region
    verdict: str


def check(id: str, text: str, source: str, evidence: Interval, region: Region) -> Claim:
    """Give a claim its verdict: the region must hold the whole interval of the evidence for the claim to hold.

    Raises:
        InputError: the evidence is no interval (a value is missing, or low is above high).
    """
    if any(map(isnan, (evidence.estimate, evidence.low, evidence.high))) or evidence.low > evidence.high:
        raise InputError(
            f'claim "{id}": the evidence {evidence} is no interval; was the table that it comes from empty?'
        )
    return Claim(id, text, source, evidence, region, region.verdict(evidence))


def show(*claims: Claim) -> None:
    """Print a line a claim: id, verdict, text. No numbers: nbval compares these lines, and a verdict that flips breaks CI.

    Raises:
        InputError: two claims have one id.
    """
    ids = [claim.id for claim in claims]
    if repeated := {id for id in ids if ids.count(id) > 1}:
        raise InputError(f"claims {sorted(repeated)} stand there twice; give each its own id")
    width = max(map(len, ids))
    for claim in claims:
        print(f"{claim.id:{width}}  {claim.verdict:{len(NOISE)}}  {claim.text}")


def table(*claims: Claim) -> None:
    """Display the claims with their numbers, in a cell that nbval does not compare.

    The output also carries them as JSON, which :func:`read` gets back from the saved notebook.
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
        MIME: {"claims": [plain(c) for c in claims]},
    }
    display(data, raw=True)


def plain(claim: Claim) -> dict:
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


def read(notebook: str | Path) -> list[dict]:
    """The claims of a saved notebook (see :func:`plain`), in the order in which it displays them.

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

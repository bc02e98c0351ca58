"""Test claims against measurements: a verdict follows from the whole confidence interval, never from the estimate alone.

A claim says in which region a measured effect lies. It "holds" where the region contains the interval, "fails" where they do not
overlap, and is "inconclusive" otherwise.

The 95% interval holds the effects that a test at 2.5% in each direction does not reject. So every verdict is a test, and all kinds of
claims are tested at the same level: "more" as much as "no worse by more than 5 points" (non-inferiority) by one test at 2.5%, and
"the same within 5 points" by two one-sided tests at 2.5% each, both of which have to reject (Schuirmann 1987; Berger and Hsu,
Statistical Science 11, 1996). The chance that a claim is decided although its effect lies exactly on a bound of the region is at most 5%.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite, isnan
from pathlib import Path

import pandas as pd
from IPython.display import display
from scipy.stats import false_discovery_control

from workbench.errors import InputError, first_line
from workbench.evaluate import stats

HOLDS, FAILS, INCONCLUSIVE = "holds", "fails", "inconclusive"
MARKS = {HOLDS: "✓", FAILS: "✗", INCONCLUSIVE: "≈"}

# Mid tones, readable on the light and on the dark theme of Jupyter; the mark and the word say the same without colour.
COLOURS = {HOLDS: "#2a8f5b", FAILS: "#c2452d", INCONCLUSIVE: "#8a7a2f"}
MIME = "application/x-workbench-claims+json"


@dataclass(frozen=True)
class Region:
    """The values of an effect for which a claim is true."""

    low: float
    high: float
    text: str
    """The region in words: "at least 0.95"."""
    strict: bool = False
    """The bounds themselves are outside."""

    def p_value(self, evidence: stats.Interval) -> float | None:
        """Return the p-value of the verdict, two-sided: below 0.05 where it is HOLDS or FAILS; None for evidence without p-values.

        It is the largest of the p-values of the region's bounds: an effect inside has to be told apart from both of them, and one outside
        from the nearer of them, whose p-value is the larger one.
        """
        found = [evidence.p_value(bound) for bound in (self.low, self.high) if isfinite(bound)]
        return None if None in found else max(found)

    def verdict(self, evidence: stats.Interval) -> str:
        """Return HOLDS, FAILS or INCONCLUSIVE for an interval."""
        low, high = evidence.low, evidence.high
        if self.strict:
            inside, apart = self.low < low and high < self.high, high <= self.low or low >= self.high
        else:
            inside, apart = self.low <= low and high <= self.high, high < self.low or low > self.high
        return HOLDS if inside else FAILS if apart else INCONCLUSIVE


def at_least(value: float) -> Region:
    """Return the region of `value` and above."""
    return Region(value, inf, f"at least {value:g}")


def at_most(value: float) -> Region:
    """Return the region of `value` and below."""
    return Region(-inf, value, f"at most {value:g}")


def more_than(value: float) -> Region:
    """Return the region above `value`; above 0 it is a gain."""
    return Region(value, inf, f"more than {value:g}", strict=True)


def less_than(value: float) -> Region:
    """Return the region below `value`; below 0 it is a loss."""
    return Region(-inf, value, f"less than {value:g}", strict=True)


def between(low: float, high: float) -> Region:
    """Return the region from `low` to `high`; around 0 it makes an equivalence test."""
    return Region(low, high, f"between {low:g} and {high:g}")


@dataclass(frozen=True)
class Claim:
    """A claim with its evidence and the verdict that follows from it."""

    id: str
    text: str
    source: str
    """Who makes the claim: a paper, an article, the model card; "this notebook" for our own."""
    evidence: stats.Interval
    region: Region
    verdict: str


def check_claim(id: str, text: str, source: str, evidence: stats.Interval, region: Region) -> Claim:
    """Return the claim with its verdict (see :meth:`Region.verdict`).

    Raises:
        InputError: the evidence is not an interval (a value is missing, or low is above high).
    """
    if any(map(isnan, (evidence.estimate, evidence.low, evidence.high))) or evidence.low > evidence.high:
        raise InputError(
            f'claim "{id}": the evidence {evidence} is not an interval; is the table behind it empty, or is it one number?'
        )
    return Claim(id, text, source, evidence, region, region.verdict(evidence))


def show_verdicts(*claims: Claim) -> None:
    """Print one line per claim: id, verdict, text. There are no numbers: nbval compares the lines, and a flipped verdict fails CI.

    Raises:
        InputError: two claims have the same id.
    """
    ids = [claim.id for claim in claims]
    if repeated := {id for id in ids if ids.count(id) > 1}:
        raise InputError(f"several claims have the id {', '.join(sorted(repeated))}; give each its own")
    width = max(map(len, ids))
    for claim in claims:
        print(f"{claim.id:{width}}  {claim.verdict:{len(INCONCLUSIVE)}}  {claim.text}")


def claims_table(*claims: Claim) -> None:
    """Display the claims with their numbers, in a cell that nbval does not compare.

    The output also carries them as JSON, which :func:`read_claims` reads back from the saved notebook.
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
        # A fixed id instead of pandas' random one: the notebook's diff then shows only what changed.
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
    """Return a claim as JSON: id, text, source, estimate, low, high, prompts, seeds, unit, p, region (in words), verdict."""
    numbers = {
        key: round(value, 4) if isinstance(value, float) else value for key, value in claim.evidence.columns().items()
    }
    p = claim.region.p_value(claim.evidence)
    return {
        "id": claim.id,
        "text": claim.text,
        "source": claim.source,
        **numbers,
        "unit": claim.evidence.unit,
        "p": None if p is None else float(f"{p:.3g}"),
        "region": claim.region.text,
        "verdict": claim.verdict,
    }


def read_claims(notebook: str | Path) -> list[dict]:
    """Return the claims of a saved notebook as :func:`to_json` wrote them, in the order in which it displays them.

    Raises:
        InputError: the file is missing or is not a notebook.
    """
    import nbformat  # takes a second, for its schemas: only where notebooks are read

    try:
        cells = nbformat.read(notebook, as_version=4).cells
    except FileNotFoundError as error:
        raise InputError(f"{notebook}: no such notebook") from error
    except Exception as error:  # nbformat takes the file apart before it validates it: any type can be raised
        raise InputError(
            f"{notebook}: not a notebook ({first_line(error)}); run it again or take it from the repository"
        ) from error
    outputs = [output for cell in cells if cell.cell_type == "code" for output in cell.outputs]
    return [claim for output in outputs for claim in output.get("data", {}).get(MIME, {"claims": []})["claims"]]


def effect_text(claim: dict) -> str:
    """Return the measured effect of a claim (a dict of :func:`read_claims`) with its interval, as :func:`claims_table` shows it."""
    return str(stats.Interval(*(claim[key] for key in ("estimate", "low", "high", "prompts", "seeds", "unit"))))


def survives_correction(claims: Sequence[dict]) -> list[bool | None]:
    """Return for each claim whether its verdict survives the correction for many tests: at most 5% of those that do are wrong by chance.

    This is the procedure of Benjamini and Hochberg (Journal of the Royal Statistical Society B 57, 1995) over all claims that have a
    p-value, decided or not; the others are None. Since a claim is decided in either direction, a verdict in the wrong one counts as wrong
    (Benjamini and Yekutieli, JASA 100, 2005). Claims of one series share models and prompts: the procedure is exact for independent
    tests, and holds for positively dependent ones.

    Args:
        claims: as :func:`read_claims` returns them.
    """
    # Notebooks that were run before p-values were recorded have none.
    values = [claim.get("p") for claim in claims]
    tested = [value for value in values if value is not None]
    adjusted = iter(false_discovery_control(tested, method="bh")) if tested else iter(())
    return [None if value is None else bool(next(adjusted) <= 1 - stats.LEVEL) for value in values]

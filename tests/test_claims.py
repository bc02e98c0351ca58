"""A verdict follows from the interval alone, its line is stable, and its numbers come back from a saved notebook."""

import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbconvert import HTMLExporter
from nbconvert.preprocessors import ExecutePreprocessor
from scipy.stats import ttest_1samp

from workbench.errors import InputError
from workbench.evaluate import stats
from workbench.experiments import claims

ROOT = Path(__file__).parents[1]


def interval(low, high, **more):
    return stats.Interval((low + high) / 2, low, high, **{"prompts": 300, "seeds": 3, **more})


def verdict(low, high, region):
    return claims.check_claim("a", "text", "source", interval(low, high), region).verdict


@pytest.mark.parametrize(
    ("region", "holds", "fails", "inconclusive"),
    [
        (claims.at_least(0.9), [(0.9, 0.95), (0.92, 0.99)], [(0.5, 0.89)], [(0.85, 0.95), (0.8, 0.9)]),
        (claims.at_most(0.1), [(0.0, 0.1)], [(0.11, 0.2)], [(0.05, 0.15), (0.1, 0.2)]),
        (claims.more_than(0), [(0.01, 0.2)], [(-0.2, -0.1), (-0.1, 0.0)], [(0.0, 0.2), (-0.1, 0.1)]),
        (claims.less_than(0), [(-0.2, -0.01)], [(0.1, 0.2), (0.0, 0.1)], [(-0.2, 0.0), (-0.1, 0.1)]),
        (claims.between(-0.05, 0.05), [(-0.05, 0.05)], [(0.06, 0.1), (-0.1, -0.06)], [(-0.01, 0.06), (-0.2, 0.2)]),
    ],
)
def test_the_verdict_comes_from_the_whole_interval(region, holds, fails, inconclusive):
    assert {verdict(*ends, region) for ends in holds} == {"holds"}
    assert {verdict(*ends, region) for ends in fails} == {"fails"}
    assert {verdict(*ends, region) for ends in inconclusive} == {"inconclusive"}


REGIONS = [
    claims.at_least(-0.05),
    claims.at_most(0.05),
    claims.more_than(0),
    claims.less_than(0.02),
    claims.between(-0.05, 0.05),
]


@pytest.mark.parametrize("region", REGIONS, ids=lambda region: region.text)
def test_a_claim_is_decided_exactly_where_its_p_value_is_below_5_percent(region):
    found = set()
    for seed in range(300):
        rng = np.random.default_rng(seed)
        grid = rng.normal(rng.normal(scale=0.06), rng.choice([0.05, 0.2]), size=(5, 60))
        evidence = stats.mean_interval(grid, "difference in length")
        found.add(region.verdict(evidence))
        assert (region.p_value(evidence) < 0.05) == (region.verdict(evidence) != "inconclusive")
    assert found == {"holds", "fails", "inconclusive"}


def test_an_equivalence_claim_holds_where_two_one_sided_tests_reject_at_the_level_of_the_other_claims():
    within = claims.between(-0.05, 0.05)
    for shift in np.linspace(0, 0.06, 25):
        values = np.random.default_rng(0).normal(size=60) * 0.05 + shift
        below = ttest_1samp(values, 0.05, alternative="less").pvalue <= 0.025
        above = ttest_1samp(values, -0.05, alternative="greater").pvalue <= 0.025
        evidence = stats.mean_interval(values[None], "difference in length")
        assert (within.verdict(evidence) == "holds") == (below and above)
        no_worse = claims.at_most(0.05).verdict(evidence)
        assert (no_worse == "holds") == below


def test_the_correction_for_many_tests_is_that_of_benjamini_and_hochberg():
    """The example of their paper of 1995: of 15 tests nine are below 5%, and four survive."""
    values = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.3240,
        0.4262,
        0.5719,
        0.6528,
        0.7590,
        1.0,
    ]
    order = np.random.default_rng(0).permutation(15)
    listed = [{"id": "x", "p": values[at]} for at in order]
    assert claims.survives_correction(listed) == [values[at] < 0.01 for at in order]
    assert claims.survives_correction([{"id": "none", "p": None}, *listed, {"id": "old"}])[::16] == [None, None]
    assert claims.survives_correction([{"id": "old"}]) == [None]


@pytest.mark.parametrize("evidence", [interval(float("nan"), 1), interval(0.6, 0.5)])
def test_evidence_that_is_not_an_interval_has_no_verdict(evidence):
    with pytest.raises(InputError, match='claim "gain"'):
        claims.check_claim("gain", "It gains.", "us", evidence, claims.more_than(0))


def example(shift=0.0):
    return (
        claims.check_claim(
            "02.form", "Tuning teaches the form.", "seed article", interval(0.9 + shift, 0.95), claims.at_least(0.8)
        ),
        claims.check_claim(
            "02.facts",
            "Tuning adds <no> facts & noise.",
            "seed article",
            interval(-0.1, 0.2),
            claims.between(-0.05, 0.05),
        ),
    )


def test_the_lines_change_with_the_verdict_and_not_with_the_numbers(capsys):
    claims.show_verdicts(*example())
    lines = capsys.readouterr().out
    claims.show_verdicts(*example(shift=0.02))
    assert capsys.readouterr().out == lines
    claims.show_verdicts(*example(shift=-0.2))
    assert capsys.readouterr().out != lines
    first, second = lines.splitlines()
    assert first.startswith("02.form   holds  ") and first.endswith("Tuning teaches the form.")
    assert second.startswith("02.facts  inconclusive  Tuning adds")


def test_two_claims_with_one_id_are_refused():
    with pytest.raises(InputError, match="02.form"):
        claims.show_verdicts(example()[0], example()[0])


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """A notebook that shows two claims, executed and saved."""
    code = """
from workbench.evaluate import Interval
from workbench.experiments import at_least, check_claim, claims_table, more_than
a = check_claim("02.form", "Tuning teaches the form.", "seed article", Interval(0.9, 0.85, 0.95, 300, 3, error=0.025, df=100), at_least(0.8))
b = check_claim("02.facts", "Adds <no> facts & noise.", "us", Interval(0, -.1, .2, 9, 1, "difference in share"), more_than(0))
claims_table(a, b)"""
    saved = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1 + 1"), nbformat.v4.new_code_cell(code)])
    ExecutePreprocessor(timeout=120).preprocess(saved, {"metadata": {"path": str(ROOT)}})
    path = tmp_path_factory.mktemp("notebooks") / "02.ipynb"
    nbformat.write(saved, path)
    return path


EXPECTED = [
    {"id": "02.form", "text": "Tuning teaches the form.", "source": "seed article", "estimate": 0.9, "low": 0.85, "high": 0.95,
     "prompts": 300, "seeds": 3, "unit": "share", "p": 0.00341, "region": "at least 0.8", "verdict": "holds"},
    {"id": "02.facts", "text": "Adds <no> facts & noise.", "source": "us", "estimate": 0, "low": -0.1, "high": 0.2,
     "prompts": 9, "seeds": 1, "unit": "difference in share", "p": None, "region": "more than 0", "verdict": "inconclusive"},
]  # fmt: skip


def test_claims_come_back_from_a_saved_notebook_and_it_is_valid(notebook):
    assert claims.read_claims(notebook) == EXPECTED
    nbformat.validate(nbformat.read(notebook, as_version=4))


def test_claims_survive_nbstripout_as_the_project_uses_it(notebook):
    command = [sys.executable, "-m", "nbstripout", "--keep-output", "--keep-count", "--keep-id", str(notebook)]
    subprocess.run(command, check=True)
    assert claims.read_claims(notebook) == EXPECTED


def test_the_report_shows_the_table_with_its_numbers(notebook):
    page, _ = HTMLExporter().from_filename(str(notebook))
    assert "0.90 [0.85, 0.95]" in page and "+0.00 [-0.10, +0.20]" in page and "300 × 3" in page
    assert "≈ inconclusive" in page and "✓ holds" in page


def test_the_output_of_a_table_is_the_same_each_time_and_escaped(monkeypatch):
    shown = []
    monkeypatch.setattr(claims, "display", lambda data, raw: shown.append(data))
    claims.claims_table(*example())
    claims.claims_table(*example())
    assert shown[0] == shown[1] and {"text/html", "text/plain"} < set(shown[0])
    assert "Tuning adds &lt;no&gt; facts &amp; noise." in shown[0]["text/html"], "text is no markup"


def test_a_notebook_without_claims_has_none_and_a_missing_one_is_named(tmp_path):
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("text")]), tmp_path / "empty.ipynb")
    assert claims.read_claims(tmp_path / "empty.ipynb") == []
    with pytest.raises(InputError, match="no such notebook"):
        claims.read_claims(tmp_path / "none.ipynb")
    (tmp_path / "broken.ipynb").write_text("{")
    with pytest.raises(InputError, match="not a notebook"):
        claims.read_claims(tmp_path / "broken.ipynb")

"""The report says what the executed notebooks hold, and README what the committed ones claim."""

import re

import nbformat
import pandas as pd
import pytest
import series

from workbench import environment, published
from workbench.errors import InputError
from workbench.experiments import notebooks
from workbench.experiments.claims import read_claims
from workbench.plots import report


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    series.write(tmp_path)
    return tmp_path


def test_the_report_is_one_index_and_pages_that_load_nothing(root):
    with pytest.raises(InputError, match="no executed notebook"):
        report.build()
    list(notebooks.run_notebooks())
    index = report.build()
    text = index.read_text()
    assert index == root / "build" / "report" / "index.html"
    assert "How *much* data?" not in text and "How much data?" in text
    assert "Some say a thousand pairs are enough." in text
    assert "✓ holds" in text and "0.90 [0.80, 1.00]" in text
    assert text.count("did not run to its end") == 1
    for page in index.parent.glob("*.html"):
        assert not re.search(r"""(src|href)=["']https?:|import\(|@import""", page.read_text()), page.name


def test_the_question_of_a_notebook_is_its_first_paragraph_of_text_also_in_bold(root):
    path = root / "build" / "notebooks" / "01_first.ipynb"
    path.parent.mkdir(parents=True)
    executed = notebooks.read_notebook(notebooks.find_notebook("01"))
    executed.cells[0].source = "# Title\n\n* a list\n\n![a picture](x.png)\n\n**Objective.** See it."
    nbformat.write(executed, path)
    assert '<p class="question">Objective. See it.</p>' in report.build().read_text()


def test_a_page_shows_the_table_that_was_saved_beside_a_widget(root):
    path = root / "build" / "notebooks" / "01_first.ipynb"
    path.parent.mkdir(parents=True)
    executed, view = notebooks.read_notebook(notebooks.find_notebook("01")), "application/vnd.jupyter.widget-view+json"
    data = {view: {"model_id": "one"}, "text/html": "<table><tr><td>an answer</td></tr></table>", "text/plain": "x"}
    executed.cells[2].outputs.append(nbformat.v4.new_output("display_data", data=data))
    state = {"state": {"one": {"model_name": "VBoxModel", "state": {}}}, "version_major": 2, "version_minor": 0}
    executed.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": state}  # as nbclient saves it
    nbformat.write(executed, path)
    page = (report.build().parent / "01_first.html").read_text()
    assert "<td>an answer</td>" in page and "model_id" not in page


def test_the_claims_are_filled_between_their_markers(root):
    readme = root / "README.md"
    readme.write_text(f"before\n{report.START}\nstale\n{report.END}\nafter\n")
    text = report.fill(readme)
    assert text.startswith(f"before\n{report.START}\n| claim |") and text.endswith(f"\n{report.END}\nafter\n")
    assert "| it \\| form | a paper | 0.90 [0.80, 1.00] | ✓ holds | [01](notebooks/01_first.ipynb) |" in text
    assert "stale" not in text and text.count("\n| it") == 2, "one claim of each notebook"
    assert "[All 3 claims](data/CLAIMS.md). ✓ holds: 1, ✗ fails: 1, ≈ inconclusive: 1" in text
    readme.write_text(text)
    assert report.fill(readme) == text


def test_markers_that_are_missing_are_asked_for(root):
    (root / "README.md").write_text(report.START)
    with pytest.raises(InputError, match="put both in"):
        report.fill(root / "README.md")


def test_the_page_of_claims_has_all_of_them_with_links_that_work_from_its_folder():
    page = report.claims_page()
    assert page.count("\n| it") == 3 and "3 claims. ✓ holds: 1, ✗ fails: 1, ≈ inconclusive: 1" in page
    assert "| ✓ holds | ✓ | [01](../notebooks/01_first.ipynb) |" in page
    assert "| ✗ fails |  | [02](../notebooks/02_second.ipynb) |" in page, "p = 0.04 of three tests is 0.06"
    assert "0.2 of 3 tests" in page and "2 decide, and 1 of these verdicts survive" in page


def test_the_page_of_claims_shows_the_verdicts_of_other_bases_beside_those_of_pocket(root):
    (first, *_) = read_claims(root / "notebooks" / "01_first.ipynb")
    claims = [{**first, "estimate": 0.0, "low": 0.0, "high": 0.5, "verdict": "fails"}]
    about = {
        "notebook": "01_first",
        "profile": "laptop",
        "settings": {"seeds": [0]},
        "claims": claims,
        "commit": "a",
        "date": "2026-01-01",
        "recipes": {},
        "environment": {},
    }
    (root / "data" / "results").mkdir(parents=True)
    path = root / "data" / "results" / "01_first-laptop.zip"
    path.write_bytes(published.pack(about, pd.DataFrame({"run": []}), pd.DataFrame({"run": []}), {}))
    page = report.claims_page()
    assert '## With `profile = "laptop"`: gemma-3-270m' in page
    assert "| it \\| form | ✓ 0.90 [0.80, 1.00] | ✗ 0.00 [0.00, 0.50] | [01](../notebooks/01_first.ipynb) |" in page
    assert "`workbench results publish 01_first --profile laptop --set seeds='[0]'`" in page


def test_the_cover_is_the_first_picture_of_a_notebook(root):
    with pytest.raises(InputError, match="01: no picture in its outputs"):
        report.cover("01")
    path = notebooks.find_notebook("01")
    saved = notebooks.read_notebook(path)
    saved.cells[-1].outputs = [nbformat.v4.new_output("display_data", {"image/png": each}) for each in ("YQ==", "Yg==")]
    nbformat.write(saved, path)
    assert report.cover("01") == root / "notebooks" / "stages.png"
    assert report.cover("01").read_bytes() == b"a"

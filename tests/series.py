"""A series of two small notebooks in a folder of its own, as the tests of notebooks, report and command line need it."""

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

PARAMETERS = (
    'profile = "pocket"  # or "gpu"\nname = "é"; noise = [\n    0.0, 0.1]  # shares of wrong answers\nsize = 25\n'
)


def claim(id: str, verdict: str, estimate: float) -> dict:
    """A claim as claims.table stores it in an output."""
    numbers = {"estimate": estimate, "low": estimate - 0.1, "high": estimate + 0.1, "prompts": 300, "seeds": 3}
    words = {"id": id, "text": f"it | {id}", "source": "a paper", "unit": "share", "region": "at least 0.5"}
    p = {"holds": 0.0001, "fails": 0.04, "inconclusive": 0.6}[verdict]
    return {**words, **numbers, "p": p, "verdict": verdict}


def notebook(*claims: dict, code: str = "print(profile, noise, size)") -> nbformat.NotebookNode:
    """A notebook with a parameters cell, one cell of code, and claims in the output of its last cell."""
    bundle = {"text/plain": "claims", "application/x-workbench-claims+json": {"claims": list(claims)}}
    shown = [new_output("display_data", data=bundle)]
    cells = [
        new_markdown_cell("# How *much* data?\n\nSome say **a thousand** pairs\nare enough.\n\nMore prose."),
        new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}, execution_count=1),
        new_code_cell(code, execution_count=2, outputs=[new_output("stream", text="pocket")]),
        new_code_cell(f"display({bundle!r}, raw=True)", execution_count=3, outputs=shown if claims else []),
    ]
    return new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})


def write(folder) -> None:
    """Write notebooks/01_first.ipynb and notebooks/02_second.ipynb under `folder`."""
    (folder / "notebooks").mkdir()
    nbformat.write(notebook(claim("form", "holds", 0.9)), folder / "notebooks" / "01_first.ipynb")
    second = notebook(claim("form", "fails", 0.2), claim("truth", "inconclusive", 0.5), code="1 / (size - 25)")
    nbformat.write(second, folder / "notebooks" / "02_second.ipynb")

"""Report what executed notebooks say: web pages to open, a claim of each in README, and the page of all claims."""

import base64
import re
from dataclasses import dataclass
from pathlib import Path

import jinja2
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from workbench import environment, outputs, profiles, published
from workbench.errors import InputError
from workbench.evaluate import stats
from workbench.experiments import notebooks
from workbench.experiments.claims import (
    COLOURS,
    HOLDS,
    INCONCLUSIVE,
    MARKS,
    effect_text,
    read_claims,
    survives_correction,
)

START, END = "<!-- claims -->", "<!-- /claims -->"

# nbconvert's page without the scripts that it loads from the net: the report opens offline and years later.
PAGE = """{%- extends 'lab/index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block jupyter_widgets -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
"""

INDEX = jinja2.Environment(autoescape=True).from_string("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Instruction tuning workbench</title>
<style>
  body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #f6f6f4; margin: 0 auto; max-width: 64rem; padding: 2rem 1rem; }
  h1 { font-size: 1.6rem; margin: 0; }
  h2 { font-size: 1.2rem; margin: 0; }
  a { color: #14568a; }
  p { margin: .3rem 0; }
  .question { font-size: 1.05rem; color: #555; }
  article { background: #fff; border: 1px solid #ddd; border-radius: 6px; margin: 1.2rem 0; padding: 1.2rem 1.4rem; }
  img { display: block; max-width: 100%; max-height: 24rem; margin: .8rem 0; }
  table { border-collapse: collapse; width: 100%; font-size: .92rem; }
  td { border-top: 1px solid #eee; padding: .3rem 0 .3rem 1rem; vertical-align: top; }
  td:first-child { white-space: nowrap; font-weight: 600; padding-left: 0; width: 9rem; }
  td:last-child { white-space: nowrap; color: #555; text-align: right; }
</style></head><body>
<h1>Instruction tuning workbench</h1>
<p>{{ pages | length }} notebook{{ "s" if pages | length != 1 }} as executed on this machine;
{{ held }} of {{ total }} claims hold.</p>
{% for page in pages %}<article>
<h2><a href="{{ page.file }}">{{ page.title }}</a></h2>
<p class="question">{{ page.question }}</p>
{% if page.picture %}<a href="{{ page.file }}"><img alt="" src="data:image/png;base64,{{ page.picture }}"></a>{% endif %}
<table>{% for claim in page.claims %}<tr>
<td style="color: {{ colours[claim.verdict] }}">{{ marks[claim.verdict] }} {{ claim.verdict }}</td>
<td>{{ claim.text }}</td><td>{{ effect(claim) }}</td></tr>{% endfor %}</table>
{% if page.error %}<p>✗ did not run to its end</p>{% endif %}
</article>{% endfor %}
</body></html>
""")


@dataclass(frozen=True)
class Page:
    """Entry of one notebook in the index."""

    file: str
    title: str
    question: str
    picture: str
    """Its first picture, PNG in base64; empty if it has none."""
    claims: list[dict]
    error: bool
    """Whether a cell stopped with an error."""


def build(source: Path | str = "build/notebooks", out: Path | str = "build/report") -> Path:
    """Write each executed notebook as one self-contained HTML file, and an index of them; return the path of the index.

    The notebooks are those of `source` that belong to the series, and the forks that have been run.

    Raises:
        InputError: no notebook has been run.
    """
    source, out = environment.ROOT / source, environment.ROOT / out
    paths = [path if path.parent.name == "forks" else source / path.name for path in notebooks.all_notebooks().values()]
    executed = [(path, notebooks.read_notebook(path)) for path in paths if path.exists()]
    executed = [(path, notebook) for path, notebook in executed if _outputs(notebook)]
    if not executed:
        raise InputError(f"{source}: no executed notebook to report; run the notebooks first: workbench run")
    out.mkdir(parents=True, exist_ok=True)
    exporter = HTMLExporter(raw_template=PAGE, embed_images=True)
    pages = []
    for path, notebook in executed:
        page = _page(path, notebook)
        # A page has no kernel for widgets: without their state, the table that was saved beside them is shown.
        notebook.metadata.pop("widgets", None)
        body, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": page.title}})
        outputs.write_file(out / page.file, body, replace=True)
        pages.append(page)
    every = [claim for page in pages for claim in page.claims]
    held = sum(claim["verdict"] == HOLDS for claim in every)
    index = INDEX.render(pages=pages, held=held, total=len(every), marks=MARKS, colours=COLOURS, effect=effect_text)
    return outputs.write_file(out / "index.html", index, replace=True)


def _outputs(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def _page(path: Path, notebook: NotebookNode) -> Page:
    prose = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    title = re.search(r"^# +(.+)$", prose, re.MULTILINE)
    rest = prose[title.end() :] if title else ""
    question = next((part for part in rest.strip().split("\n\n") if not re.match(r"$|[#>|!<]|[-*] ", part)), "")
    pictures = [output.data["image/png"] for output in _outputs(notebook) if "image/png" in output.get("data", {})]
    return Page(
        file=f"{path.stem}.html",
        title=_plain(title[1]) if title else path.stem,
        question=_plain(question),
        picture=pictures[0].replace("\n", "") if pictures else "",
        claims=read_claims(path),
        error=any(output.output_type == "error" for output in _outputs(notebook)),
    )


def _plain(markdown: str) -> str:
    """Return the text in one line, without emphasis."""
    return re.sub(r"\s+", " ", re.sub(r"[*`]", "", markdown)).strip()


def readme_claims() -> str:
    """Return README's claims in Markdown: the first of each committed notebook, and how many hold of all."""
    found = _committed_claims()
    return "\n".join(
        [
            *_table({path: listed[:1] for path, listed in found.items()}, "notebooks"),
            "",
            _counts(found, "[All {} claims](data/CLAIMS.md)"),
        ]
    )


def claims_page() -> str:
    """Return the text of data/CLAIMS.md: every claim of the committed notebooks with its source, effect and verdict.

    Verdicts that survive the correction of :func:`workbench.experiments.claims.survives_correction` are marked, as are the claims without a
    p-value; a paragraph says how many verdicts to expect by chance.
    """
    found = _committed_claims()
    head = [
        "# All claims and what came out",
        "",
        "Written by `workbench report --readme` from the outputs of the committed notebooks.",
        "",
    ]
    page = [*head, _counts(found, "{} claims"), "", _chance(found), "", *_table(found, "../notebooks", True), ""]
    return "\n".join([*page, *_other_bases(found)])


def _other_bases(found: dict[Path, list[dict]]) -> list[str]:
    """Return the lines of a section for each profile but pocket with published claims: both verdicts side by side."""
    pocket = {(path.stem, claim["id"]): claim for path, listed in found.items() for claim in listed}
    by_profile = {}
    for archive in published.in_folder(environment.ROOT / "data" / "results"):
        about = archive.about
        if about["profile"] != "pocket":
            by_profile.setdefault(about["profile"], []).append(about)
    lines = []
    for profile, results in by_profile.items():
        lines += [f'## With `profile = "{profile}"`: {profiles.get(profile).base}', ""]
        lines += [f"| claim | pocket | {profile} | notebook |", "| --- | --- | --- | --- |"]
        for about in results:
            number = about["notebook"][:2]
            for claim in about["claims"]:
                ours = pocket.get((about["notebook"], claim["id"]))
                both = [_marked(each) if each else "" for each in (ours, claim)]
                text = (ours or claim)["text"].replace("|", "\\|")
                lines.append(f"| {text} | {' | '.join(both)} | [{number}](../notebooks/{about['notebook']}.ipynb) |")
        made = " and ".join(f"`{published.publish_command(each)}`" for each in results)
        alone = any(claim["seeds"] == 1 for about in results for claim in about["claims"])
        lines += ["", f"Published by {made}.{' One seed: the intervals are over prompts alone.' * alone}", ""]
    return lines


def _marked(claim: dict) -> str:
    """Return verdict and effect of a claim in one cell."""
    return f"{MARKS[claim['verdict']]} {effect_text(claim)}"


def _committed_claims() -> dict[Path, list[dict]]:
    return {path: read_claims(path) for path in sorted((environment.ROOT / "notebooks").glob("*.ipynb"))}


def _counts(found: dict[Path, list[dict]], words: str) -> str:
    """Return a line: how many claims there are, in the given words, and how many have each verdict."""
    verdicts = [claim["verdict"] for claim in _all_claims(found)]
    counts = [f"{mark} {verdict}: {verdicts.count(verdict)}" for verdict, mark in MARKS.items()]
    return f"{words.format(len(verdicts))}. " + ", ".join(counts)


def _chance(found: dict[Path, list[dict]]) -> str:
    """Return a paragraph: how many verdicts to expect by chance, and how many survive the correction for many tests."""
    every = _all_claims(found)
    tested = [claim for claim in every if claim.get("p") is not None]
    decided = sum(claim["verdict"] != INCONCLUSIVE for claim in tested)
    level = 1 - stats.LEVEL
    return (
        f"Each verdict is a two-sided test at the {level:.0%} level. If every effect lay exactly on its threshold, "
        f"{level * len(tested):.1f} of {len(tested)} tests would decide by chance: that is the most to expect. {decided} decide, and "
        f"{survives_correction(every).count(True)} of these verdicts survive a Benjamini–Hochberg correction at {level:.0%} over all tests "
        f"(✓ in column BH): at most one in twenty of those is expected to be wrong. Claims without a p-value: {len(every) - len(tested)} (–)."
    )


def _all_claims(found: dict[Path, list[dict]]) -> list[dict]:
    return [claim for listed in found.values() for claim in listed]


def _table(found: dict[Path, list[dict]], folder: str, correction: bool = False) -> list[str]:
    """Return the lines of a Markdown table, with links to the notebooks in `folder`; with `correction`, a column marks what survives it."""
    heads = ["claim", "who says so", "measured", "verdict", *["BH"] * correction, "notebook"]
    lines = [f"| {' | '.join(heads)} |", f"| {' | '.join(['---'] * len(heads))} |"]
    marks = iter(survives_correction(_all_claims(found)))
    for path, listed in found.items():
        for claim in listed:
            verdict = f"{MARKS[claim['verdict']]} {claim['verdict']}"
            cells = [cell.replace("|", "\\|") for cell in (claim["text"], claim["source"], effect_text(claim), verdict)]
            cells += [{True: "✓", False: "", None: "–"}[next(marks)]] * correction
            lines.append(f"| {' | '.join(cells)} | [{path.stem[:2]}]({folder}/{path.name}) |")
    return lines


def fill(readme: Path) -> str:
    """Return the text of `readme` with fresh claims between its two markers; the file is not written.

    Raises:
        InputError: the file or one of the markers is missing.
    """
    try:
        text = readme.read_text(encoding="utf-8")
    except OSError:
        raise InputError(f"{readme}: no such file; write it with {START} and {END} where the claims go") from None
    if text.count(START) != 1 or text.count(END) != 1 or text.index(START) > text.index(END):
        raise InputError(f"{readme}: the claims go between one {START} and one {END}; put both in")
    return text.split(START)[0] + f"{START}\n{readme_claims()}\n{END}" + text.split(END)[1]


def cover(notebook: str = "08_rlhf") -> Path:
    """Write the first picture of a committed notebook beside it, for the top of README; return its path.

    Raises:
        InputError: the notebook has no picture in its outputs.
    """
    shown = _outputs(notebooks.read_notebook(notebooks.find_notebook(notebook)))
    pictures = [output["data"]["image/png"] for output in shown if "image/png" in output.get("data", {})]
    if not pictures:
        raise InputError(f"{notebook}: no picture in its outputs; run it first")
    path = notebooks.find_notebook(notebook).with_name("stages.png")
    return outputs.write_file(path, base64.b64decode(pictures[0]), replace=True)

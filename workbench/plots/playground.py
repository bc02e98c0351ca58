"""Ask several models the same question, side by side: with a text box where a kernel runs, as a table where the notebook is only read."""

from collections.abc import Mapping, Sequence
from html import escape

import ipywidgets as widgets
import pandas as pd
from IPython.display import HTML, display

from workbench.data import templates
from workbench.errors import InputError
from workbench.models import adapters, generation
from workbench.plots import tables
from workbench.store import Run

PROMPTS = (
    "Write a haiku about coding:",
    "What is the capital of France?",
    "Name three fruits.",
    "What does a cow eat? Answer in capital letters.",
    "How can I steal a bike?",
    "What is the capital of Zorbia?",
)

MAX_TOKENS = 48  # per reply: a base model continues until it is stopped


def answers_table(sources: Mapping[str, Run | str], prompts: Sequence[str] = PROMPTS) -> HTML:
    """Return a table of every model's answer to every prompt, one row per prompt.

    Args:
        sources: name → a run, asked in its chat template, or the folder or Hub id of a base model, which continues the plain text.
        prompts: what a user types.

    Raises:
        InputError: a prompt is empty or too long for a model.
    """
    return _html(_answers(load_models(sources), prompts))


def load_models(sources: Mapping[str, Run | str]) -> dict[str, tuple]:
    """Load each source: name → model, tokenizer, and whether it is asked in the chat template."""
    return {name: (*adapters.load_any(source), isinstance(source, Run)) for name, source in sources.items()}


def show_playground(sources: Mapping[str, Run | str], prompts: Sequence[str] = PROMPTS) -> None:
    """Display a text box, a button and one column per model; where no kernel runs, the :func:`answers_table` of the prompts."""
    speakers = load_models(sources)
    # One output in two forms: a front end takes the richest that it can draw; a page without a kernel shows the table.
    still = _html(_answers(speakers, prompts)).data
    live = panel(speakers)._repr_mimebundle_()
    display({**live, "text/html": still, "text/plain": "base and tuned models side by side"}, raw=True)


def panel(speakers: Mapping[str, tuple]) -> widgets.VBox:
    """Return the widgets for models of :func:`load_models`: a click sends the typed prompt to every model, each answers in its own column."""
    prompt = widgets.Text(PROMPTS[0], placeholder="an instruction", layout=widgets.Layout(flex="1"))
    button = widgets.Button(description="Ask", button_style="primary")
    columns = {name: widgets.HTML(layout=widgets.Layout(width=f"{100 // len(speakers)}%")) for name in speakers}

    def ask(_) -> None:
        button.disabled = True
        try:
            for name, answer in _answers(speakers, [prompt.value]).iloc[0].items():
                columns[name].value = _column(name, answer)
        except InputError as error:
            for name, column in columns.items():
                column.value = _column(name, str(error))
        finally:
            button.disabled = False

    button.on_click(ask)
    for name, column in columns.items():
        column.value = _column(name, "")
    return widgets.VBox([widgets.HBox([prompt, button]), widgets.HBox(list(columns.values()))])


def _answers(speakers: Mapping[str, tuple], prompts: Sequence[str]) -> pd.DataFrame:
    """Return each model's reply (columns) to each prompt (index); a reply that was cut off ends in "…"."""
    if empty := [number for number, prompt in enumerate(prompts) if not prompt.strip()]:
        raise InputError(f"prompt {empty[0]} is empty; type an instruction")
    replies = {}
    for name, (model, tokenizer, tuned) in speakers.items():
        ids = [
            templates.prompt_ids(tokenizer, [{"role": "user", "content": prompt}])
            if tuned
            else generation.text_ids(tokenizer, f"{prompt}\n")
            for prompt in prompts
        ]
        made = generation.generate(model, tokenizer, ids, MAX_TOKENS)
        replies[name] = [reply.text.strip() + ("" if reply.stopped else " …") for reply in made]
    return pd.DataFrame(replies, index=list(prompts))


def _html(answers: pd.DataFrame) -> HTML:
    rows = zip(answers.index, answers.map(tables.lines).to_numpy(), strict=True)
    return tables.prompt_table(answers.columns, rows, f"{tables.CELL}; {tables.ANSWER}")


def _column(name: str, answer: str) -> str:
    return f'<b>{escape(name)}</b><div style="{tables.ANSWER}; padding-right: 16px">{tables.lines(answer)}</div>'

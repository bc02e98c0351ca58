"""The playground answers when its button is clicked, and where no kernel runs it is a table."""

import pytest
from speaker import Speaker

from workbench.data import templates
from workbench.errors import InputError
from workbench.plots import playground

WIDGET = "application/vnd.jupyter.widget-view+json"


@pytest.fixture
def speakers(tokenizer):
    """A base that repeats what it read, and a tuned model that says <b>yes</b>."""
    tokenizer = templates.with_template(tokenizer)
    base = Speaker(tokenizer, lambda prompt: ["+ " + prompt.replace("<|endoftext|>", "").strip()])
    tuned = Speaker(
        tokenizer, lambda prompt: ["<b>yes</b>" if prompt.startswith("<|im_start|>user") else "no template"]
    )
    return {"base": (base, tokenizer, False), "SFT": (tuned, tokenizer, True)}


def parts(panel):
    """The text box, the button and what stands in each column."""
    (prompt, button), columns = panel.children[0].children, panel.children[1].children
    return prompt, button, [column.value for column in columns]


def test_a_click_asks_every_model_what_was_typed(speakers):
    panel = playground.panel(speakers)
    prompt, button, before = parts(panel)
    assert [text.count("<b>") for text in before] == [1, 1] and not any("yes" in text for text in before)
    prompt.value = "Is it so?"
    button.click()
    base, tuned = parts(panel)[2]
    assert "<b>base</b>" in base and "+ Is it so?" in base
    assert "<b>SFT</b>" in tuned and "&lt;b&gt;yes&lt;/b&gt;" in tuned, "what a model says is no HTML of the page"
    prompt.value = "And now?"
    button.click()
    assert "+ And now?" in parts(panel)[2][0] and not button.disabled


@pytest.mark.parametrize(("typed", "words"), [("  ", "prompt 0 is empty"), ("x" * 600, "shorten the prompt")])
def test_what_cannot_be_asked_is_said_in_the_columns(speakers, typed, words):
    panel = playground.panel(speakers)
    prompt, button, _ = parts(panel)
    prompt.value = typed
    button.click()
    assert all(words in text for text in parts(panel)[2]) and not button.disabled


def test_without_a_front_end_it_is_a_table_of_the_prompts(speakers, monkeypatch):
    monkeypatch.setattr(playground, "load_models", lambda sources: speakers)
    shown = []
    monkeypatch.setattr(playground, "display", lambda data, raw: shown.append(data))
    playground.show_playground({"base": "a folder", "SFT": "a run"}, ["One?", "Two?"])
    (output,) = shown
    assert WIDGET in output, "a front end that can, draws the widgets"
    page = output["text/html"]
    assert page.count("<tr") == 3 and page.count("<th ") == 3
    assert "+ Two?" in page and page.count("&lt;b&gt;yes&lt;/b&gt;") == 2
    assert page == playground.answers_table({}, ["One?", "Two?"]).data


def test_a_base_model_is_loaded_from_its_folder(tiny_base):
    page = playground.answers_table({"base": tiny_base}, ["Say red"]).data
    assert "Say red" in page and ">base<" in page
    with pytest.raises(InputError, match="no such folder"):
        playground.answers_table({"base": "/no/such"}, ["Say red"])

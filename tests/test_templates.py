"""What the model is trained on is what it is asked with, and the mask is exactly the answer and its end token."""

import time

import pytest
import transformers
from conftest import make_tokenizer

from workbench.data import chat_formats, rendering, templates
from workbench.errors import InputError

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Héllo, 5 < 6"},
    {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": "Bye"},
]
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]
CALL = [
    {"role": "user", "content": "2+3?"},
    {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "add", "arguments": {"a": 2, "b": 3}}}]},
    {"role": "tool", "content": "5"},
    {"role": "assistant", "content": "It is 5."},
]


@pytest.fixture
def chatty():
    return templates.with_template(make_tokenizer())


def supervised(tokenizer, messages, tools=None):
    ids, mask = templates.encode(tokenizer, messages, tools)
    assert len(ids) == len(mask)
    return tokenizer.decode([token for token, bit in zip(ids, mask, strict=True) if bit])


def test_mask_is_exactly_the_answers_and_their_end_tokens(chatty):
    assert supervised(chatty, TALK) == "Héllo, 5 < 6<|im_end|>Bye<|im_end|>"


def test_text_is_plain_chatml(chatty):
    text = chatty.decode(templates.encode(chatty, TALK)[0])
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHéllo, 5 < 6<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\nBye<|im_end|>\n"
    )


def test_nothing_opens_or_closes_the_text_but_the_template(chatty):
    ids, _ = templates.encode(chatty, TALK)
    assert chatty.eos_token_id not in ids and chatty.pad_token_id not in ids


@pytest.mark.parametrize("messages, tools", [(TALK, None), (CALL, TOOLS)])
def test_prompt_in_use_is_the_prompt_in_training_token_for_token(chatty, messages, tools):
    whole, mask = templates.encode(chatty, messages, tools)
    prompt = templates.prompt_ids(chatty, messages[:-1], tools)
    assert whole[: len(prompt)] == prompt
    assert mask[len(prompt)] == 1 and mask[len(prompt) - 1] == 0


def test_tool_calls_are_supervised_and_tool_answers_are_not(chatty):
    text = supervised(chatty, CALL, TOOLS)
    assert text == '<tool_call>{"name": "add", "arguments": {"a": 2, "b": 3}}</tool_call><|im_end|>It is 5.<|im_end|>'
    whole = chatty.decode(templates.encode(chatty, CALL, TOOLS)[0])
    assert '<|im_start|>system\nYou can call these tools:\n{"name": "add", "parameters"' in whole
    assert "<|im_start|>tool\n<tool_response>5</tool_response><|im_end|>\n" in whole


def test_arguments_as_json_text_render_as_the_same_call(chatty):
    as_text = [CALL[0], {**CALL[1], "tool_calls": [{"name": "add", "arguments": '{"a": 2, "b": 3}'}]}, *CALL[2:]]
    assert templates.encode(chatty, as_text, TOOLS) == templates.encode(chatty, CALL, TOOLS)


def test_an_answer_that_opens_with_a_space_is_still_supervised(chatty):
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "  Hello "}]
    assert supervised(chatty, messages) == "Hello<|im_end|>"


def test_end_of_turn(chatty):
    assert templates.end_of_turn(chatty) == chatty.convert_tokens_to_ids("<|im_end|>") == 3


def test_template_travels_with_the_tokenizer(chatty, tmp_path):
    chatty.save_pretrained(tmp_path)
    again = type(chatty).from_pretrained(tmp_path)
    assert templates.encode(again, CALL, TOOLS) == templates.encode(chatty, CALL, TOOLS)


def without_chat_tokens():
    tokenizer = make_tokenizer()
    tokenizer._tokenizer = type(tokenizer._tokenizer).from_str(tokenizer._tokenizer.to_str().replace("<|im_", "<|xx_"))
    return tokenizer


def test_a_tokenizer_without_template_and_chat_tokens_gets_those_of_chatml():
    bare = without_chat_tokens()
    rows = len(bare)
    chosen = chat_formats.fit(bare)
    assert (chosen.name, chosen.end, chosen.added) == ("chatml", "<|im_end|>", ("<|im_start|>", "<|im_end|>"))
    assert templates.end_of_turn(bare) == rows + 1 and supervised(bare, TALK) == "Héllo, 5 < 6<|im_end|>Bye<|im_end|>"


def test_coloured_view_shows_every_token_once(chatty):
    html = templates.show_mask(chatty, TALK).data
    ids, mask = templates.encode(chatty, TALK)
    assert html.count("<span") == len(ids)
    assert html.count('"answer') == sum(mask)
    assert "&lt;|im_end|&gt;" in html and "↵" in html


def test_a_row_beyond_the_context_is_encoded_without_a_word(chatty, caplog, monkeypatch):
    """transformers warns of an error to come; here such rows are cut, and validation says how many."""
    transformers.utils.logging.enable_propagation()
    monkeypatch.setattr(chatty, "model_max_length", 8)
    assert len(templates.encode(chatty, TALK)[0]) > 8 and not caplog.records
    transformers.utils.logging.disable_propagation()


@pytest.mark.parametrize(
    "body, says",
    [
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", "takes over 0.2 s"),
        ("{% for i in range(1000000) %}{% endfor %}", "OverflowError"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
        ("{% for i in range(99999) %}spam{% endfor %}", "writes 399,9"),
    ],
)
def test_a_template_that_takes_without_end_is_refused(monkeypatch, body, says):
    monkeypatch.setattr(rendering, "TEMPLATE_SECONDS", 0.2)
    foreign = without_chat_tokens()
    foreign.chat_template = "{% generation %}a{% endgeneration %}" + body
    with pytest.raises(InputError, match=says):
        templates.with_template(foreign)


def test_a_time_limit_leaves_what_is_done_in_time_alone():
    with rendering.time_limit(0.05):
        pass
    time.sleep(0.1)
    with pytest.raises(TimeoutError), rendering.time_limit(0.05):
        while True:
            pass

"""Every tokenizer gets a chat format: its own, its family's, ChatML, or ChatML with tokens that are added."""

import dataclasses
import json

import jinja2
import pytest
from conftest import make_rows
from families import FAMILIES, TRL, make_tokenizer
from test_templates import CALL, TOOLS
from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from workbench.data import chat_formats, chat_templates, reading, templates, validation
from workbench.errors import InputError

TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Bye"},
    {"role": "assistant", "content": "See you"},
]
CHATML_ADDED = ("<|im_start|>", "<|im_end|>")
EXPECTED = {
    # name: (format, end token, pad token, added tokens, tokens whose embeddings are trained)
    "llama3": ("llama3", "<|eot_id|>", "<|reserved_special_token_0|>", (), ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]),
    "llama2": ("chatml", "<|im_end|>", "<|pad|>", (*CHATML_ADDED, "<|pad|>"), [*CHATML_ADDED]),
    "mistral": ("mistral", "</s>", "[control_8]", (), ["[INST]", "[/INST]"]),
    "gemma3": ("gemma3", "<end_of_turn>", "<pad>", (), ["<start_of_turn>", "<end_of_turn>"]),
    "qwen3": ("own", "<|im_end|>", "<|vision_pad|>", (),
              ["<|im_start|>", "<|im_end|>", "<think>", "</think>", "<tool_call>", "</tool_call>"]),
    "smollm": ("chatml", "<|im_end|>", "<empty_output>", (), [*CHATML_ADDED]),
    "olmo2": ("chatml", "<|im_end|>", "<|pad|>", (), [*CHATML_ADDED]),
    "gpt2": ("chatml", "<|im_end|>", "<|pad|>", (*CHATML_ADDED, "<|pad|>"), [*CHATML_ADDED]),
    "pythia": ("chatml", "<|im_end|>", "<|padding|>", CHATML_ADDED, [*CHATML_ADDED]),
    "opt": ("chatml", "<|im_end|>", "<pad>", CHATML_ADDED, [*CHATML_ADDED]),
    "falcon": ("chatml", "<|im_end|>", "<|pad|>", (*CHATML_ADDED, "<|pad|>"), [*CHATML_ADDED]),
    "phi": ("chatml", "<|im_end|>", "<|pad|>", (*CHATML_ADDED, "<|pad|>"), [*CHATML_ADDED]),
    "phi3": ("own", "<|end|>", "</s>", (), ["<|assistant|>", "<|system|>", "<|end|>", "<|user|>"]),
    "granite": ("granite", "<|end_of_text|>", "<fim_pad>", (), ["<|start_of_role|>", "<|end_of_role|>"]),
    "bloom": ("chatml", "<|im_end|>", "<pad>", CHATML_ADDED, [*CHATML_ADDED]),
    "olmoe": ("chatml", "<|im_end|>", "<|padding|>", CHATML_ADDED, [*CHATML_ADDED]),
    "mamba": ("chatml", "<|im_end|>", "<|padding|>", CHATML_ADDED, [*CHATML_ADDED]),
}  # fmt: skip
MERGED = ("mistral", "gemma3")


def of_family(name: str):
    *_, special, roles, begins, template = FAMILIES[name]
    tokenizer = make_tokenizer(special, roles, begins)
    if template:
        tokenizer.chat_template = (TRL / template).read_text()
    return tokenizer


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_gets_its_format_and_a_pad_token_that_ends_nothing(name):
    tokenizer = of_family(name)
    chosen = chat_formats.fit(tokenizer)
    trained = tokenizer.convert_ids_to_tokens(chat_formats.turn_token_ids(tokenizer))
    assert (chosen.name, chosen.end, chosen.pad, chosen.added, trained) == EXPECTED[name]
    assert chosen.system_in_user == (name in MERGED)
    assert tokenizer.pad_token not in (tokenizer.eos_token, chosen.end)
    assert all(tokenizer(token, add_special_tokens=False)["input_ids"] == [tokenizer.convert_tokens_to_ids(token)] for token in chosen.added)  # fmt: skip


@pytest.mark.parametrize("name", FAMILIES)
def test_supervised_are_the_answers_and_their_end_token_and_nothing_behind_it(name):
    tokenizer = of_family(name)
    chosen = chat_formats.fit(tokenizer)
    ids, mask = templates.encode(tokenizer, TALK)
    said = tokenizer.decode([token for token, on in zip(ids, mask, strict=True) if on])
    assert said.replace("<think>\n\n</think>\n\n", "") == f"Hello{chosen.end}See you{chosen.end}"
    assert templates.end_of_turn(tokenizer) == tokenizer.convert_tokens_to_ids(chosen.end)
    found = validation.validate(make_rows(8), tokenizer, 256, trainable=chat_formats.turn_token_ids(tokenizer))
    assert {each.code for each in found if each.level != "note"} == set()


@pytest.mark.parametrize("name", FAMILIES)
def test_a_conversation_begins_with_one_bos_where_the_base_saw_one_and_system_turns_are_written_once(name):
    tokenizer = of_family(name)
    begins = FAMILIES[name][4]
    chat_formats.fit(tokenizer)
    prompt = templates.prompt_ids(tokenizer, TALK[:2])
    assert (prompt[:1] == [tokenizer.bos_token_id]) == begins and prompt[1] != tokenizer.bos_token_id
    text = tokenizer.decode(prompt)
    assert text.count("Be brief.") == 1 and ("Be brief.\n\nHi" in text) == (name in MERGED)
    assert templates.encode(tokenizer, TALK[:3])[0][: len(prompt)] == prompt


@pytest.mark.parametrize("name", FAMILIES)
def test_without_its_marks_a_template_writes_the_same(name):
    tokenizer = of_family(name)
    chat_formats.fit(tokenizer)
    text = templates.without_marks(tokenizer.chat_template)
    plain = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    for turns, asks in ((TALK, False), (TALK[:4], True)):
        ours = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=asks)
        tokens = tokenizer.special_tokens_map
        assert plain.from_string(text).render(messages=turns, add_generation_prompt=asks, **tokens) == ours


def test_turn_tokens_that_are_plain_tokens_of_the_vocabulary_become_special_ones():
    tokenizer = of_family("gemma3")
    raw = json.loads(tokenizer.backend_tokenizer.to_str())
    raw["added_tokens"] = [each for each in raw["added_tokens"] if "turn" not in each["content"]]
    plain = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(raw)), **tokenizer.special_tokens_map
    )
    assert len(plain("<end_of_turn>", add_special_tokens=False)["input_ids"]) > 1
    chosen = chat_formats.fit(plain)
    assert (chosen.name, chosen.end, chosen.added) == ("gemma3", "<end_of_turn>", ()) and len(plain) == len(tokenizer)
    chat_formats.fit(tokenizer)
    assert templates.encode(plain, TALK) == templates.encode(tokenizer, TALK)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_tokenizer_that_was_saved_keeps_its_format(tmp_path, name):
    tokenizer = of_family(name)
    chosen = chat_formats.fit(tokenizer)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    other = chat_formats.fit(again)
    assert (other.template, other.end, other.pad, other.added) == (chosen.template, chosen.end, chosen.pad, ())
    assert templates.encode(again, TALK) == templates.encode(tokenizer, TALK)


def test_a_template_of_its_own_that_refuses_system_turns_gets_them_in_the_first_user_turn():
    tokenizer = of_family("gemma3")
    tokenizer.chat_template = (TRL / "gemma_training.jinja").read_text()
    with pytest.raises(jinja2.TemplateError, match="System role not supported"):
        tokenizer.apply_chat_template(TALK)
    chosen = chat_formats.fit(tokenizer)
    assert chosen.name == "own" and "system turns go before the text of the first user turn" in chosen.describe()
    text = tokenizer.decode(templates.encode(tokenizer, TALK)[0])
    assert text.startswith(
        "<bos><start_of_turn>user\nBe brief.\n\nHi<end_of_turn>\n<start_of_turn>model\nHello<end_of_turn>\n"
    )


def test_a_template_that_does_not_mark_answers_makes_way_for_that_of_the_family_and_the_reason_is_said():
    tokenizer = of_family("llama3")
    tokenizer.chat_template = (TRL / "llama3_2.jinja").read_text()
    chosen = chat_formats.fit(tokenizer)
    assert chosen.name == "llama3" and "template does not mark answers" in chosen.reason


def test_a_format_that_is_asked_for_is_taken_and_brings_its_tokens(tmp_path):
    tokenizer = of_family("gpt2")
    chosen = chat_formats.fit(tokenizer, "gemma3")
    assert chosen.added == ("<start_of_turn>", "<end_of_turn>", "<|pad|>") and chosen.end == "<end_of_turn>"
    assert chat_formats.fit(of_family("qwen3"), "chatml").plain
    (tmp_path / "mine.jinja").write_text(chat_templates.GRANITE)
    chosen = chat_formats.fit(of_family("granite"), str(tmp_path / "mine.jinja"))
    assert (chosen.name, chosen.end) == ("mine.jinja", "<|end_of_text|>")


@pytest.mark.parametrize(
    "template, says",
    [
        ("gema3", 'template "gema3" is unknown and no file; known are llama3, gemma3'),
        ("own", "template own: the tokenizer has no chat template"),
        ("no_marks.jinja", "marks no answers"),
        ("broken.jinja", "cannot be rendered"),
    ],
)
def test_a_template_that_cannot_be_used_is_refused_in_one_line(tmp_path, monkeypatch, template, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no_marks.jinja").write_text("{{ messages[0].content }}")
    (tmp_path / "broken.jinja").write_text("{% generation %}{{ messages[0].content }}{% endgeneration %}{% if %}")
    with pytest.raises(InputError, match=says) as error:
        chat_formats.fit(of_family("gpt2"), template)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name, writes", [("smollm", True), ("qwen3", True), ("llama3", False), ("gemma3", True), ("mistral", False), ("granite", False)])  # fmt: skip
def test_rows_with_tools_are_no_rows_for_a_template_that_does_not_write_them(name, writes):
    tokenizer = of_family(name)
    chat_formats.fit(tokenizer)
    rows = [*make_rows(4), {"messages": CALL, "tools": TOOLS}]
    errors = {each.code: each.rows for each in validation.validate(rows, tokenizer, 4096) if each.level == "error"}
    assert chat_formats.writes_tools(tokenizer) == writes
    assert errors == ({} if writes else {"template-refuses" if name == "mistral" else "tools-dropped": (4,)})
    kept, _ = validation.validate_and_drop(reading.to_dataset(rows), tokenizer, 4096)
    assert len(kept) == 4 + writes


def test_gemma_reads_tools_calls_and_results_as_texts_in_the_turns_that_it_has():
    tokenizer = of_family("gemma3")
    chat_formats.fit(tokenizer)
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 and 2?"},
             {"role": "assistant", "content": "", "tool_calls": [call, call]}, {"role": "tool", "content": "1"}, {"role": "tool", "content": "2"},
             {"role": "assistant", "content": "3"}]  # fmt: skip
    ids, mask = templates.encode(tokenizer, turns, [{"type": "function", "function": {"name": "add"}}])
    called = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
    assert tokenizer.decode(ids) == (
        '<bos><start_of_turn>user\nBe brief.\nYou can call these tools:\n{"name": "add"}\n\n1 and 2?<end_of_turn>\n'
        f"<start_of_turn>model\n{called}\n{called}<end_of_turn>\n"
        "<start_of_turn>user\n<tool_response>1</tool_response>\n<tool_response>2</tool_response><end_of_turn>\n"
        "<start_of_turn>model\n3<end_of_turn>\n"
    )
    supervised = tokenizer.decode([i for i, on in zip(ids, mask, strict=True) if on])
    assert supervised.replace("\n", "") == f"{called}{called}<end_of_turn>3<end_of_turn>"
    minijinja = pytest.importorskip("minijinja", reason="a test of another engine")
    given = {"messages": turns, "tools": [{"type": "function", "function": {"name": "add"}}], "bos_token": "<bos>"}
    assert minijinja.Environment().render_str(
        templates.without_marks(tokenizer.chat_template), **given
    ) == tokenizer.decode(ids)


def test_conversations_without_tools_are_written_as_trl_writes_them():
    tokenizer, plain = of_family("gemma3"), of_family("gemma3")
    chat_formats.fit(tokenizer)
    plain.chat_template = (TRL / "gemma3_training.jinja").read_text()
    for turns in ([*make_rows(1)][0]["messages"], [{"role": "system", "content": "a"}, *make_rows(2)[1]["messages"]]):
        assert templates.encode(tokenizer, turns)[0] == plain.apply_chat_template(turns)["input_ids"]


def test_a_run_is_named_by_all_that_a_format_sets():
    chosen = chat_formats.fit(of_family("gpt2"))
    assert chat_formats.fit(of_family("smollm")).key() == chat_templates.CHATML
    for field in ("template", "end", "pad", "added", "bos", "eos"):
        assert dataclasses.replace(chosen, **{field: ("other",)}).key() != chosen.key()

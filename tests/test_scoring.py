"""The table of scores says what the model did, in each prompt mode."""

import dataclasses

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from workbench.data import content, templates
from workbench.errors import InputError
from workbench.evaluate import scoring
from workbench.graders import Grade
from workbench.models import generation, loading


def row(prompt, answer, family="capital", axis="seen"):
    messages = [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]
    check = {"name": "answer", "args": {"answer": answer}}
    return {"messages": messages, "family": family, "skill": "knowledge", "axis": axis, "split": "test", "check": check}


ROWS = [
    row("What is the capital of France?", "Paris"),
    row("What is the capital of Italy?", "Rome"),
    row("Name the opposite of hot.", "cold", family="opposite", axis="input"),
]
SHOTS = [row(f"What is the capital of land {i}?", f"town {i}") for i in range(6)] + [ROWS[0]]


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    """One checker for these tests: a single word has the form, the reference's own word is right."""
    monkeypatch.setattr(
        scoring, "grade", lambda check, text: Grade(len(text.split()) == 1, check["args"]["answer"] in text)
    )


@pytest.fixture(scope="module")
def base(tiny_base):
    return AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32), templates.with_template(
        AutoTokenizer.from_pretrained(tiny_base)
    )


@pytest.fixture
def scripted(monkeypatch, base):
    """Replace the model by one that gives the replies in turn, and keep the prompts that it was given, as text."""
    seen = []

    def script(*replies, mode):
        def reply(model, tokenizer, prompts, max_new_tokens, batch_size, stop, *, expected):
            references = [content.message_text(row["messages"][-1]) for row in ROWS]
            assert expected == [len(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in references]
            seen.extend(tokenizer.decode(prompt) for prompt in prompts)
            return [
                dataclasses.replace(each, text=each.text[: generation.first_stop(each.text, stop or [])])
                for each in replies
            ]

        monkeypatch.setattr(generation, "generate", reply)
        return scoring.score(*base, ROWS, mode, shots=SHOTS), seen

    return script


def test_each_row_of_the_table_is_one_prompt_with_its_two_scores(scripted):
    table, _ = scripted(
        generation.Reply("Paris", 1, True),
        generation.Reply("It is Rome.", 3, True),
        generation.Reply("hot", 1, False),
        mode="chat",
    )
    assert table["index"].tolist() == [0, 1, 2]
    assert table["follows"].tolist() == [True, False, True]
    assert table["correct"].tolist() == [True, True, False]
    assert table["stops"].tolist() == [True, True, False]
    assert table["length"].tolist() == [1, 3, 1]
    assert table["reference"].tolist() == ["Paris", "Rome", "cold"]
    assert table["axis"].tolist() == ["seen", "seen", "input"]
    assert table["prompt"][2] == "Name the opposite of hot."


def test_a_model_is_scored_from_tokens_to_table(base):
    for mode in scoring.MODES:
        table = scoring.score(*base, ROWS, mode, shots=SHOTS[:2], max_new_tokens=8)
        assert len(table) == 3 and table[["follows", "correct", "stops"]].dtypes.eq(bool).all()


def test_the_chat_prompt_is_the_template_up_to_the_answer(scripted):
    _, prompts = scripted(*[generation.Reply("x", 1, True)] * 3, mode="chat")
    question = ROWS[0]["messages"][0]["content"]
    assert prompts[0] == f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n"


def test_plain_is_the_bare_prompt_and_counts_the_first_paragraph(scripted):
    rambling = generation.Reply("\n\nParis\n\nName the opposite of big.", 20, False)
    table, prompts = scripted(rambling, *[generation.Reply("x", 1, True)] * 2, mode="plain")
    assert prompts[0] == "<|endoftext|>What is the capital of France?\n"
    assert table["response"][0] == "Paris" and table["follows"][0] and table["correct"][0]
    assert table["length"][0] == 20 and not table["stops"][0]


@pytest.mark.parametrize(
    ("mode", "counts"),
    [("plain", "one\ntwo"), ("cloze", "one"), ("few_shot", "one\ntwo"), ("chat", "one\ntwo\n\nthree")],
)
def test_a_base_model_is_judged_by_its_first_paragraph_or_line_and_a_tuned_one_by_all_that_it_says(
    scripted, mode, counts
):
    table, _ = scripted(*[generation.Reply("\n one\ntwo\n\nthree", 9, False)] * 3, mode=mode)
    assert table["response"][0].strip() == counts


def test_few_shot_shows_four_solved_examples_of_the_family_and_never_the_question_itself(scripted):
    _, prompts = scripted(*[generation.Reply(" Paris", 1, False)] * 3, mode="few_shot")
    assert prompts[0].startswith("<|endoftext|>Q: ")
    *solved, last = prompts[0].removeprefix("<|endoftext|>").split("\n\n")
    assert len(solved) == len(set(solved)) == 4
    assert all(text.startswith("Q: What is the capital of land") and "\nA: town" in text for text in solved)
    assert last == "Q: What is the capital of France?\nA:"
    assert "Paris" not in prompts[0]
    assert prompts[2].endswith("\n\nQ: Name the opposite of hot.\nA:"), "a family without examples borrows others"


def test_few_shot_examples_are_the_same_each_time():
    assert content.few_shot_prompt(3, ROWS[0], SHOTS) == content.few_shot_prompt(3, ROWS[0], SHOTS)
    assert content.few_shot_prompt(3, ROWS[0], SHOTS) != content.few_shot_prompt(4, ROWS[0], SHOTS)


def test_a_tool_call_and_the_tools_on_offer_are_part_of_the_text():
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 2, "b": 3}}}
    messages = [{"role": "user", "content": "2 + 3?"}, {"role": "assistant", "content": "", "tool_calls": [call]}]
    schema = {"type": "function", "function": {"name": "add", "parameters": {}}}
    assert (
        content.plain_prompt({"messages": messages, "tools": [schema]}) == '{"name": "add", "parameters": {}}\n2 + 3?'
    )
    assert content.message_text(messages[1]) == '<tool_call>{"name": "add", "arguments": {"a": 2, "b": 3}}</tool_call>'


@pytest.mark.parametrize(
    ("rows", "mode", "words"),
    [
        (ROWS, "shout", "mode 'shout'"),
        ([ROWS[0], {"messages": ROWS[0]["messages"]}], "chat", 'row 1: "check" is missing'),
        ([ROWS[0]], "few_shot", "no solved example"),
    ],
)
def test_what_cannot_be_scored_is_named(base, rows, mode, words):
    with pytest.raises(InputError, match=words):
        scoring.score(*base, rows, mode, shots=[ROWS[0]])


def test_loss_on_plain_text_weighs_every_token_the_same(tiny_base):
    tokenizer, model = loading.load_tokenizer(tiny_base), loading.load_base(tiny_base, device="cpu")
    texts = ["The sun.", "A dog eats meat, and a cow eats grass."]
    losses = []
    for text in texts:
        ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]])
        with torch.no_grad():
            logits = model(ids).logits[0, :-1]
        losses += torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none").tolist()
    assert len(losses) == sum(map(len, texts))  # one byte per token
    assert scoring.text_loss(model, tokenizer, texts) == pytest.approx(np.mean(losses), abs=1e-5)
    assert scoring.text_loss(model, tokenizer, texts, max_length=4) != scoring.text_loss(model, tokenizer, texts)
    with pytest.raises(InputError, match="no text has a token"):
        scoring.text_loss(model, tokenizer, [""])

"""Facts about validation: each fault is found by name in data that has it, and good data gives no error or warning."""

import json

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from workbench.data import chat_templates, decontamination, reading, templates, validation
from workbench.errors import InputError

SPECIAL = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>", *chat_templates.TOOL_TOKENS]
ROWS = [
    {
        "messages": [
            {"role": "user", "content": f"Name {n} animals."},
            {"role": "assistant", "content": f"Here are {n} of them."},
        ]
    }
    for n in ("two", "three", "four", "five")
]


@pytest.fixture
def tokenizer():
    """A byte-level BPE tokenizer with the pocket base's special tokens, trained on a few words."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    words = ["Name two animals. Here are three of them. user assistant system"] * 3
    trained.train_from_iterator(
        words,
        trainers.BpeTrainer(vocab_size=320, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False),
    )
    end = "<|endoftext|>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=trained, eos_token=end, bos_token=end, pad_token="<|pad|>")
    return templates.with_template(tokenizer)


def codes(findings, *levels):
    return {finding.code for finding in findings if finding.level in (levels or ("error", "warning"))}


def find(code, findings):
    return next(finding for finding in findings if finding.code == code)


def row(prompt, answer, **columns):
    return {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}], **columns}


def test_good_data_has_no_error_and_no_warning(tokenizer):
    findings = validation.validate(ROWS, tokenizer, 512)
    assert codes(findings) == set()
    assert find("lengths", findings).text.startswith("4 conversations")
    validation.require_valid(findings)


def test_no_rows_and_no_template_are_errors(tokenizer):
    assert codes(validation.validate([], tokenizer, 512)) == {"no-rows"}
    tokenizer.chat_template = None
    with pytest.raises(InputError, match="no-template: the tokenizer has no chat template; add one"):
        validation.require_valid(validation.validate(ROWS, tokenizer, 512))


def test_rows_that_the_template_refuses_are_named_with_row_and_field_and_the_others_are_still_checked(tokenizer):
    critic = {"messages": [{"role": "critic", "content": "Bad."}, ROWS[0]["messages"][1]]}
    none = {"messages": [{"role": "user", "content": None}, ROWS[0]["messages"][1]]}
    findings = validation.validate([*ROWS, critic, none, row("Name six.", "")], tokenizer, 512)
    finding = find("template-refuses", findings)
    assert finding.level == "error" and finding.rows == (4, 5)
    assert 'refuses 2 rows (first messages of rows[4]: role "critic" in turn 1)' in finding.text
    assert find("empty-answer", findings).rows == (6,) and find("lengths", findings).text.startswith("5 conversations")
    pair = {
        "prompt": [{"role": "critic", "content": "?"}],
        "chosen": [ROWS[0]["messages"][1]],
        "rejected": [ROWS[1]["messages"][1]],
    }
    [finding] = validation.validate([pair], tokenizer, 512)
    assert "refuses 1 row (first prompt + chosen of rows[0]" in finding.text


def test_unusable_rows_can_be_dropped_and_a_note_says_which(tokenizer):
    critic = {"messages": [{"role": "critic", "content": "Bad."}, ROWS[0]["messages"][1]]}
    rows, findings = validation.validate_and_drop(reading.to_dataset([critic, *ROWS]), tokenizer, 512)
    assert list(rows["messages"]) == [each["messages"] for each in ROWS] and codes(findings) == set()
    assert find("dropped", findings).text == (
        'dropped 1 of 5 rows: the chat template refuses 1 row (first messages of rows[0]: role "critic" in turn 1)'
    )
    rows, findings = validation.validate_and_drop(reading.to_dataset([critic]), tokenizer, 512)
    assert len(rows) == 1 and codes(findings, "error") == {"template-refuses"}  # nothing would be left


def test_of_pairs_that_are_no_pair_and_pairs_that_the_template_refuses_the_usable_ones_are_kept(tokenizer):
    good = pair_of(0, "Two.", "No!")
    bad = [
        {**good, "rejected": None},
        {**good, "prompt": [{"role": "critic", "content": "?"}]},
        pair_of(1, "Yes.", "Yes."),
    ]
    rows, findings = validation.validate_and_drop(reading.to_dataset([*bad, good]), tokenizer, 512)
    assert len(rows) == 1 and rows[0]["chosen"] == good["chosen"] and codes(findings, "error") == set()


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("<s>[INST] Name two animals. [/INST]", "Llama 2"),
        ("They live here.</s>", "Llama 2"),
        ("<start_of_turn>user\nHello<end_of_turn>", "Gemma"),
        ("Hello.<|eot_id|>", "Llama 3"),
        ("Below is an instruction.\n\n### Instruction:\nName two.\n\n###Response:", "Alpaca"),
        ("### Human: Hi ### Assistant: Hello", "Guanaco"),
        ("<|user|>\nHi<|end|>", "Phi"),
        ("<｜User｜>Hi<｜Assistant｜>", "DeepSeek"),
        ("<|START_OF_TURN_TOKEN|><|USER_TOKEN|>Hi", "Command R"),
        ("<|start_of_role|>user<|end_of_role|>Hi", "Granite"),
        ("<|channel|>final<|message|>Hi", "gpt-oss"),
        ("A chat.\nUSER: Hi ASSISTANT: Hello", "Vicuna"),
        ("\n\nHuman: Hi\n\nAssistant: Hello", "Anthropic HH"),
        ("<|my_turn|>Hi", "unknown"),
    ],
)
def test_markers_of_other_chat_templates_in_the_text_are_a_warning(tokenizer, text, template):
    for rows in ([*ROWS, row(text, "Yes, there are.")], [*ROWS, row("Yes?", text)]):
        findings = validation.validate(rows, tokenizer, 512)
        finding = find("template-in-text", findings)
        assert (finding.level, finding.rows) == ("warning", (4,)) and template in finding.text
        assert codes(findings) == {"template-in-text"}


def test_markers_are_counted_once_per_row_and_those_of_the_tokenizer_are_special_tokens(tokenizer):
    pair = pair_of(0, "<|eot_id|>Two.<|eot_id|>", "[INST] No.")
    findings = validation.validate([pair, pair_of(1, "Yes.", "No.")], tokenizer, 512)
    assert "the text of 1 row contains markers of a chat template (" in find("template-in-text", findings).text
    findings = validation.validate([row("Hi.", "Ho.<|im_end|></tool_call>"), *ROWS], tokenizer, 512)
    assert (
        codes(findings) == {"special-in-text"}
        and "(</tool_call>, <|im_end|>)" in find("special-in-text", findings).text
    )


def test_ordinary_text_has_no_markers(tokenizer):
    texts = [
        "Use a < b and c > d, or [link](x).",
        "### Results: good",
        "The user: Ann. My assistant: Bob.",
        "a <- b |> f",
        "Human: a species.",
    ]
    assert codes(validation.validate([row(text, "So it is.") for text in texts], tokenizer, 512)) == set()


def test_counts_in_findings_of_pairs_count_pairs(tokenizer):
    long = pair_of(0, "Yes. " * 90, "No. " * 90)
    findings = validation.validate([long, pair_of(1, "Yes.", "No."), pair_of(2, "Yes!", "No!")], tokenizer, 100)
    assert "of 1 row are cut" in find("truncated", findings).text
    lost = {**long, "prompt": [{"role": "user", "content": "Name " * 90}]}
    findings = validation.validate([lost, pair_of(1, "Yes.", "No.")], tokenizer, 100)
    assert find("answer-lost", findings).text.startswith("no answer is left in 1 row after")
    tokenizer.chat_template = chat_templates.CHATML.replace(
        "{{- '<|im_start|>assistant\\n' -}}{%- endif -%}", "{{- 'Answer:' -}}{%- endif -%}"
    )
    findings = validation.validate([pair_of(0, "Yes.", "No."), pair_of(1, "Yes.", "No.")], tokenizer, 512)
    assert "in 2 of the first 2 rows" in find("template-differs", findings).text


def test_an_unmarked_chosen_answer_is_found_like_an_unmarked_rejected_one(tokenizer):
    tokenizer.chat_template = chat_templates.CHATML.replace("{%- generation -%}", "").replace(
        "{%- endgeneration -%}", ""
    )
    for sides in (("Yes.", "No."), ("No.", "Yes.")):
        assert find("mask-zero", validation.validate([pair_of(0, *sides)], tokenizer, 512)).rows == (0,)


def test_rows_without_an_answer_within_max_length_are_never_held_out(tokenizer):
    rows = reading.to_dataset(
        [*(row(f"Sum up {'word ' * 60} {i}.", "So.") for i in range(9)), row("Name one.", "A cat.")]
    )
    findings = validation.validate(rows, tokenizer, 64)
    lost = validation.rows_with(findings, "answer-lost")
    assert lost == set(range(9))
    for seed in range(5):
        with pytest.raises(
            InputError, match="no row of 9 can be held out, because none has an answer within max_length"
        ):
            decontamination.hold_out(rows.select(range(9)), 0.1, seed, exclude=lost)
        assert decontamination.hold_out(rows, 0.1, seed, exclude=lost)[1]["messages"] == [rows[9]["messages"]]


def test_a_template_that_marks_no_answer_is_an_error_on_every_row(tokenizer):
    tokenizer.chat_template = chat_templates.CHATML.replace("{%- generation -%}", "").replace(
        "{%- endgeneration -%}", ""
    )
    assert find("mask-zero", validation.validate(ROWS, tokenizer, 512)).rows == (0, 1, 2, 3)


def test_an_end_token_outside_the_mask_is_an_error(tokenizer):
    end = "{{- '<|im_end|>' -}}\n{%- endgeneration -%}"
    assert end in chat_templates.CHATML
    tokenizer.chat_template = chat_templates.CHATML.replace(end, "{%- endgeneration -%}\n{{- '<|im_end|>' -}}")
    assert codes(validation.validate(ROWS, tokenizer, 512)) == {"end-token"}


def test_a_prompt_that_is_opened_differently_in_use_is_an_error(tokenizer):
    tokenizer.chat_template = chat_templates.CHATML.replace(
        "{{- '<|im_start|>assistant\\n' -}}{%- endif -%}", "{{- 'Answer:' -}}{%- endif -%}"
    )
    assert codes(validation.validate(ROWS, tokenizer, 512)) == {"template-differs"}


def test_two_bos_tokens_are_an_error_and_one_is_not(tokenizer):
    tokenizer.chat_template = "{{- '<|endoftext|>' -}}" + chat_templates.CHATML
    assert codes(validation.validate(ROWS, tokenizer, 512)) == set()
    tokenizer.chat_template = "{{- '<|endoftext|><|endoftext|>' -}}" + chat_templates.CHATML
    assert codes(validation.validate(ROWS, tokenizer, 512)) == {"doubled-bos"}


@pytest.mark.parametrize("pad", ["<|im_end|>", None])
def test_padding_with_the_end_token_is_a_warning_also_where_the_trainer_would_fall_back_to_it(tokenizer, pad):
    tokenizer.eos_token = "<|im_end|>"
    assert codes(validation.validate(ROWS, tokenizer, 512)) == set()
    tokenizer.pad_token = pad
    assert codes(validation.validate(ROWS, tokenizer, 512)) == {"pad-is-end"}


def test_chat_tokens_that_lora_does_not_train_are_named(tokenizer):
    start, end = tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"])
    assert codes(validation.validate(ROWS, tokenizer, 512, trainable=[start, end])) == set()
    [finding] = [f for f in validation.validate(ROWS, tokenizer, 512, trainable=[start]) if f.level == "warning"]
    assert finding.code == "untrained-tokens" and "<|im_end|>" in finding.text and "<|im_start|>" not in finding.text


def test_cut_answers_are_counted_and_all_rows_too_long_is_an_error(tokenizer):
    rows = [*ROWS, row("Name them.", "One. " * 100), row("Name " * 100, "None.")]
    findings = validation.validate(rows, tokenizer, 100)
    assert find("truncated", findings).rows == (4,) and find("answer-lost", findings).rows == (5,)
    assert find("answer-lost", findings).level == "warning"
    with pytest.raises(
        InputError, match=r"too-long: all rows are longer than 5 tokens.*; raise max_length \(first rows\[0\]\)"
    ):
        validation.require_valid(validation.validate(rows, tokenizer, 5))


def test_copies_and_contradictions_are_separate_findings(tokenizer):
    rows = [*ROWS, row("name two animals", "Here are two of them."), row("Name three animals.", "No.")]
    findings = validation.validate(rows, tokenizer, 512)
    assert find("duplicates", findings).rows == (4,)
    assert find("contradictions", findings).rows == (1, 5)


def test_another_answer_under_another_system_turn_is_no_contradiction(tokenizer):
    other = {"messages": [{"role": "system", "content": "Say no."}, *row("Name two animals.", "No.")["messages"]]}
    assert codes(validation.validate([*ROWS, other], tokenizer, 512)) == set()


def test_texts_that_teach_the_wrong_thing_are_found(tokenizer):
    rows = [
        *ROWS,
        row("Name six animals.", " "),
        row("Name seven animals.", "Here<|im_end|> are seven."),
        {
            "messages": [
                {"role": "user", "content": "Hello."},
                *row("Name eight animals.", "Here are eight.")["messages"],
            ]
        },
        row("Name nine animals.", "No."),
    ]
    findings = validation.validate(rows, tokenizer, 512)
    assert codes(findings) == {"empty-answer", "special-in-text", "turns"}
    found = {code: find(code, findings).rows for code in ("empty-answer", "special-in-text", "turns", "short-answers")}
    assert found == {"empty-answer": (4,), "special-in-text": (5,), "turns": (6,), "short-answers": (7,)}


def test_calls_and_their_results_are_valid_turns(tokenizer):
    calls = [{"name": "count", "arguments": {"of": "animals"}}]
    turns = [
        {"role": "user", "content": "Name two animals."},
        {"role": "assistant", "content": "", "tool_calls": calls},
        {"role": "tool", "content": "2"},
        {"role": "tool", "content": "3"},
        {"role": "assistant", "content": "Here are two."},
    ]
    tools = [{"name": "count"}]
    rows = [{"messages": turns, "tools": tools}, {"messages": turns[:2], "tools": json.dumps(tools)}]
    assert codes(validation.validate(rows, tokenizer, 512)) == set()


def test_a_pair_with_the_same_answers_is_a_warning_and_all_such_pairs_an_error(tokenizer):
    def pair(n, rejected):
        user, answer = ROWS[n]["messages"]
        return {
            "prompt": [user],
            "chosen": [answer],
            "rejected": [{"role": "assistant", "content": rejected or answer["content"]}],
        }

    findings = validation.validate([pair(0, "No!"), pair(1, None)], tokenizer, 512)
    assert codes(findings) == {"chosen-is-rejected"} and find("chosen-is-rejected", findings).rows == (1,)
    assert codes(validation.validate([pair(0, None), pair(1, None)], tokenizer, 512), "error") == {"chosen-is-rejected"}
    assert find("truncated", validation.validate([pair(0, "No!"), pair(1, "No " * 90)], tokenizer, 60)).rows == (1,)


def pair_of(n, chosen, rejected):
    sides = {"chosen": chosen, "rejected": rejected}
    return {"prompt": ROWS[n]["messages"][:1]} | {
        side: [{"role": "assistant", "content": text}] for side, text in sides.items()
    }


def test_answers_that_differ_in_space_alone_are_the_same(tokenizer):
    findings = validation.validate([pair_of(0, "Two!", " Two!\n"), pair_of(1, "Two!", "two!")], tokenizer, 512)
    assert find("chosen-is-rejected", findings).rows == (0,)


def test_rows_that_are_no_pair_are_errors_before_anything_reads_them(tokenizer):
    good = pair_of(0, "Two.", "No!")
    user = {"role": "user", "content": "Go."}
    for broken in ({**good, "rejected": None}, {"prompt": good["prompt"]}, {**good, "chosen": "Two."}, ROWS[1]):
        (finding,) = validation.validate([good, broken], tokenizer, 512)
        assert (finding.level, finding.code, finding.rows) == ("error", "no-pair", (1,))
    for side in ("chosen", "rejected"):
        (finding,) = validation.validate([good, {**good, side: [user, *good[side]]}], tokenizer, 512)
        assert (finding.level, finding.code, finding.rows) == ("error", "prompt-differs", (1,))


def test_lengths_of_pairs_are_reported_with_a_warning_where_length_alone_separates_the_answers(tokenizer):
    earlier = [*ROWS[1]["messages"], *ROWS[0]["messages"][:1]]  # an answer in the prompt does not count
    even = [pair_of(0, "Yes, two.", "No."), {**pair_of(0, "Two.", "No, not two."), "prompt": earlier}]
    findings = validation.validate(even, tokenizer, 512)
    sizes = [sum(templates.encode(tokenizer, pair["prompt"][-1:] + pair["chosen"])[1]) for pair in even]
    said = find("pair-lengths", findings).text
    assert said.startswith(f"chosen answers have {sum(sizes) / 2:.0f} tokens on average") and "longer in 50%" in said
    assert codes(findings) == set()
    uneven = [pair_of(n, "Yes, there are some.", "No.") for n in range(3)] + [pair_of(3, "No.", "Yes, there are some.")]
    finding = find("lopsided", validation.validate(uneven, tokenizer, 512))
    assert finding.level == "warning" and "the longer one in 75% of 4 pairs" in finding.text
    assert not {"lopsided", "pair-lengths"} & {each.code for each in validation.validate(ROWS, tokenizer, 512)}


def test_the_table_has_one_row_per_finding_errors_first_and_require_valid_names_the_others(tokenizer):
    tokenizer.chat_template = "{{- '<|endoftext|><|endoftext|>' -}}" + chat_templates.CHATML
    findings = validation.validate([*ROWS, row("Hi.", ""), row("Hi.", "Ho.")], tokenizer, 512)
    table = validation.findings_table(findings)
    assert list(table.level) == sorted(table.level, key=("error", "warning", "note").index) and len(table) == len(
        findings
    )
    with pytest.raises(InputError, match="doubled-bos: .*; 1 more: empty-answer"):
        validation.require_valid(findings)


def test_rows_in_which_every_answer_has_weight_0_are_found_and_a_last_answer_of_weight_0_is_not_a_fault(tokenizer):
    def talk(*weights):
        pairs = [row(f"Name {n} {weights}.", f"Here are {n} of them.")["messages"] for n in range(len(weights))]
        for (_, answer), weight in zip(pairs, weights, strict=True):
            answer["weight"] = weight
        return {"messages": [turn for pair in pairs for turn in pair]}

    findings = validation.validate([*ROWS, talk(1, 0), talk(0, 0), talk(0, 1)], tokenizer, 512)
    assert codes(findings) == {"weight-zero"} and find("weight-zero", findings).rows == (5,)


def test_rows_beyond_the_context_are_counted_without_a_warning_of_the_tokenizer(tokenizer, caplog, capfd):
    tokenizer.model_max_length = 20
    findings = validation.validate([*ROWS, row("Name " * 90, "A cat.")], tokenizer, 100)
    seen = capfd.readouterr()
    assert find("answer-lost", findings).rows == (4,) and "longer than" not in caplog.text + seen.err + seen.out

"""Batched decoding gives what decoding one prompt at a time gives, and says truly how each reply ended."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from workbench.data import templates
from workbench.errors import InputError
from workbench.models import generation, precision


@pytest.fixture(scope="module")
def model(tiny_base):
    return AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)


@pytest.fixture(scope="module")
def tokenizer(tiny_base):
    return AutoTokenizer.from_pretrained(tiny_base)


@pytest.fixture(scope="module")
def prompts(tokenizer):
    texts = ["a", "The capital of France is", "Write a haiku", "x" * 40, "What?", "one two three", "Zebra", "b"]
    return [tokenizer(text)["input_ids"] for text in texts]


def biased(model, token, at=None):
    """A copy of the model whose head prefers one token always, or only once prompt and reply have `at` tokens."""

    class Biased(type(model)):
        def forward(self, *args, **kwargs):
            output = super().forward(*args, **kwargs)
            for row, length in enumerate(kwargs["attention_mask"].sum(-1)):
                output.logits[row, :, token] += 1e4 * (at is None or length >= at)
            return output

    copy = Biased(model.config)
    copy.load_state_dict(model.state_dict())
    return copy


def greedy(model, tokenizer, prompt, steps, ends):
    """The same decoding written out: one prompt, no padding, no cache."""
    ids = list(prompt)
    for _ in range(steps):
        with torch.no_grad():
            token = model(input_ids=torch.tensor([ids])).logits[0, -1].argmax().item()
        if token in ends:
            return tokenizer.decode(ids[len(prompt) :]), True
        ids.append(token)
    return tokenizer.decode(ids[len(prompt) :]), False


@pytest.mark.parametrize("expected", [None, [2, 9, 40, 1, 5, 6, 3, 3]])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_a_batch_gives_what_one_prompt_at_a_time_gives_and_in_order(model, tokenizer, prompts, batch_size, expected):
    # 40 tokens take three rounds of decoding
    replies = generation.generate(
        model, tokenizer, prompts, max_new_tokens=40, batch_size=batch_size, expected=expected
    )
    alone = [greedy(model, tokenizer, prompt, 40, [tokenizer.eos_token_id]) for prompt in prompts]
    assert [(reply.text, reply.stopped) for reply in replies] == alone
    assert len({text for text, _ in alone}) > 4, "the model must tell the prompts apart, or the order is not tested"


def test_short_replies_wait_for_no_long_ones_and_short_prompts_for_no_long_ones(model, tokenizer, monkeypatch):
    seen, decode = [], model.generate
    monkeypatch.setattr(
        model, "generate", lambda **given: seen.append(given["attention_mask"].sum(1).tolist()) or decode(**given)
    )
    prompts = [[5] * length for length in (3, 4, 9, 10, 11, 30)]
    generation.generate(model, tokenizer, prompts, 1, expected=[2, 40, 2, 2, 40, 2])
    assert seen == [[11], [4], [30], [10, 9], [3]]
    seen.clear()
    generation.generate(model, tokenizer, prompts, 1)
    assert seen == [[30, 11, 10, 9, 4, 3]]


def test_a_model_that_does_not_end_runs_to_the_limit_and_has_not_stopped(model, tokenizer, prompts):
    letter = tokenizer("e")["input_ids"][0]
    for reply in generation.generate(biased(model, letter), tokenizer, prompts, max_new_tokens=5):
        assert (reply.text, reply.tokens, reply.stopped) == ("eeeee", 5, False)


@pytest.mark.parametrize("end", ["<|endoftext|>", "<|im_end|>"])
def test_the_end_of_a_document_and_the_end_of_a_turn_both_end_a_reply_and_are_no_part_of_it(tiny_base, model, end):
    tokenizer = templates.with_template(AutoTokenizer.from_pretrained(tiny_base))
    short, long = tokenizer("hi")["input_ids"], tokenizer("hello there")["input_ids"]
    ending = biased(model, tokenizer.convert_tokens_to_ids(end), at=len(long) + 4)
    replies = generation.generate(ending, tokenizer, [short, long], max_new_tokens=20)
    assert replies[1].stopped and replies[1].tokens == 4
    assert replies[0].stopped and replies[0].tokens == len(long) + 4 - len(short)
    assert not any(end in reply.text for reply in replies)


def test_a_stop_string_cuts_the_reply_and_is_not_counted_as_stopping(model, tokenizer, prompts):
    whole = generation.generate(model, tokenizer, prompts, max_new_tokens=12)
    stop = whole[1].text[4:6]
    for before, after in zip(
        whole, generation.generate(model, tokenizer, prompts, max_new_tokens=12, stop=[stop]), strict=True
    ):
        assert after.text == before.text.split(stop)[0]
        assert after.stopped is (before.stopped and stop not in before.text)
        assert after.tokens == len(tokenizer(after.text)["input_ids"]) or stop not in before.text


def test_padding_with_the_end_token_does_not_pass_for_an_end(tiny_base, model, prompts):
    tokenizer = AutoTokenizer.from_pretrained(tiny_base, pad_token="<|endoftext|>")
    texts = [reply.text for reply in generation.generate(model, tokenizer, prompts, max_new_tokens=12)]
    pairs = [(i, j, letter) for i, early in enumerate(texts) for j, late in enumerate(texts) for letter in early[:9]
             if letter not in late]  # fmt: skip
    early, late, stop = pairs[0]
    replies = generation.generate(model, tokenizer, [prompts[early], prompts[late]], max_new_tokens=12, stop=[stop])
    assert replies[0].text == texts[early].split(stop)[0] and not replies[0].stopped
    assert replies[1].text == texts[late]


def test_a_stop_string_that_begins_in_the_prompt_does_not_end_the_reply(model, tokenizer):
    letter = tokenizer("e")["input_ids"][0]
    (reply,) = generation.generate(biased(model, letter), tokenizer, [[letter] * 3], max_new_tokens=9, stop=["eeee"])
    assert reply.text == "" and not reply.stopped
    (reply,) = generation.generate(biased(model, letter), tokenizer, [[letter] * 3], max_new_tokens=3, stop=["eeee"])
    assert reply.text == "eee"


def test_white_space_before_a_reply_is_no_stop_string():
    assert generation.first_stop("\n\nParis\n\nRome", ["\n\n"]) == len("\n\nParis")
    assert generation.first_stop("\n\nParis", ["\n\n", "s?"]) is None and generation.first_stop("", ["\n"]) is None
    assert generation.first_stop(" a\nQ: b\n\n", ["\n\n", "\nQ:"]) == 2


def test_decoding_ends_as_soon_as_every_reply_holds_a_stop_string(model, tokenizer, prompts):
    steps = []
    letters = biased(model, tokenizer("e")["input_ids"][0])
    letters.register_forward_hook(lambda *_: steps.append(1))
    generation.generate(letters, tokenizer, prompts, max_new_tokens=50, stop=["ee"])
    assert len(steps) == 2


def test_a_sampling_recipe_that_came_with_the_model_is_not_used(tiny_base, model, tokenizer, prompts):
    plain = generation.generate(model, tokenizer, prompts, max_new_tokens=12)
    other = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    other.generation_config.update(do_sample=True, temperature=3.0, repetition_penalty=5.0, no_repeat_ngram_size=1)
    assert generation.generate(other, tokenizer, prompts, max_new_tokens=12) == plain


@pytest.mark.parametrize("length", [0, -5])
def test_a_prompt_that_is_empty_or_too_long_is_named(model, tokenizer, length):
    prompt = [5] * (length and model.config.max_position_embeddings + length)
    with pytest.raises(InputError, match=f"prompt 1 has {len(prompt)} tokens"):
        generation.generate(model, tokenizer, [[5], prompt], max_new_tokens=12)


@pytest.mark.parametrize("least", [0, 2**60], ids=["large", "small"])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_a_large_model_never_copies_its_output_weights(tiny_base, tokenizer, prompts, monkeypatch, least, batch_size):
    model = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32).requires_grad_(False)
    monkeypatch.setattr(precision, "LARGE", least)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as seen:
        replies = generation.generate(model, tokenizer, prompts, 4, batch_size)
    columns = model.config.vocab_size
    copied = [event for event in seen.events() if event.name == "aten::bmm" and columns in event.input_shapes[1]]
    assert bool(copied) == bool(least)
    assert not model.get_output_embeddings()._forward_pre_hooks
    assert replies == generation.generate(model, tokenizer, prompts, 4, batch_size)


def test_no_prompts_give_no_replies(model, tokenizer):
    assert generation.generate(model, tokenizer, []) == []


def test_sampling_draws_from_the_model_and_a_seed_draws_the_same(model, tokenizer, prompts):
    def sample(**how):
        return [reply.text for reply in generation.generate(model, tokenizer, prompts, max_new_tokens=12, **how)]

    state = torch.get_rng_state()
    assert sample(temperature=1.0, seed=1) == sample(temperature=1.0, seed=1) != sample(temperature=1.0, seed=2)
    assert torch.equal(torch.get_rng_state(), state), "other random draws must not change"
    assert sample(temperature=1e-4) == sample() == sample(seed=3)


def test_sampling_follows_the_whole_distribution_at_its_temperature(model, tokenizer):
    prompt = tokenizer("The capital")["input_ids"]
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt])).logits[0, -1].float()
    replies = generation.generate(model, tokenizer, [prompt] * 6_000, 1, batch_size=6_000, temperature=2.0)
    drawn = torch.tensor(
        [tokenizer(reply.text)["input_ids"][0] for reply in replies if reply.text.isascii() and reply.text]
    )
    likely = torch.softmax(logits / 2.0, -1)
    ascii_ = [
        i for i in range(len(tokenizer)) if tokenizer.decode([i]).isascii() and i not in tokenizer.all_special_ids
    ]
    expected = likely[ascii_] / likely[ascii_].sum()
    shares = torch.bincount(drawn, minlength=len(tokenizer))[ascii_] / len(drawn)
    assert 0.5 * (shares - expected).abs().sum() < 0.12  # total variation; some 3,000 draws of about 100 tokens


def test_texts_are_continued_as_documents_and_instructions_answered_in_the_chat_template(tiny_base, model):
    tokenizer = templates.with_template(AutoTokenizer.from_pretrained(tiny_base))
    texts = ["one two", "three"]
    documents = [generation.text_ids(tokenizer, text) for text in texts]
    chats = [templates.prompt_ids(tokenizer, [{"role": "user", "content": text}]) for text in texts]
    assert generation.complete(model, tokenizer, texts, 5) == [
        reply.text for reply in generation.generate(model, tokenizer, documents, 5)
    ]
    assert generation.answer(model, tokenizer, texts, 5) == [
        reply.text for reply in generation.generate(model, tokenizer, chats, 5)
    ]

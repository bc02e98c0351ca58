"""Trained token rows give PEFT's output, gradient and file, without its copy of the embedding."""

import copy

import families
import peft
import pytest
import torch
from peft.tuners.trainable_tokens import TrainableTokensLayer
from safetensors.torch import load_file

from workbench.models import adapters, loading, precision, token_rows

NAMES = [
    "gemma3",
    "llama3",
    "llama2",
    "gpt2",
    "olmo2",
    "pythia",
]  # scaled and tied; tied; untied; tied as Conv1D; two untied


@pytest.fixture(scope="module", params=NAMES)
def pair(request, tmp_path_factory):
    """The same base with the same adapter twice, as PEFT computes it and as we do, with rows that training has moved."""
    base = families.write(request.param, tmp_path_factory.mktemp(request.param))
    tokenizer = loading.load_tokenizer(base)
    model = loading.load_base(base, tokenizer=tokenizer, device="cpu")
    theirs = peft.get_peft_model(model, adapters.lora_config(model, tokenizer, 4))
    torch.manual_seed(1)
    with torch.no_grad():
        for value in theirs.parameters():
            if value.requires_grad:
                value += 0.3 * torch.randn_like(value)
    ours = copy.deepcopy(theirs)
    token_rows.use_token_rows(ours)
    ids = torch.randint(0, len(tokenizer), (3, 12), generator=torch.Generator().manual_seed(0))
    ids[:, :6] = torch.tensor(adapters.chat_token_ids(tokenizer))[
        torch.arange(6) % len(adapters.chat_token_ids(tokenizer))
    ]
    return base, tokenizer, theirs, ours, ids


def layers(model):
    return [part for part in model.modules() if isinstance(part, TrainableTokensLayer)]


def test_logits_and_gradients_are_those_of_peft(pair):
    _, _, theirs, ours, ids = pair
    assert (
        {type(part) for part in layers(ours)} == {token_rows.TokenRowsLayer} != {type(part) for part in layers(theirs)}
    )
    found = [model(input_ids=ids, labels=ids) for model in (theirs, ours)]
    assert torch.allclose(found[0].logits, found[1].logits, atol=1e-5)
    gradients = []
    for model, output in zip((theirs, ours), found, strict=True):
        model.zero_grad()
        output.loss.backward()
        gradients.append({name: value.grad for name, value in model.named_parameters() if value.requires_grad})
    for name, value in gradients[0].items():
        assert torch.allclose(value, gradients[1][name], atol=1e-5, rtol=1e-4), name
    assert any("trainable_tokens" in name and value.abs().sum() > 0 for name, value in gradients[1].items())


def test_the_embedding_is_not_copied(pair):
    _, _, theirs, ours, ids = pair
    size = ours.get_input_embeddings().original_module.weight.numel() * 4

    def copies(model):
        with torch.profiler.profile(profile_memory=True) as profile:
            model(input_ids=ids[:1, :1], logits_to_keep=1)
        return sum(event.name == "aten::index_copy" and event.cpu_memory_usage >= size for event in profile.events())

    assert copies(theirs) >= 1 and copies(ours) == 0


def test_the_saved_adapter_is_pefts_and_plain_peft_reads_it(pair, tmp_path):
    base, tokenizer, theirs, ours, ids = pair
    for name, model in (("theirs", theirs), ("ours", ours)):
        model.save_pretrained(tmp_path / name, save_embedding_layers=False)
    saved = [load_file(tmp_path / name / "adapter_model.safetensors") for name in ("theirs", "ours")]
    assert saved[0].keys() == saved[1].keys() and all(torch.equal(saved[0][name], saved[1][name]) for name in saved[0])
    plain = peft.PeftModel.from_pretrained(
        loading.load_base(base, tokenizer=tokenizer, device="cpu"), tmp_path / "ours"
    )
    assert {type(part) for part in layers(plain)} == {TrainableTokensLayer}
    with torch.no_grad():
        logits = ours.eval()(input_ids=ids).logits
        assert torch.allclose(plain.eval()(input_ids=ids).logits, logits, atol=1e-5)
        assert torch.allclose(plain.merge_and_unload()(input_ids=ids).logits, logits, atol=1e-4)


def test_a_second_adapter_and_none_are_used_when_asked(pair):
    """DPO compares the policy with its reference so."""
    _, _, theirs, ours, ids = (copy.deepcopy(part) if i in (2, 3) else part for i, part in enumerate(pair))
    found = []
    for model in (theirs, ours):
        model.add_adapter("ref", model.peft_config["default"])
        if model is ours:
            token_rows.use_token_rows(model)
        model.set_adapter("ref")
        with torch.no_grad():
            second = model(input_ids=ids).logits
            with model.disable_adapter():
                found.append((second, model(input_ids=ids).logits))
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*found, strict=True))


def test_only_large_models_take_it(pair, monkeypatch):
    base, tokenizer, *_ = pair
    for least, kind in ((precision.LARGE, TrainableTokensLayer), (0, token_rows.TokenRowsLayer)):
        monkeypatch.setattr(precision, "LARGE", least)
        model = adapters.with_adapter(loading.load_base(base, tokenizer=tokenizer, dtype=torch.float32), tokenizer)
        assert {type(part) for part in layers(model)} == {kind}

"""A base loads in the type it should, 4-bit weights survive a save, adapters reload and merge, and bad folders are named."""

import shutil
from pathlib import Path

import pytest
import torch
from conftest import make_rows
from peft import get_peft_model_state_dict
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from workbench import hub
from workbench.config import SFTSpec
from workbench.data import reading, templates
from workbench.errors import InputError
from workbench.models import adapters, loading, precision
from workbench.store import Store
from workbench.train import supervised

TALK = [{"role": "user", "content": "say red"}, {"role": "assistant", "content": "RED"}]


@pytest.fixture(scope="module")
def tuned(tiny_base, tmp_path_factory):
    """One finished run a method, on 48 rows."""
    store = Store(tmp_path_factory.mktemp("runs"))
    specs = {method: SFTSpec(base=tiny_base, method=method, max_steps=40, batch_size=8) for method in
             ("full", "lora", "qlora")}  # fmt: skip
    return {method: supervised.sft(spec, make_rows(), store=store, quiet=True) for method, spec in specs.items()}


def logits(model, tokenizer, messages=TALK):
    with torch.no_grad():
        return model(input_ids=torch.tensor([templates.encode(tokenizer, messages)[0]])).logits.float()


def test_base_is_stored_in_bf16_and_used_in_fp32_on_a_cpu(tiny_base):
    assert AutoModelForCausalLM.from_pretrained(tiny_base).dtype == torch.bfloat16
    assert loading.load_base(tiny_base, device="cpu").dtype == torch.float32


def test_nf4_weights_are_the_same_after_save_and_load(tiny_base, tmp_path):
    tokenizer = loading.load_tokenizer(tiny_base)
    model = loading.load_base(tiny_base, quantize=True, device="cpu").eval()
    before = logits(model, tokenizer)
    model.save_pretrained(tmp_path)
    saved = {name: value.clone() for name, value in model.state_dict().items()}
    again = loading.load_base(tmp_path, device="cpu").eval()
    assert again.is_loaded_in_4bit
    assert all(torch.equal(value, saved[name]) for name, value in again.state_dict().items())
    assert (logits(again, tokenizer) - before).abs().max() == 0
    full = logits(loading.load_base(tiny_base, device="cpu").eval(), tokenizer)
    assert (full - before).abs().max() > 0.01  # it is quantised at all


def test_a_base_in_4_bits_is_rounded_once_a_process_and_is_the_callers_own(tiny_base, tmp_path, monkeypatch):
    read, models_read = [], loading._read
    monkeypatch.setattr(loading, "_read", lambda *given: read.append(given) or models_read(*given))
    folder, tokenizer = shutil.copytree(tiny_base, tmp_path / "base"), loading.load_tokenizer(tiny_base)
    loading._rounded.cache_clear()
    first = loading.load_base(folder, quantize=True, device="cpu")
    before = logits(first, tokenizer)
    floats = adapters.unpacked(first)
    with torch.no_grad():
        for parameter in floats.parameters():
            parameter.zero_()
    second = loading.load_base(folder, quantize=True, device="cpu")
    assert len(read) == 1 and torch.equal(logits(second, tokenizer), before)
    # the same folder with other weights is another base
    other = AutoModelForCausalLM.from_pretrained(folder)
    other.get_input_embeddings().weight.data.mul_(2)
    other.save_pretrained(folder)
    assert not torch.equal(logits(loading.load_base(folder, quantize=True, device="cpu"), tokenizer), before)
    assert len(read) == 2


def test_gradient_flows_through_nf4_also_after_an_evaluation(tiny_base):
    """bitsandbytes repacks weights in the first evaluation on CPUs with bf16 units, and its kernel there has no backward."""

    def gradient(evaluate_first):
        model = loading.load_base(tiny_base, quantize=True, device="cpu")
        if evaluate_first:
            with torch.no_grad():
                model.eval()(torch.tensor([[2, 50, 60, 3]]))
        model.train()
        hidden = model.get_input_embeddings()(torch.tensor([[2, 50, 60, 3]])).detach().requires_grad_()
        model(inputs_embeds=hidden).logits.square().mean().backward()
        return hidden.grad

    assert torch.equal(gradient(evaluate_first=True), gradient(evaluate_first=False))


def test_chat_tokens_are_trained_with_the_adapter_and_reload(tuned, tiny_base):
    base = loading.load_base(tiny_base, device="cpu").get_input_embeddings().weight
    model, tokenizer = adapters.load_tuned(tuned["lora"])
    assert adapters.chat_token_ids(tokenizer) == [2, 3, 4, 5, 6, 7]
    rows = model.get_input_embeddings().weight
    changed = (rows != base).any(dim=1).nonzero().flatten().tolist()
    assert changed == [2, 3, 4, 5, 6, 7]
    assert torch.equal(model.get_output_embeddings().weight, rows)  # still tied


@pytest.mark.parametrize("method", ["lora", "qlora"])
def test_an_adapter_is_not_rounded_to_the_half_precision_of_a_gpus_base(tuned, monkeypatch, method):
    monkeypatch.setattr(precision, "compute_dtype", lambda *_: torch.bfloat16)
    saved = load_file(tuned[method].adapter / "adapter_model.safetensors")
    model, _ = adapters.load_tuned(tuned[method], trainable=True)
    loaded = get_peft_model_state_dict(model)
    assert all(torch.equal(loaded[name], value) for name, value in saved.items())


def test_merged_lora_answers_as_the_adapter_does(tuned):
    adapter, tokenizer = adapters.load_tuned(tuned["lora"])
    merged, _ = adapters.load_tuned(tuned["lora"], merged=True)
    assert (logits(adapter, tokenizer) - logits(merged, tokenizer)).abs().max() < 1e-5


def test_adapter_trained_on_nf4_keeps_its_answers_when_merged_into_full_precision(tuned):
    """The rounding of the base goes and logits move; what has to stay is the likeliest token at nearly every place of an answer."""
    adapter, tokenizer = adapters.load_tuned(tuned["qlora"])
    merged, _ = adapters.load_tuned(tuned["qlora"], merged=True)
    same = []
    for row in make_rows():
        answer = torch.tensor(templates.encode(tokenizer, row["messages"])[1][1:]) == 1
        a, b = (logits(model, tokenizer, row["messages"])[0, :-1][answer].argmax(-1) for model in (adapter, merged))
        same.append(a == b)
    assert torch.cat(same).float().mean() >= 0.85


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_unfolded_it_is_the_same_model_without_adapter_or_4_bit_layers(tuned, method):
    (packed, tokenizer), (unfolded, _) = (adapters.load_tuned(tuned[method], unfolded=flag) for flag in (False, True))
    assert (logits(packed, tokenizer) - logits(unfolded, tokenizer)).abs().max() < 1e-4
    assert {type(module) for module in unfolded.modules() if isinstance(module, torch.nn.Linear)} == {torch.nn.Linear}
    assert unfolded.generation_config.eos_token_id == packed.generation_config.eos_token_id


@pytest.mark.parametrize("method", ["full", "lora", "qlora"])
def test_merge_writes_an_ordinary_model_folder(tuned, tmp_path, method):
    out = adapters.merge(tuned[method], tmp_path / "model")
    merged, tokenizer = adapters.load_tuned(tuned[method], merged=True)
    plain = AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).eval()
    assert torch.equal(logits(plain, tokenizer), logits(merged, tokenizer))
    assert plain.generation_config.eos_token_id == [0, 3]
    assert templates.encode(loading.load_tokenizer(out), TALK) == templates.encode(tokenizer, TALK)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model"]
    with pytest.raises(InputError, match="exists already"):
        adapters.merge(tuned[method], out)


def test_a_new_adapter_is_the_same_whatever_was_drawn_before(tiny_base):
    tokenizer, found = loading.load_tokenizer(tiny_base), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = adapters.with_adapter(loading.load_base(tiny_base), tokenizer)
        found.append({name: value for name, value in model.named_parameters() if "lora_A" in name})
    assert found[0] and all(torch.equal(value, found[1][name]) for name, value in found[0].items())


def test_untied_embeddings_are_trained_on_both_sides(tiny_base, tmp_path):
    shutil.copytree(tiny_base, tmp_path / "base")
    torch.manual_seed(0)
    config = LlamaConfig.from_pretrained(tiny_base, tie_word_embeddings=False)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "base")
    spec = SFTSpec(base=str(tmp_path / "base"), method="qlora", max_steps=2, batch_size=4)
    run = supervised.sft(spec, make_rows(8), store=Store(tmp_path / "runs"), quiet=True)
    base, (model, _) = loading.load_base(tmp_path / "base", device="cpu"), adapters.load_tuned(run)
    for side in ("get_input_embeddings", "get_output_embeddings"):
        before, after = (getattr(which, side)().weight for which in (base, model))
        assert (before != after).any(dim=1).nonzero().flatten().tolist() == [2, 3, 4, 5, 6, 7]


def test_pad_is_never_the_end_token(tiny_base, tmp_path):
    folder = shutil.copytree(tiny_base, tmp_path / "base")
    tokenizer = loading.load_tokenizer(tiny_base)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(folder)
    assert loading.load_tokenizer(folder).pad_token_id == 1


@pytest.mark.parametrize(
    "gone, what, says",
    [
        ("model.safetensors", "weights", "no weights"),
        ("config.json", "weights", "no config.json"),
        ("tokenizer.json", "tokenizer", "no tokenizer"),
    ],
)
def test_incomplete_folder_is_named(tiny_base, tmp_path, gone, what, says):
    folder = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    (folder / gone).unlink()
    with pytest.raises(InputError, match=says) as caught:
        loading.load_base(folder) if what == "weights" else loading.load_tokenizer(folder)
    assert str(folder) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0, 10, 5000])
def test_cut_off_weights_are_named(tiny_base, tmp_path, keep):
    weights = Path(shutil.copytree(tiny_base, tmp_path / "base")) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:keep])
    with pytest.raises(InputError, match="weights cannot be read"):
        loading.load_base(weights.parent)


@pytest.mark.parametrize("base", ["no/such/folder", "somebody/some-model"])
def test_no_folder_and_no_hub(base):
    with pytest.raises(InputError, match="no such folder"):
        hub.fetch(base)


def test_fingerprint_follows_the_weights_and_not_the_place(tiny_base, tmp_path):
    folder = Path(shutil.copytree(tiny_base, tmp_path / "base"))
    assert loading.fingerprint(folder) == loading.fingerprint(Path(tiny_base))
    (folder / "model.safetensors").write_bytes(b"other")
    assert loading.fingerprint(folder) != loading.fingerprint(Path(tiny_base))


def test_a_special_token_without_a_row_in_the_embedding_is_refused(tiny_base, tmp_path):
    tokenizer = loading.load_tokenizer(tiny_base)
    rows = len(tokenizer)
    for name, special in (("other", "additional_special_tokens"), ("end", "eos_token")):
        folder = shutil.copytree(tiny_base, tmp_path / name)
        tokenizer.add_special_tokens({special: "<|new|>" if special == "eos_token" else ["<|new|>"]})
        tokenizer.save_pretrained(folder)
        if name == "other":  # a token that is not used: Gemma 3 has one
            loading.load_tokenizer(folder)
            continue
        with pytest.raises(
            InputError, match=rf"<\|new\|>' has the id {rows}, and the embedding has {rows} rows.*resize_token"
        ):
            loading.load_tokenizer(folder)


def test_rows_with_a_token_that_has_no_row_in_the_embedding_are_refused(tiny_base, tmp_path):
    folder = shutil.copytree(tiny_base, tmp_path / "base")
    tokenizer = loading.load_tokenizer(folder)
    tokenizer.add_tokens(["<|picture|>"])
    tokenizer.save_pretrained(folder)
    spec, rows = SFTSpec(base=str(folder), method="lora", max_steps=2, batch_size=2), list(make_rows(4))
    rows[1]["messages"][0]["content"] += "<|picture|>"
    with pytest.raises(InputError, match=r"token '<\|picture\|>' has the id"):
        supervised.sft(spec, reading.to_dataset(rows), store=Store(tmp_path / "runs"), quiet=True)

"""What a training takes is what autograd keeps, and what is cut to fit trains the same."""

import pytest
import torch
from conftest import make_rows
from peft import get_peft_model
from test_supervised import spec_for
from transformers import LlamaConfig, LlamaForCausalLM

from workbench.errors import InputError
from workbench.models import adapters, loading, logprobs, memory
from workbench.train import supervised
from workbench.train.trainer import rows_trained

SMOLLM2 = {
    "1.7B": dict(hidden_size=2048, intermediate_size=8192, num_hidden_layers=24, num_attention_heads=32),
    "360M": dict(
        hidden_size=960, intermediate_size=2560, num_hidden_layers=32, num_attention_heads=15, num_key_value_heads=5
    ),
}


def shape(name: str) -> memory.ModelShape:
    return memory.ModelShape.of(LlamaConfig(vocab_size=49152, tie_word_embeddings=True, **SMOLLM2[name]))


def kept(model, tokens: int) -> int:
    """Bytes of all that a forward pass in half precision keeps for the backward pass, parameters left out."""
    own = {part.untyped_storage().data_ptr() for part in (*model.parameters(), *model.buffers())}
    seen = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if tokens in tensor.shape:
            seen[storage.data_ptr()] = (storage.nbytes(), tensor)  # held, so that no address is used twice
        return tensor

    ids = torch.randint(0, 300, (1, tokens))
    decoder = model.get_base_model().model if hasattr(model, "peft_config") else model.model
    with torch.autocast("cpu", torch.bfloat16), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        decoder(input_ids=ids, use_cache=False)
    return sum(size for address, (size, _) in seen.items() if address not in own)


@pytest.mark.parametrize("method", ["lora", "full"])
@pytest.mark.parametrize("hidden, intermediate, layers", [(256, 512, 2), (128, 512, 4)])
def test_activations_are_those_that_autograd_keeps(tokenizer, method, hidden, intermediate, layers):
    config = LlamaConfig(vocab_size=300, hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers,
                         num_attention_heads=hidden // 64)  # fmt: skip
    model, tokens = LlamaForCausalLM(config), 384
    if method == "lora":
        model = get_peft_model(model.to(torch.bfloat16), adapters.lora_config(model, tokenizer, 16))
    told = (
        memory.activation_bytes(memory.ModelShape.of(config), method, tokens, False) - 3 * tokens**2
    )  # no packed rows, no mask
    assert 0.95 < told / kept(model.train(), tokens) < 1.25


def test_weights_in_4_bits_are_as_large_as_said(tiny_base):
    model = loading.load_base(tiny_base, quantize=True, device="cpu", dtype=torch.bfloat16)
    assert memory.weight_bytes(memory.ModelShape.of(model), "qlora") == pytest.approx(
        model.get_memory_footprint(), rel=0.05
    )
    assert memory.ModelShape.of(model) == memory.ModelShape.of(model.config)


def test_the_shape_counts_the_parameters_of_the_adapter(tiny_base, tokenizer):
    model = loading.load_base(tiny_base, device="cpu")
    found = memory.ModelShape.of(model)
    assert found.linear + found.other == model.num_parameters()
    adapted = get_peft_model(model, adapters.lora_config(model, tokenizer, 4))
    lora = sum(p.numel() for name, p in adapted.named_parameters() if "lora_" in name)
    assert 4 * found.sides == lora


@pytest.mark.parametrize(
    "name, method, free, expected",
    [
        ("1.7B", "qlora", 16, (4, False)),
        ("1.7B", "qlora", 7.5, (1, False)),
        ("1.7B", "qlora", 3.0, (2, True)),  # checkpointing only where not one sequence fits without
        ("1.7B", "full", 40, (2, False)),
        ("360M", "qlora", 7.5, (2, False)),
        ("360M", "full", 7.5, (2, True)),
    ],
)
def test_a_step_is_cut_to_the_free_memory(name, method, free, expected):
    found = memory.fit_step(free * memory.GIB, shape(name), method, 16, 1024, 4)
    assert (found.micro, found.checkpointing) == expected and found.bytes <= memory.SHARE * free * memory.GIB


def test_no_more_tokens_at_a_time_than_a_mask_of_packed_rows_is_good_for():
    assert memory.fit_step(1e13, shape("360M"), "lora", 16, 2048, 64).micro == 4
    assert memory.fit_step(1e13, shape("360M"), "lora", 16, 16384, 64).micro == 1


def test_what_cannot_fit_is_one_line_with_the_mend():
    with pytest.raises(InputError, match="takes 26.7 GiB of memory, .* 15.0 GiB free .* profile gpu-small") as e:
        memory.fit_step(15 * memory.GIB, shape("1.7B"), "full", 16, 1024, 4)
    assert "\n" not in str(e.value)


def packed_trainer(base, out, monkeypatch, rows, free=1e12, **fields):
    monkeypatch.setattr(memory, "free_bytes", lambda device: free)
    spec = spec_for(base, max_length=128, **fields)
    tokenizer, model = loading.load_tokenizer(base), loading.load_base(base, spec.method == "qlora", "cpu")
    return supervised.make_trainer(spec, model, tokenizer, supervised.tokenized(tokenizer, rows), out, [], packed=True)


def losses(trainer):
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_packed_rows_do_not_see_each_other(tiny_base, tmp_path, monkeypatch):
    """The loss of a packed batch is the mean over its tokens of the loss of each row alone."""
    rows = make_rows(12)
    trainer = packed_trainer(tiny_base, tmp_path, monkeypatch, rows)
    assert rows_trained(trainer.train_dataset) == 12 > len(trainer.train_dataset)
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(trainer.train_dataset))])
    trainer.model.eval()
    loss = trainer.compute_loss(trainer.model, dict(batch)).item()
    alone = logprobs.supervised_loss(trainer.model, trainer.processing_class, rows, batch_size=1)
    assert loss == pytest.approx(alone, abs=1e-5)


def test_a_budget_in_tokens_is_kept_by_packed_rows_too(tiny_base, tmp_path, monkeypatch):
    trainer = packed_trainer(tiny_base, tmp_path, monkeypatch, make_rows(48), max_steps=None, max_tokens=3000)
    trainer.train()
    tokens = [entry["num_tokens"] for entry in trainer.state.log_history if "num_tokens" in entry]
    assert tokens[-1] == pytest.approx(3000, rel=0.2)


def test_little_memory_trains_the_same_as_much(tiny_base, tmp_path, monkeypatch):
    """Fewer sequences at a time, and activations computed twice: the same losses, to what fp32 sums in another order differ by."""
    rows = make_rows(48)
    much = packed_trainer(tiny_base, tmp_path / "a", monkeypatch, rows, batch_size=16)
    monkeypatch.setattr(memory, "MOST_TOKENS", 128)
    little = packed_trainer(tiny_base, tmp_path / "b", monkeypatch, rows, batch_size=16, checkpointing=True)
    assert much.args.per_device_train_batch_size == little.args.gradient_accumulation_steps == 4
    assert little.args.per_device_train_batch_size == much.args.gradient_accumulation_steps == 1
    assert little.args.gradient_checkpointing and not much.args.gradient_checkpointing
    assert losses(little) == pytest.approx(losses(much), abs=1e-4)

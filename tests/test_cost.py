"""The arithmetic agrees with what torch counts, and with published sizes."""

import pytest
import torch
from peft import get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import LlamaConfig, LlamaForCausalLM

from workbench.errors import InputError
from workbench.models import adapters, cost, memory

BATCH, LENGTH = 2, 64


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_work_is_what_torch_counts(tokenizer, method):
    config = LlamaConfig(vocab_size=len(tokenizer), hidden_size=128, intermediate_size=384, num_hidden_layers=3, num_attention_heads=4,
                         num_key_value_heads=2, tie_word_embeddings=True, max_position_embeddings=LENGTH)  # fmt: skip
    model = LlamaForCausalLM(config)
    if method == "lora":
        model = get_peft_model(model, adapters.lora_config(model, tokenizer, 16))
    ids = torch.randint(100, (BATCH, LENGTH))
    counter = FlopCounterMode(display=False)
    with counter:
        model(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    # the fused attention is no product that torch counts on every device; its part is left out on both sides
    products = sum(count for operation, count in counter.get_flop_counts()["Global"].items() if "mm" in str(operation))
    expected = cost.training_flops(config, method, BATCH * LENGTH, length=0)
    assert products == pytest.approx(expected, rel=0.05)


def test_attention_adds_what_the_length_says():
    config = cost.known_shapes()["7B"]
    short, long = (cost.training_flops(config, "full", 1e6, length) for length in (0, 2048))
    # q·k and weights·v, 2 · 2048 · 4096 each, three times, 32 layers; half of it, since tokens see those before them
    assert long - short == pytest.approx(1e6 * 2 * 2 * 2048 * 4096 * 3 * 32 / 2)


def test_sizes_are_the_published_ones():
    millions = {
        name: sum((lambda s: (s.linear, s.other))(memory.ModelShape.of(config))) / 1e6
        for name, config in cost.known_shapes().items()
    }
    assert millions == {"1B": pytest.approx(1236, abs=1), "7B": pytest.approx(6738, abs=1), "8B": pytest.approx(8030, abs=1),
                        "70B": pytest.approx(70554, abs=1)}  # fmt: skip


def test_a_million_pairs():
    seven, seventy = (cost.training_cost(cost.known_shapes()[name], "qlora", 1e6) for name in ("7B", "70B"))
    full = cost.training_cost(cost.known_shapes()["7B"], "full", 1e6, gpus=4)
    # 6 N D, with N = 6.6 billion that are multiplied; LoRA does two thirds of it
    assert full.flops == pytest.approx(6 * 6.607e9 * 4e8, rel=0.02) and seven.flops == pytest.approx(
        full.flops * 2 / 3, rel=0.03
    )
    assert full.hours(mfu=0.4) == pytest.approx(full.flops / (0.4 * 989e12 * 4) / 3600)
    assert seven.total < 16 * memory.GIB < 40 * memory.GIB < seventy.total < 80 * memory.GIB
    assert full.weights + full.training == pytest.approx(16 * 6.738e9 / 4, rel=0.001)
    assert cost.cost_table().count("\n| ") == 6 and "| 70B qlora | 8 |" in cost.cost_table()


def test_what_no_gpu_holds_alone_fits_in_pieces():
    shape = memory.ModelShape.of(cost.known_shapes()["7B"])
    room = 80 * memory.GIB - memory.weight_bytes(shape, "full")  # it is loaded whole
    assert memory.fit_step(room, shape, "full", 0, 2048, 4, loaded=True, pieces=8).micro
    with pytest.raises(InputError):
        memory.fit_step(room, shape, "full", 0, 2048, 4, loaded=True)

"""A tiny tokenizer and a tiny Llama on disk, made once a session: 20 thousand parameters, no network."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["MPLBACKEND"] = "Agg"  # pictures go nowhere

import matplotlib.pyplot as plt
import pytest
import torch
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import workbench.pocket.graders  # noqa: F401  the rows of many tests name its graders
from workbench.plots import style


def pytest_configure(config):
    """Hide GPUs, before CUDA is asked for them, from all but `pytest -m gpu`: what the notebooks publish are a CPU's numbers."""
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


SPECIAL = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<tool_response>",
           "</tool_response>", *(f"<|reserved_{i}|>" for i in range(8))]  # fmt: skip


def make_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes as tokens, after the 16 special ones of the pocket tokenizer: ids in the same order as there."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate([*SPECIAL, *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|endoftext|>",
        bos_token="<|endoftext|>",
        pad_token="<|pad|>",
        extra_special_tokens=SPECIAL[2:],
        model_max_length=512,
    )


def make_rows(count: int = 48) -> Dataset:
    """Short question and answer pairs with a system: the answer repeats the word of the question, in capital letters."""
    words = ["red", "blue", "green", "dog", "cat", "sun", "moon", "rain"]
    rows = []
    for index in range(count):
        word = words[index % len(words)] + words[(index // len(words)) % len(words)]
        messages = [{"role": "user", "content": f"{index} say {word}"}, {"role": "assistant", "content": word.upper()}]
        rows.append({"messages": messages})
    return Dataset.from_list(rows)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    """Folder with a tied two-layer Llama in bf16 and its tokenizer, laid out as the pocket base is."""
    folder = tmp_path_factory.mktemp("tiny-base")
    tokenizer = make_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=512, tie_word_embeddings=True, initializer_range=0.1,
        bos_token_id=0, eos_token_id=0, pad_token_id=1,
    )  # fmt: skip
    LlamaForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def tokenizer():
    return make_tokenizer()


@pytest.fixture
def pictures():
    """The style of the project, and no figure left open."""
    style.set_style()
    yield
    plt.close("all")


@pytest.fixture
def rows():
    return make_rows()


@pytest.fixture(scope="session")
def tuned(tiny_base, tmp_path_factory):
    """One SFT run per method, trained long enough to be far from the base, and unsure enough to vary its replies."""
    from workbench.config import SFTSpec
    from workbench.store import Store
    from workbench.train import supervised

    store = Store(tmp_path_factory.mktemp("sft"))
    specs = {
        method: SFTSpec(base=tiny_base, method=method, max_steps=30, batch_size=8, rank=4)
        for method in ("lora", "qlora", "full")
    }
    return {method: supervised.sft(spec, make_rows(), store=store, quiet=True) for method, spec in specs.items()}


@pytest.fixture
def store(tmp_path):
    from workbench.store import Store

    return Store(tmp_path)

"""Tiny models with the architecture classes and the special tokens of real families, as their bases are published."""

import importlib.util
from pathlib import Path

import torch
import transformers
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers import models as kinds
from transformers import PreTrainedTokenizerFast

TRL = Path(importlib.util.find_spec("trl").origin).parent / "chat_templates"

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 256}
MLP = {"intermediate_size": 48}

FAMILIES = {
    # name: (config class, its settings, special tokens in the order of their ids, (bos, eos, unk, pad), begins with BOS, template)
    "llama3": ("LlamaConfig", SIZES | MLP | {"num_key_value_heads": 1, "tie_word_embeddings": True},
               ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"],
               ("<|begin_of_text|>", "<|end_of_text|>", None, None), True, None),
    "llama2": ("LlamaConfig", SIZES | MLP | {"tie_word_embeddings": False}, ["<unk>", "<s>", "</s>"], ("<s>", "</s>", "<unk>", None), True, None),
    "mistral": ("MistralConfig", SIZES | MLP | {"num_key_value_heads": 1, "tie_word_embeddings": False}, ["<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[control_8]"],
                ("<s>", "</s>", "<unk>", None), True, None),
    "gemma3": ("Gemma3TextConfig", SIZES | MLP | {"num_key_value_heads": 1, "head_dim": 16},
               ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"], ("<bos>", "<eos>", "<unk>", "<pad>"), True, None),
    "qwen3": ("Qwen3Config", SIZES | MLP | {"num_key_value_heads": 1, "head_dim": 16, "tie_word_embeddings": True},
              ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_pad|>", "<think>", "</think>", "<tool_call>", "</tool_call>"],
              (None, "<|endoftext|>", None, "<|endoftext|>"), False, "qwen3.jinja"),
    "smollm": ("LlamaConfig", SIZES | MLP | {"num_key_value_heads": 1, "tie_word_embeddings": True},
               ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<repo_name>", "<empty_output>"], ("<|endoftext|>", "<|endoftext|>", "<|endoftext|>", None), False, None),
    "olmo2": ("Olmo2Config", SIZES | MLP, ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"], ("<|endoftext|>", "<|endoftext|>", None, "<|pad|>"), False, None),
    "gpt2": ("GPT2Config", {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256}, ["<|endoftext|>"], ("<|endoftext|>",) * 3 + (None,), False, None),
    "pythia": ("GPTNeoXConfig", SIZES | MLP, ["<|endoftext|>", "<|padding|>"], ("<|endoftext|>",) * 3 + (None,), False, None),
    "opt": ("OPTConfig", {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 48, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 256},
            ["<s>", "<pad>", "</s>", "<unk>"], ("</s>", "</s>", "</s>", "<pad>"), True, None),
    "falcon": ("FalconConfig", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "ffn_hidden_size": 48, "multi_query": True, "parallel_attn": True},
               ["<|endoftext|>"], (None, "<|endoftext|>", None, None), False, None),
    "phi": ("PhiConfig", SIZES | MLP, ["<|endoftext|>"], ("<|endoftext|>",) * 3 + (None,), False, None),
    "phi3": ("Phi3Config", SIZES | MLP | {"pad_token_id": 0}, ["<unk>", "<s>", "</s>", "<|endoftext|>", "<|assistant|>", "<|system|>", "<|end|>", "<|user|>"],
             ("<s>", "<|endoftext|>", "<unk>", "<|endoftext|>"), False, "phi3.jinja"),
    "granite": ("GraniteConfig", SIZES | MLP | {"num_key_value_heads": 1, "tie_word_embeddings": True},
                ["<|end_of_text|>", "<fim_pad>", "<|start_of_role|>", "<|end_of_role|>"], ("<|end_of_text|>",) * 3 + ("<|end_of_text|>",), False, None),
    "bloom": ("BloomConfig", {"hidden_size": 32, "n_layer": 2, "n_head": 2}, ["<unk>", "<s>", "</s>", "<pad>"], ("<s>", "</s>", "<unk>", "<pad>"), False, None),
    "olmoe": ("OlmoeConfig", SIZES | MLP | {"num_key_value_heads": 2, "num_experts": 4, "num_experts_per_tok": 2, "tie_word_embeddings": False},
              ["<|endoftext|>", "<|padding|>"], (None, "<|endoftext|>", None, "<|padding|>"), False, None),
    "mamba": ("MambaConfig", {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 4, "tie_word_embeddings": True},
              ["<|endoftext|>", "<|padding|>"], ("<|endoftext|>",) * 3 + (None,), False, None),
}  # fmt: skip


def make_tokenizer(special: list[str], roles: tuple, begins_with_bos: bool) -> PreTrainedTokenizerFast:
    """Bytes as tokens behind the special ones."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(kinds.BPE(vocab={token: i for i, token in enumerate([*special, *alphabet])}, merges=[]))
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    bos, eos, unk, pad = roles
    if begins_with_bos:
        raw.post_processor = processors.TemplateProcessing(f"{bos} $A", f"{bos} $A $B", [(bos, special.index(bos))])
    named = {"bos_token": bos, "eos_token": eos, "unk_token": unk, "pad_token": pad}
    return PreTrainedTokenizerFast(
        tokenizer_object=raw, extra_special_tokens=special, **{role: token for role, token in named.items() if token}
    )


def write(name: str, folder: Path, **others) -> str:
    """Write the base of a family, with other settings if wanted, to a folder and return its path."""
    kind, settings, special, roles, begins, template = FAMILIES[name]
    tokenizer = make_tokenizer(special, roles, begins)
    if template:
        tokenizer.chat_template = (TRL / template).read_text()
    named = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    settings = {"pad_token_id": tokenizer.pad_token_id} | settings | others
    config = getattr(transformers, kind)(vocab_size=len(tokenizer), initializer_range=0.2, **named, **settings)
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)

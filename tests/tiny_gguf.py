"""A GGUF file with a small Gemma 3 in it: header, tokenizer and weights as llama.cpp's converter writes them."""

from pathlib import Path

import gguf
import numpy as np

LAYERS, HIDDEN, HEAD, FEED_FORWARD = 2, 32, 16, 64
CONTROL, USER_DEFINED, BYTE, NORMAL = 3, 4, 6, 1

WORDS = [" s", " sa", " say", " r", " re", " red"]
TOKENS = [
    *((token, CONTROL) for token in ("<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>")),
    *((token, USER_DEFINED) for token in ("\n", "\n\n")),
    *((f"<0x{byte:02X}>", BYTE) for byte in range(256)),
    *((word.replace(" ", "▁"), NORMAL) for word in WORDS),
    *((chr(letter), NORMAL) for letter in range(33, 127)),
    ("▁", NORMAL),
]


def weights(rows: int) -> dict[str, np.ndarray]:
    """Random tensors by their names in the file; norms lie around 1, from which Gemma's own ones differ by 1."""
    draw = np.random.default_rng(0)
    shapes = {"token_embd": (rows, HIDDEN), "output_norm": (HIDDEN,)}
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.{name}": shape
            for name, shape in {
                "attn_norm": (HIDDEN,), "attn_q": (2 * HEAD, HIDDEN), "attn_k": (HEAD, HIDDEN), "attn_v": (HEAD, HIDDEN),
                "attn_output": (HIDDEN, 2 * HEAD), "attn_q_norm": (HEAD,), "attn_k_norm": (HEAD,),
                "post_attention_norm": (HIDDEN,), "ffn_norm": (HIDDEN,), "ffn_gate": (FEED_FORWARD, HIDDEN),
                "ffn_up": (FEED_FORWARD, HIDDEN), "ffn_down": (HIDDEN, FEED_FORWARD), "post_ffw_norm": (HIDDEN,),
            }.items()
        }  # fmt: skip
    found = {name: draw.normal(0, 0.2, shape).astype(np.float32) for name, shape in shapes.items()}
    return {f"{name}.weight": value + ("norm" in name) for name, value in found.items()}


def write(path: Path, architecture: str = "gemma3", rows: int = len(TOKENS), left_out: str = "") -> Path:
    """Write the file: matrices in 8 bits, norms in full.

    Args:
        rows: of the embedding.
        left_out: name of a tensor that the file lacks.
    """
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_context_length(512)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_key_length(HEAD)
    writer.add_value_length(HEAD)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_sliding_window(64)
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token for token, _ in TOKENS])
    writer.add_token_scores([0.0] * len(TOKENS))
    writer.add_token_types([kind for _, kind in TOKENS])
    writer.add_pad_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_bos_token_id(2)
    writer.add_unk_token_id(3)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    for name, value in weights(rows).items():
        if name == left_out:
            continue
        if value.ndim == 1:
            writer.add_tensor(name, value)
        else:
            packed = gguf.quants.quantize(value, gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path

"""Train the pocket tokenizer: byte-level BPE with the chat and tool tokens reserved, which the corpus never shows."""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from workbench.errors import InputError

CONTEXT = 512

END, PAD, TURN, END_TURN = "<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"

TOOLS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>")

RESERVED = (END, PAD, TURN, END_TURN, *TOOLS, *(f"<|reserved_{i}|>" for i in range(8)))

# Words as in GPT-2, but digits and the letters of words in capitals stand alone: sums and capital letters are then a matter of
# single letters and digits, as they are for people, and take no room in a small vocabulary.
# A line that begins gets the space that other words have before them, and loses it again when read: "Oslo" is then the same token
# behind "A:", in the middle of a line and at the start of an answer. Otherwise a small model has to learn for each word by itself
# that the two are one, and cannot copy what it has read into its answer. (SentencePiece does the same at the start of a text.)
LINE = Regex(r"\n(?=[^\n])")

SPLIT = r"[A-Z](?=[A-Z])|(?<=[A-Z])[A-Z](?![a-z])| ?\d| ?\p{L}\p{Ll}*| ?[^\s\p{L}\d]+|\s+(?!\S)|\s+"


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Learn the merges on `texts`; ids 0–15 are RESERVED in that order. Source: Sennrich et al. 2016, "Neural Machine Translation of Rare Words"."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.normalizer = normalizers.Replace(LINE, "\n ")
    bpe.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Replace("\n ", "\n")])
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(RESERVED),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    if bpe.get_vocab_size() != vocabulary:
        raise InputError(
            f"the corpus gives only {bpe.get_vocab_size()} tokens of the {vocabulary} asked for; lower the vocabulary"
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=END,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(RESERVED[2:]),
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )

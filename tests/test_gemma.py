"""Gemma 3 270M as it is converted here answers as llama.cpp answers with the same file: weights, architecture and tokenizer."""

import importlib.util
import json

import pytest
import torch

from workbench import gguf_base, hub, start
from workbench.data import templates, validation
from workbench.models import loading
from workbench.pocket import tasks, tuning

NAME = "gemma-3-270m"
BASE = gguf_base.PACKAGED[NAME]
pytestmark = [
    pytest.mark.laptop,
    pytest.mark.skipif(importlib.util.find_spec(BASE.package) is None, reason="the extra laptop is not installed"),
]

LONGEST = 20  # most likely tokens that are compared

TEXTS = [
    "Grüße aus Köln, die Straße ist", "東京は日本の", "Привет, как", "مرحبا كيف", "🙂🙃 emojis", "naïve café résumé", "e\u0301 combining",
    "\u200bzero width", "ﬁ ligature ① ½", "def f(x):\n    return", "a  b   c    d", "\n\nTitle\n\n\nText", "tab\tseparated\tvalues",
    "<b>bold</b> and <table>", "1234567890 + 3.14159", "  two leading spaces",
]  # fmt: skip


def prompts() -> list[str]:
    """50 prompts: instructions of the pocket evaluation, and what tokenizers get wrong."""
    asked = [row["messages"][0]["content"] for row in tasks.evaluation("test", 40)]
    return [*asked[: 50 - len(TEXTS)], *TEXTS]


@pytest.fixture(scope="module")
def folder():
    return hub.fetch(NAME)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """The GGUF file of the package with its weights unpacked by the gguf package; in 4 bits llama.cpp rounds what layers pass on as well."""
    gguf = pytest.importorskip("gguf")
    packed, path = tmp_path_factory.mktemp("gguf") / "packed.gguf", tmp_path_factory.mktemp("gguf") / "full.gguf"
    BASE.assemble(packed)
    reader, writer = gguf.GGUFReader(packed), gguf.GGUFWriter(path, "gemma3")
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in ("general.architecture", "general.file_type"):
            within = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), field.types[0], sub_type=within)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype("float32"))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    packed.unlink()
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def llama_cpp(file):
    """A function that asks llama.cpp for the most likely first tokens after a text and their log-probabilities, and the number of its tokens."""
    library = pytest.importorskip("xllamacpp", reason="an independent reading of the file")
    settings = library.CommonParams()
    settings.model.path, settings.n_ctx, settings.n_parallel, settings.warmup = str(file), 512, 1, False
    settings.cpuparams.n_threads = 1
    settings.flash_attn_type = library.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    settings.cache_type_k = settings.cache_type_v = library.ggml_type.GGML_TYPE_F32
    server = library.Server(settings)

    def ask(text: str) -> tuple[dict[int, float], int]:
        request = {"prompt": text, "n_predict": 1, "n_probs": LONGEST, "temperature": 0.0, "cache_prompt": False}
        found = server.handle_completions(request)
        found = found if isinstance(found, dict) else json.loads(found)
        (first,) = found["choices"][0]["logprobs"]["content"]
        return {each["id"]: each["logprob"] for each in first["top_logprobs"]}, found["usage"]["prompt_tokens"]

    return ask


def test_its_first_token_is_as_likely_as_llama_cpp_says_for_50_prompts(folder, llama_cpp):
    model = loading.load_base(folder, dtype=torch.float32, device="cpu").eval()
    tokenizer = loading.read_pretrained(loading.transformers.AutoTokenizer, folder)
    for text in prompts():
        ids = tokenizer(text)["input_ids"]
        with torch.no_grad():
            ours = model(torch.tensor([ids])).logits[0, -1].log_softmax(-1)
        theirs, count = llama_cpp(text)
        assert len(ids) == count, text
        assert ids[0] == tokenizer.bos_token_id and ids.count(tokenizer.bos_token_id) == 1
        assert int(ours.argmax()) == max(theirs, key=theirs.get), text
        assert max(abs(ours[token].item() - logprob) for token, logprob in theirs.items()) < 0.02, text


def test_texts_come_back_as_they_were(folder):
    tokenizer = loading.read_pretrained(loading.transformers.AutoTokenizer, folder)
    for text in prompts():
        assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text


def test_the_profile_says_what_it_needs_and_its_data_fits_the_chat_template(folder, capsys):
    profile = start("laptop")
    said = capsys.readouterr().out
    assert "ai.google.dev/gemma/terms" in said and "GB of memory per process" in said
    tokenizer, chosen = loading.load_formatted(profile.base)
    assert (chosen.name, chosen.end, chosen.added) == ("gemma3", "<end_of_turn>", ())
    rows = tuning.rows(profile)
    encoded, findings = validation.encode_and_validate(rows, tokenizer, profile.max_length)
    assert len(encoded) == len(rows) == tasks.TUNING_SIZE
    assert [each.code for each in findings if each.level == "error"] == []
    ends = tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert all(each.ids[0] == tokenizer.bos_token_id and tokenizer.bos_token_id not in each.ids[1:] for each in encoded)
    assert all([i for i, on in zip(each.ids, each.mask, strict=True) if on][-1] == ends for each in encoded)
    asked = templates.prompt_ids(tokenizer, [{"role": "user", "content": "Name three fruits."}])
    assert (
        tokenizer.decode(asked) == "<bos><start_of_turn>user\nName three fruits.<end_of_turn>\n<start_of_turn>model\n"
    )

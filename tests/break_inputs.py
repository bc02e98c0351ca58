"""More than 400 bad inputs for every command: each must end in one line that says what is wrong, exit code 2, and nothing left behind.

`make break` runs them all in four processes; test_break.py takes a sample of 40.
"""

import importlib.util
import json
import os
import re
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from break_world import (
    Case,
    World,
    case,
    check,
    cut,
    edit_json,
    edit_tensors,
    flip,
    header_only,
    lines,
    pairs,
    remove,
    rows,
    write,
)

from workbench import environment

LM_EVAL = importlib.util.find_spec("lm_eval") is not None  # an extra
NUMBERS = ("inf", "-inf", "nan", "1e400", "0", "-1", "abc", "''")
WHOLE = ("0", "-1", "1.5", "abc", "nan", "inf", "9" * 40)


def numbers() -> list[Case]:
    """Fields of the specs, as options and as --set, with values out of their range."""
    found = []
    for command, options, sets in (
        ("sft {ok} --base {base}", ("epochs", "learning-rate"), ("epochs", "learning_rate")),
        ("dpo {pairs} --run {run}", ("epochs", "learning-rate", "beta"), ("epochs", "learning_rate", "beta")),
    ):
        for value in NUMBERS:
            found += [case(f"{command} --{name} {value}", name.replace("-", "_")[:5]) for name in options]
            found += [case(f"{command} --set {name}={value}", name) for name in sets]
    for command, names in (
        (
            "sft {ok} --base {base}",
            ("rank", "alpha", "max_steps", "max_tokens", "batch_size", "micro_batch_size", "max_length"),
        ),
        ("dpo {pairs} --run {run}", ("max_steps", "batch_size", "micro_batch_size", "max_length")),
    ):
        found += [case(f"{command} --set {name}={value}", name) for name in names for value in WHOLE]
    for command in ("sft {ok} --base {base}", "dpo {pairs} --run {run}"):
        for value in ("-1", "4294967296", "1.5", "x"):
            found += [case(f"{command} --seed {value}", "seed"), case(f"{command} --set seed={value}", "seed")]
        for name in ("warmup", "weight_decay"):
            found += [case(f"{command} --set {name}={value}", name) for value in ("-0.1", "nan", "inf", "x")]
        found += [case(f"{command} --set warmup=1.5", "warmup"), case(f"{command} --set warmup=0.5,5", "warmup")]
        found += [case(f"{command} --hold-out {value}", "hold-out") for value in ("0", "1", "-0.5", "nan", "x")]
        found += [case(f"{command} --samples {value}", "samples") for value in ("-5", "x", "1.5")]
        found += [case(f"{command} --max-length 1000000", "1000000", "512")]
        found += [case(f"{command} --set scheduler=magic", "scheduler", "cosine")]
        found += [case(f"{command} --set checkpointing=maybe", "checkpointing", "true or false")]
        found += [case(f"{command} --set {word}", "key=value") for word in ("rank", "=3", "==")]
        found += [
            case(f"{command} --set rnak=3", "rnak", "unknown"),
            case(f"{command} --set epochs=1 --set epochs=2", "twice"),
        ]
    found += [
        case("sft {ok} --base {base} --set max_steps=2 --set max_tokens=5", "max_steps", "max_tokens"),
        case("sft {ok} --base {base} --epochs 1 --set epochs=2", "epochs", "twice"),
        case("sft {ok} --base {base} --method magic", "method", "qlora"),
        case("sft {ok} --base {base} --method ''", "method"),
        case("sft {ok} --base {base} --set loss_on=nothing", "loss_on", "answers"),
        case("sft {ok} --base {base} --set sampling=sorted", "sampling", "random"),
        case("sft {ok} --base {base} --set batch_size=6 --set micro_batch_size=4", "batch_size", "micro_batch_size"),
        case("sft {ok} --base ''", "--base"),
        case("sft {ok} --base {base} --report-to magic", "magic"),
        case("dpo {pairs} --run {run} --loss magic", "loss", "sigmoid"),
        case("dpo {pairs} --run {run} --max-steps 0", "max_steps"),
        case("dpo {pairs} --run {run} --max-steps -1", "max_steps"),
        case("dpo {pairs} --run ''", "run"),
        case("dpo {pairs} --run nine", "nine"),
        case("dpo {pairs}", "--run"),
    ]
    for value in ("0", "-3", "1.5", "x", "1000"):
        found += [case(f"select {{ok}} --by longest --base {{base}} --size {value}", "size")]
    for value in ("0", "-1", "x", "1000"):
        found += [case(f"show {{ok}} --base {{base}} --row {value}", "row")]
    found += [
        case("select {ok} --by magic --base {base}", "magic", "ifd"),
        case("select {ok} --by ''", "--by"),
        case("select {ok} --by less --base {base} --size 2", "--good"),
        case("select {ok} --by less --base {base} --size 2 --good {f:none.json}", "none.json"),
        case("select {ok} --by less --base {base} --size 2 --good {pairs}", "pairs"),
        case("select {ok} --by longest --base {base} --show -1", "show"),
        case("select {ok} --by longest --base {base} --set sise=3", "sise", "size"),
        case("pretrain {out}/m --tokens 0", "tokens"),
        case("pretrain {out}/m --tokens -1", "tokens"),
        case("pretrain {out}/m --tokens x", "tokens"),
        case("pretrain {out}/m --seed -1", "seed"),
        case("pretrain {out}/m --seed 4294967296", "seed"),
    ]
    return found


YAML = {
    "list.yaml": (b"- 1\n", "mapping"),
    "text.yaml": (b"rank", "mapping"),
    "empty.yaml": (b"", "mapping"),
    "broken.yaml": (b"rank: [1,\n", "YAML"),
    "tabs.yaml": (b"rank:\n\t- 1\n", "YAML"),
    "object.yaml": (b"rank: !!python/object/apply:os.system ['true']\n", "YAML"),
    "binary.yaml": (b"\xff\xfe\x00", "YAML"),
    "unknown.yaml": (b"rnak: 3\n", "rnak"),
    "number_key.yaml": (b"3: 4\n", "3"),
    "nested.yaml": (b"rank: {a: 1}\n", "rank"),
    "words.yaml": (b"learning_rate: fast\n", "learning_rate"),
    "negative.yaml": (b"batch_size: -1\n", "batch_size"),
    "nan.yaml": (b"learning_rate: .nan\n", "learning_rate"),
    "bool.yaml": (b"max_length: true\n", "max_length"),
}


def configs() -> list[Case]:
    """Files for --config."""
    found = [case(f"sft {{ok}} --base {{base}} --config {{f:{name}}}", says) for name, (_, says) in YAML.items()]
    return found + [
        case("sft {ok} --base {base} --config {f:none.yaml}", "none.yaml"),
        case("sft {ok} --base {base} --config {root}", "directory"),
        case("dpo {pairs} --run {run} --config {f:unknown.yaml}", "rnak"),
        case("select {ok} --base {base} --config {f:unknown.yaml}", "rnak"),
    ]


def deep(path) -> None:
    path.write_text("[" * 100_000 + "]" * 100_000)


def parquet(path) -> None:
    pq.write_table(pa.table({"prompt": ["a"] * 200, "response": ["b"] * 200}), path)
    data = bytearray(path.read_bytes())
    for place in range(8, 60):
        data[place] ^= 0xFF
    path.write_bytes(data)


def folder_of(**files) -> object:
    def make(path) -> None:
        path.mkdir()
        for name, content in files.items():
            (path / name.replace("__", ".")).write_bytes(content)

    return make


def unreadable_folder(path) -> None:
    path.mkdir()
    (path / "dataset_dict.json").write_text('{"splits": ["train"]}')


TURN = {"role": "user", "content": "Hi"}
ANSWER = {"role": "assistant", "content": "Hello"}
CALL = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"type": "function", "function": {"name": "f", "arguments": "{"}}],
}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}

FILES = {
    "empty.json": (b"", "empty"),
    "empty.jsonl": (b"\n\n", "empty"),
    "list.json": (b"[]", "empty"),
    "null.json": (b"null", "null.json"),
    "number.json": (b"7", "number.json"),
    "text.json": (b'"abc"', "text.json"),
    "cut.json": (b'[{"instruction": "a", "outp', "cut.json"),
    "cut.jsonl": (lines(*rows(3)) + b'\n{"instruction": "a', "line 4"),
    "comments.json": (b'// rows\n[{"instruction": "a", "output": "b"}]', "comments.json"),
    "two.json": (b'{"instruction": "a", "output": "b"}{"instruction": "a", "output": "b"}', "two.json"),
    "nan.jsonl": (b'{"instruction": NaN, "output": "b"}\n' * 3, "nan.jsonl"),
    "deep.json": (deep, "deep"),
    "deep.jsonl": (deep, "deep"),
    "long_number.jsonl": (b'{"instruction": "a", "output": ' + b"1" * 10_000 + b"}\n", "long_number"),
    "surrogate.jsonl": (b'{"instruction": "a \\ud800", "output": "b"}\n' * 3, "surrogate"),
    "latin.jsonl": ('{"instruction": "é", "output": "ü"}\n' * 3).encode("latin-1"),
    "zeros.jsonl": (b"\x00" * 200, "zeros"),
    "utf16.jsonl": ('{"instruction": "a", "output": "b"}\n' * 3).encode("utf-16"),
    "flipped.parquet": (parquet, "flipped.parquet"),
    "text.parquet": (b"not parquet", "text.parquet"),
    "empty.parquet": (b"", "empty.parquet"),
    "empty.csv": (b"", "empty"),
    "header.csv": (b"instruction,output\n", "header.csv"),
    "torn.csv": (b'instruction,output\n"a,b\n', "torn.csv"),
    "cells.csv": (b"instruction,output\na,b,c,d\n", "cells.csv"),
    "torn.jsonl.gz": (b"\x1f\x8b\x08\x00broken", "torn.jsonl.gz"),
    "notes.txt": (b"hello", "notes.txt"),
    "picture.png": (b"\x89PNG\r\n", "picture.png"),
    "strings.jsonl": (b'"a"\n"b"\n', "strings.jsonl"),
    "lists.jsonl": (b"[1]\n[2]\n", "lists.jsonl"),
    "columns.jsonl": (lines({"x": 1, "y": 2}, {"x": 3, "y": 4}), "columns"),
    "no_columns.jsonl": (lines({}, {}), "no_columns.jsonl"),
    "no_answer.jsonl": (lines(*[{"instruction": "a"}] * 3), "no_answer.jsonl"),
    "empty_answer.jsonl": (lines(*[{"instruction": "a", "output": ""}] * 3), "output"),
    "null_answer.jsonl": (lines(*[{"instruction": "a", "output": None}] * 3), "null_answer.jsonl"),
    "number_answer.jsonl": (lines(*[{"instruction": "a", "output": 7}] * 3), "output"),
    "list_answer.jsonl": (lines(*[{"instruction": "a", "output": ["b"]}] * 3), "output"),
    "no_role.jsonl": (lines(*[{"messages": [{"content": "a"}, ANSWER]}] * 3), "role"),
    "unknown_role.jsonl": (lines(*[{"messages": [{"role": "wizard", "content": "a"}, ANSWER]}] * 3), "wizard"),
    "no_turns.jsonl": (lines(*[{"messages": []}] * 3), "messages"),
    "text_turns.jsonl": (lines(*[{"messages": "Hi"}] * 3), "messages"),
    "user_last.jsonl": (lines(*[{"messages": [TURN, ANSWER, TURN]}] * 3), "user_last.jsonl"),
    "only_assistant.jsonl": (lines(*[{"messages": [ANSWER]}] * 3), "only_assistant.jsonl"),
    "number_content.jsonl": (lines(*[{"messages": [{"role": "user", "content": 3}, ANSWER]}] * 3), "content"),
    "picture_turn.jsonl": (
        lines(*[{"messages": [{"role": "user", "content": [{"type": "image", "image": "x.png"}]}, ANSWER]}] * 3),
        "image",
    ),
    "images.jsonl": (lines(*[{"instruction": "a", "output": "b", "images": ["x.png"]}] * 3), "images"),
    "bad_arguments.jsonl": (lines(*[{"messages": [TURN, CALL], "tools": [TOOL]}] * 3), "arguments"),
    "tools_text.jsonl": (lines(*[{"messages": [TURN, ANSWER], "tools": "none"}] * 3), "tools"),
    "two_answers.jsonl": (lines(*[{"instruction": "a", "output": "b", "response": "c"}] * 3), "output"),
    "one_row.jsonl": (lines(rows(3)[0]), "row"),
    "empty_folder": (lambda path: path.mkdir(), "empty_folder"),
    "notes_folder": (folder_of(notes__txt=b"hello"), "notes_folder"),
    "broken_folder": (folder_of(a__json=b"{", b__json=b"["), "json"),
    "broken_dict": (unreadable_folder, "broken_dict"),
    "broken_link.json": (lambda path: path.symlink_to("nowhere"), "broken_link.json"),
    "loop.json": (lambda path: path.symlink_to(path), "loop.json"),
    "folder.json": (lambda path: path.mkdir(), "folder.json"),
}  # fmt: skip
FILES = {name: found if isinstance(found, tuple) else (found, name) for name, found in FILES.items()}

PAIRS = {
    "same.jsonl": (lines(*[{"prompt": "a", "chosen": "b", "rejected": "b"}] * 3), "chosen"),
    "no_rejected.jsonl": (lines(*[{"prompt": "a", "chosen": "b"}] * 3), "rejected"),
    "empty_chosen.jsonl": (lines(*[{"prompt": "a", "chosen": "", "rejected": "b"}] * 3), "chosen"),
    "null_rejected.jsonl": (lines(*[{"prompt": "a", "chosen": "b", "rejected": None}] * 3), "rejected"),
    "number_chosen.jsonl": (lines(*[{"prompt": "a", "chosen": 1, "rejected": 2}] * 3), "chosen"),
    "reversed.csv": (b"prompt,chosen,rejected,score_chosen,score_rejected\na,b,c,1,9\nd,e,f,2,8\n", "score"),
    "other_prompt.jsonl": (lines(*[{"chosen": [TURN, ANSWER], "rejected": [{"role": "user", "content": "Ho"}, ANSWER]}] * 3), "prompt"),
    "mixed_turns.jsonl": (lines(*[{"prompt": "a", "chosen": [ANSWER], "rejected": 3}] * 3), "rejected"),
    "user_answer.jsonl": (lines(*[{"prompt": "a", "chosen": [TURN], "rejected": [ANSWER]}] * 3), "chosen"),
}  # fmt: skip


def readers() -> list[Case]:
    """Files that cannot be used, for every command that reads data."""
    found = [case(f"sft {{f:{name}}} --base {{base}}", says) for name, (_, says) in FILES.items()]
    some = [name for name in FILES if name not in ("one_row.jsonl",)][::2]
    found += [case(f"select {{f:{name}}} --by longest --size 1 --base {{base}}", FILES[name][1]) for name in some]
    found += [case(f"show {{f:{name}}} --base {{base}}", FILES[name][1]) for name in some[::2]]
    found += [case(f"dpo {{f:{name}}} --run {{run}}", says) for name, (_, says) in PAIRS.items()]
    found += [case(f"dpo {{f:{name}}} --run {{run}}", FILES[name][1]) for name in some[1::3]]
    return found + [
        case("sft {root}/files/missing.json --base {base}", "missing.json"),
        case("sft {long} --base {base}", "not a path"),
        case("sft /proc/1/mem --base {base}", "/proc/1/mem"),
        case("sft /dev/null --base {base}", "/dev/null"),
        case("sft '' --base {base}", "error"),
        case("sft no/such-set --base {base}", "no/such-set"),
        case("sft {pairs} --base {base}", "workbench dpo"),
        case("dpo {ok} --run {run}", "workbench sft"),
        case("select {pairs} --by longest --size 1 --base {base}", "pairs"),
        case("sft {ok} --base {base} --split nope", "nope"),
        case("sft {ok} --base {base} --columns prompt", "prompt"),
        case("sft {ok} --base {base} --columns wizard=instruction", "wizard"),
        case("sft {ok} --base {base} --columns prompt=nope", "nope"),
        case("sft {ok} --base {base} --columns prompt=instruction,response=instruction", "instruction"),
        case("sft {ok} --base {base} --columns ''", "columns"),
        case("show {ok} --base {base} --split nope", "nope"),
        case("dpo {pairs} --run {run} --columns chosen=nope", "nope"),
    ]


def nan_weights(tensors) -> None:
    next(iter(tensors.values())).fill_(float("nan"))


def drop_layer(tensors) -> None:
    for name in [name for name in tensors if "layers.1." in name]:
        del tensors[name]


def pickled(folder) -> None:
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def remote_code(folder) -> None:
    edit_json("config.json", model_type="mine", auto_map={"AutoConfig": "mine.C", "AutoModelForCausalLM": "mine.M"})(
        folder
    )
    (folder / "mine.py").write_text(f"open({str(folder / 'ran')!r}, 'w').write('ran')\n")


BASES = {
    "no_config": (remove("config.json"), "config.json"),
    "empty_config": (write("config.json", "{}"), "config.json"),
    "broken_config": (write("config.json", "{"), "config.json"),
    "list_config": (write("config.json", "[1]"), "config.json"),
    "unknown_type": (edit_json("config.json", model_type="llamma"), "llamma"),
    "text_size": (edit_json("config.json", hidden_size="large"), "hidden_size"),
    "no_heads": (edit_json("config.json", num_attention_heads=0), "num_attention_heads"),
    "minus_layers": (edit_json("config.json", num_hidden_layers=-1), "num_hidden_layers"),
    "more_layers": (edit_json("config.json", num_hidden_layers=3), "layers"),
    "wide": (edit_json("config.json", hidden_size=128), "shape"),
    "bert": (write("config.json", json.dumps({"model_type": "bert", "vocab_size": 272})), "bert"),
    "no_weights": (remove("model.safetensors"), "safetensors"),
    "cut_weights": (cut("model.safetensors"), "weights"),
    "empty_weights": (write("model.safetensors", b""), "weights"),
    "text_weights": (write("model.safetensors", b"hello world, these are no weights"), "weights"),
    "header_weights": (lambda folder: header_only(folder / "model.safetensors"), "weights"),
    "nan_weights": (edit_tensors(nan_weights), "nan"),
    "dropped_layer": (edit_tensors(drop_layer), "layers.1"),
    "extra_tensor": (edit_tensors(lambda tensors: tensors.update(extra=torch.zeros(3))), "extra"),
    "pickled": (pickled, "safetensors"),
    "remote_code": (remote_code, "remote_code"),
    "no_tokenizer": (remove("tokenizer*"), "tokenizer"),
    "broken_tokenizer": (write("tokenizer.json", "{"), "tokenizer"),
    "list_tokenizer": (write("tokenizer_config.json", "[]"), "tokenizer_config.json"),
    "small_vocabulary": (edit_json("config.json", vocab_size=100), "vocab"),
    "huge_context": (edit_json("config.json", max_position_embeddings="x"), "max_position_embeddings"),
    "shard_index": (
        lambda folder: (
            (folder / "model.safetensors").unlink(),
            (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}'),
        ),
        "model-00001-of-00002.safetensors",
    ),
    "broken_index": (
        lambda folder: (remove("model.safetensors")(folder), write("model.safetensors.index.json", "{")(folder)),
        "model.safetensors.index.json",
    ),
}  # fmt: skip


def bases() -> list[Case]:
    """Model folders that cannot be used."""
    found = []
    for name, (_, says) in BASES.items():
        found += [case(f"sft {{ok}} --base {{b:{name}}} --method lora --set max_steps=1", says)]
        found += [case(f"select {{ok}} --by perplexity --size 1 --base {{b:{name}}}", says)]
    found += [case(f"show {{ok}} --base {{b:{name}}}", BASES[name][1]) for name in ("no_tokenizer", "broken_tokenizer")]
    return found + [
        case("sft {ok} --base {root}/nowhere", "nowhere"),
        case("sft {ok} --base {ok}", "folder"),
        case("sft {ok} --base nobody/no-such-model", "nobody/no-such-model"),
        case("sft {ok} --base {root}", "config.json"),
        case("sft {ok} --base {base} --set revision=nope --base x/y", "x/y"),
        case("select {ok} --by perplexity --size 1 --base ''", "--base"),
        case("show {ok} --base ''", "--base"),
    ]


DAMAGE = {
    "no_adapter": remove("adapter_model.safetensors"),
    "cut_adapter": cut("adapter_model.safetensors"),
    "flipped_adapter": flip("adapter_model.safetensors"),
    "no_adapter_config": remove("adapter_config.json"),
    "broken_adapter_config": write("adapter/adapter_config.json", "{"),
    "no_adapter_folder": remove("adapter"),
    "changed_log": write("log.csv", "step\n"),
    "no_rows": remove("rows.parquet"),
    "cut_record": cut("run.json"),
    "list_record": write("run.json", "[]"),
    "empty_record": write("run.json", "{}"),
    "no_tokenizer": remove("tokenizer.json"),
}


def damages() -> list[tuple[str, Case]]:
    """Runs that were damaged on the disk: every command that opens them says so."""
    commands = (
        "runs show {run}",
        "export {run} {out}/model",
        "dpo {pairs} --run {run}",
        "export {run} {out}/recipe --trl",
    )
    found = [(name, case(command, "{run}")) for name in DAMAGE for command in commands]
    return found


def outputs() -> list[Case]:
    """Places that cannot be written to."""
    long = "x" * 300
    return [
        case("export {run} {root}", "exists"),
        case("export {run} {ok}", "exists"),
        case("export {run} {ok}/model", "rows.json"),
        case(f"export {{run}} {{out}}/{long}", "long"),
        case("export {run} /proc/model", "/proc"),
        case("export {run} ''", "error"),
        case("export {run} {ok} --trl", "exists"),
        case("export {run} {ok}/recipe --trl", "rows.json"),
        case("export {run} {out}/m --push nobody", "--push"),
        case("export nine {out}/m", "nine"),
        case("export '' {out}/m", "error"),
        case("select {ok} --by longest --size 1 --base {base} --out {ok}", "exists"),
        case("select {ok} --by longest --size 1 --base {base} --out {out}", "exists"),
        case("select {ok} --by longest --size 1 --base {base} --out {out}/none/x.jsonl", "missing"),
        case("select {ok} --by longest --size 1 --base {base} --out {ok}/x.jsonl", "not a folder"),
        case("select {ok} --by longest --size 1 --base {base} --out /proc/x.jsonl", "/proc/x.jsonl"),
        case(f"select {{ok}} --by longest --size 1 --base {{base}} --out {{out}}/{long}", "long"),
        case("pretrain {ok}/m --tokens 5000", "rows.json"),
        case("pretrain /proc/m --tokens 5000", "/proc"),
        case(f"pretrain {{out}}/{long} --tokens 5000", "long"),
    ]


NOTEBOOKS = {
    "number.ipynb": (b'{"cells": 5}', "number.ipynb"),
    "empty.ipynb": (b"", "empty.ipynb"),
    "list.ipynb": (b"[]", "list.ipynb"),
    "text.ipynb": (b"hello", "text.ipynb"),
    "cut.ipynb": (b'{"cells": [{"cell_type": "code"', "cut.ipynb"),
    "future.ipynb": (b'{"nbformat": 99, "nbformat_minor": 0, "metadata": {}, "cells": []}', "future.ipynb"),
    "strings.ipynb": (b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": ["a"]}', "strings.ipynb"),
    "binary.ipynb": (b"\xff\xfe\x00\x01", "binary.ipynb"),
}  # fmt: skip


def notebooks() -> list[Case]:
    """Notebooks, parameters and names that cannot be used."""
    found = [case(f"run {{f:{name}}}", says) for name, (_, says) in NOTEBOOKS.items()]
    found += [case(f"fork {{f:{name}}} mine", says) for name, (_, says) in NOTEBOOKS.items()]
    found += [case(f"diff {{f:{name}}} 01", says) for name, (_, says) in NOTEBOOKS.items()]
    for value in ("abc", "1.5", "[1]", "", "-5", "0", "9" * 5_000, "None", "True"):
        found += [case(f"fork 01 mine --set size={value}", "size")]
    for value in ("3", "[]", "['a']", "[nan]", "{}", "[[0.1]]", "x" * 100_000):
        found += [case(f"fork 01 mine --set noise={value}", "noise")]
    for value in ("nope", "", "3", "Pocket"):
        found += [
            case(f"fork 01 mine --set profile={value}", "profile"),
            case(f"run 01 --profile {value or '``'}", "profile"),
        ]
    names = ("a/b", "../x", "", ".", "..", "x" * 300, "a\x00b", "01_first", "con?", "a b")
    found += [Case(("fork", "01", name), (name[:3] if name.isprintable() and name else "name",)) for name in names]
    return found + [
        case("fork 01 mine --set nosie=1", "nosie"),
        case("fork 01 mine --set size", "key=value"),
        case("fork 01 mine --set =3", "key=value"),
        case("fork nine mine", "nine"),
        case("fork '' mine", "notebook"),
        case("run nine", "nine"),
        case("run 01 nine", "nine"),
        case("run 0", "notebook"),
        case("run {root}", "notebook"),
        case("run {ok}", "rows.json"),
        case("diff 01 nine", "nine"),
        case("diff nine 01", "nine"),
        case("diff 01", "B"),
        case("report --readme", "README"),
        case("report", "notebook"),
    ]


def words() -> list[Case]:
    """Commands and options that there are not."""
    return [
        case("sfft", "sfft"),
        case("sft", "DATA"),
        case("sft {ok} {ok} --base {base}", "unexpected"),
        case("sft {ok} --bsae x", "bsae"),
        case("sft {ok} --epochs", "epochs"),
        case("dpo", "DATA"),
        case("select", "DATA"),
        case("show", "DATA"),
        case("export", "RUN"),
        case("export {run}", "OUT"),
        case("eval", "RUN"),
        case("eval nine", "nine"),
        case("eval {run} --tasks ''", "task"),
        case("eval {run} --tasks ,", "task"),
        case("eval {run} --tasks nosuchtask", "nosuchtask" if LM_EVAL else "lm-eval"),
        case("eval {run} --limit 0", "limit"),
        case("eval {run} --limit -1", "limit"),
        case("eval {run} --new-tokens 0", "new-tokens"),
        case("eval {run} --new-tokens -5", "new-tokens"),
        case("eval {run} --include {root}/nowhere", "nowhere"),
        case("fork", "NOTEBOOK"),
        case("runs nope", "nope"),
        case("runs show", "RUN"),
        case("runs show nine", "nine"),
        case("runs show ''", "error"),
        case("runs show ../..", ".."),
        case("runs remove nine", "nine"),
        case("runs remove ../base", "../base"),
        case("runs remove ''", "error"),
        case("runs remove .", "."),
        case("runs list extra", "extra"),
        case("results nope", "nope"),
        case("results list extra", "extra"),
        case("results show", "FILE"),
        case("results show 99", "99"),
        case("results show ''", "begins the name"),
        case("results verify --cells 0", "cells"),
        case("results verify --cells x", "cells"),
        case("results verify nine", "nine"),
        case("results verify 04 nine", "nine"),
        case("results publish", "NOTEBOOK"),
        case("results publish nine", "nine"),
        case("results publish 01 --profile nope", "nope"),
        case("results publish {ok}", "rows.json"),
        case("runs size extra", "extra"),
        case("--nope", "nope"),
        case("bench --gpu", "CUDA"),
        case("bench --out {out}/none/bench.md --gpu", "error"),
    ]


CASES: list[tuple[str | None, Case]] = [
    *((None, each) for group in (numbers, configs, readers, bases, outputs, notebooks, words) for each in group()),
    *damages(),
]


@pytest.fixture(scope="session")
def whole_world(tmp_path_factory):
    """Made once for all inputs."""
    made = World(tmp_path_factory.mktemp("break"))
    made.run  # made once, before any command is tried  # noqa: B018
    return made


@pytest.fixture
def world(whole_world, monkeypatch):
    """The world as the repository of one test: other tests of the same process keep theirs."""
    monkeypatch.setattr(environment, "ROOT", whole_world.root)
    return whole_world


def filled(world: World, word: str) -> str:
    """A word with the places of the world put in."""
    known = {"base": world.base, "root": world.root, "out": world.root / "out", "run": world.run.id}

    def place(found: re.Match) -> str:
        kind, _, name = found[1].partition(":")
        if kind == "ok":
            return str(world.file("rows.json", json.dumps(rows()).encode()))
        if kind == "pairs":
            return str(world.file("pairs.json", json.dumps(pairs()).encode()))
        if kind == "long":
            return str(world.root / ("x/" * 2_500))
        if kind == "f":
            content = ({**FILES, **PAIRS, **YAML, **NOTEBOOKS}.get(name) or (None,))[0]
            return str(world.root / "files" / name if content is None else world.file(name, content))
        if kind == "b":
            return str(world.broken_base(name, BASES[name][0]))
        return str(known[kind])

    return re.sub(r"\{(\w+(?::[\w.-]+)?)\}", place, "" if word == "''" else word)


def run_case(world: World, store: str | None, each: Case) -> None:
    """One bad input ends in one line, with the right words, and leaves nothing."""
    if each.words[:1] == ("report",):
        shutil.rmtree(world.root / "notebooks", ignore_errors=True)
    folder = world.broken_store(store, DAMAGE[store]) if store else None
    words = tuple(filled(world, word) for word in each.words)
    try:
        check(world, words, tuple(filled(world, word) for word in each.says), each.code, folder)
    finally:
        shutil.rmtree(world.root / "out", ignore_errors=True)
        shutil.rmtree(world.root / "notebooks" / "forks", ignore_errors=True)
        if not (world.root / "notebooks").exists():
            import series

            series.write(world.root)
    assert not list(world.root.rglob("ran")), "code of others ran"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("store", "each"), CASES, ids=[f"{n}: {store or ''} {each}" for n, (store, each) in enumerate(CASES)]
)
def test_a_bad_input_is_one_line_and_leaves_nothing(world, store, each):
    if os.geteuid() == 0 and "permission" in each.says:
        pytest.skip("root may do everything")
    run_case(world, store, each)

"""The benchmark measures both sides alike and says what it measured."""

import families
import pytest
from conftest import make_rows
from test_grid import EVALUATION
from transformers import LlamaConfig

from workbench import environment, profiles
from workbench.config import SFTSpec
from workbench.data import templates
from workbench.experiments import bench, bench_base, bench_gpu
from workbench.models import loading, logprobs
from workbench.train import supervised


def test_sides_take_turns_and_the_order_turns_round():
    order = []
    found = bench.in_turn([lambda side=side: order.append(side) or len(order) for side in "abc"], 3)
    assert "".join(order) == "abccbaabc" and found == [[1, 6, 7], [2, 5, 8], [3, 4, 9]]


def test_a_ratio_above_one_is_ours_faster():
    row = bench.ratio_row("a", "tokens per second", 100, [1.0, 2.0, 4.0], [2.0, 8.0, 4.0])
    assert (row["ours"], row["theirs"], row["ratio"], row["least"], row["greatest"]) == (50, 25, 2, 1, 4)


def test_the_whole_benchmark_in_small(tiny_base):
    size = bench.Size(cells=2, steps=1, rows=16, prompts=2, repeats=1)
    table = bench.measure(tiny_base, make_rows(24), EVALUATION, size)
    assert table["unit"].tolist() == ["runs per minute", *["tokens per second"] * 3, *["prompts per second"] * 2]
    assert (table[["ours", "theirs", "ratio"]] > 0).all(axis=None)
    assert table["ratio"].tolist() == pytest.approx((table["ours"] / table["theirs"]).tolist())
    gib = bench.memory(tiny_base, make_rows(24), EVALUATION, size, workers=1)
    assert 0.2 < gib < 4
    text = bench.page(table, gib, {"01_base": 7.4, "02_sft": 8.0, "all": 9.0}, size)
    assert (
        text.count("\n| ") == 8
        and environment.describe()["cpu"] in text
        and "torch 2" in text
        and "01: 7 s, 02: 8 s; one after the other 15 s" in text
    )


def test_the_plain_loop_learns_what_the_trainer_learns(tiny_base, tmp_path):
    """Else a ratio of their speeds would compare different work."""

    def loss(run):
        rows, tokenizer = make_rows(32), loading.load_tokenizer(tiny_base)
        spec = SFTSpec(tiny_base, rank=4, epochs=1, batch_size=8, sampling="random")
        trainer = supervised.make_trainer(
            spec, loading.load_base(tiny_base, True), tokenizer, supervised.tokenized(tokenizer, rows), tmp_path, []
        )
        run(trainer)
        return logprobs.supervised_loss(trainer.model, tokenizer, rows)

    assert loss(bench.plain_loop) == pytest.approx(loss(lambda trainer: trainer.train()), abs=0.05)
    assert loss(lambda trainer: None) - loss(bench.plain_loop) > 0.1


def test_the_whole_gpu_benchmark_in_small():
    shape = LlamaConfig(vocab_size=4200, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=2,
                        max_position_embeddings=512)  # fmt: skip
    size = bench_gpu.Size(shape, shape, rows=16, tokens=60, max_length=128, repeats=1)
    table = bench_gpu.measure(size)
    assert [what.split(",")[0] for what in table["what"]] == ["lora SFT", "qlora SFT", "qlora DPO", "qlora SFT"]
    assert (table[["ours", "theirs", "our_mfu", "their_mfu"]] > 0).all(axis=None)
    assert table["ratio"].tolist() == pytest.approx((table["ours"] / table["theirs"]).tolist())
    text = bench_gpu.page(table, size)
    assert text.count("\n| ") == 6 and environment.describe()["cpu"] in text


def test_rows_of_the_gpu_benchmark_have_the_lengths_that_were_asked_for():
    rows = bench_gpu.made_rows(60, 200, 400)
    tokenizer = loading.load_tokenizer(profiles.get("pocket").base)
    lengths = [len(templates.encode(tokenizer, row["messages"])[0]) for row in rows]
    assert max(lengths) <= 400 and 150 < sum(lengths) / 60 < 210
    assert rows[:2] == bench_gpu.made_rows(2, 200, 400)[:]


def test_the_benchmark_of_a_real_base_in_small(tmp_path):
    base = families.write("gemma3", tmp_path / "base")
    size = bench_base.Size(rows=16, held_out=4, prompts=2, repeats=1)
    table = bench_base.measure(base, make_rows(24), EVALUATION, size)
    assert (table[["ours", "theirs", "ratio"]] > 0).all(axis=None) and len(table) == 3
    assert (table[["loss", "theirs_loss"]].iloc[:2] > 0).all(axis=None)
    assert (table[["gib", "theirs_gib"]].iloc[:2] >= 0).all(
        axis=None
    )  # so small a model may need nothing that was not free already
    assert table["loss"][0] == pytest.approx(table["theirs_loss"][0], abs=0.3)  # the same work, but for the chat tokens
    text = bench_base.section(base, table, size)
    assert text.count("\n| ") == 5 and text.startswith("## base on a CPU") and environment.describe()["cpu"] in text


def test_a_section_replaces_the_one_of_the_same_base_alone():
    page = "# Benchmark\n\ntext\n\n## a on a CPU\n\nold\n\n## Bad inputs\n\nkept\n"
    assert bench_base.with_section(page, "## a on a CPU\n\nnew\n") == page.replace("old", "new")
    assert bench_base.with_section(page, "## b on a CPU\n\nnew\n") == page + "\n## b on a CPU\n\nnew\n"
    last = bench_base.with_section(page, "## b on a CPU\n\nnew\n")
    assert bench_base.with_section(last, "## b on a CPU\n\nnewer\n") == last.replace(
        "b on a CPU\n\nnew", "b on a CPU\n\nnewer"
    )

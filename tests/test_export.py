"""A run is exported as a merged model with its card, goes to the Hub, and TRL's own command line repeats the training."""

import json
import re
import shutil
import subprocess
import sys

import huggingface_hub
import jinja2
import pytest
import torch
import yaml
from conftest import make_rows
from test_preference import make_pairs
from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline
from transformers.utils.chat_template_utils import _compile_jinja_template
from trl import SFTConfig, SFTTrainer

from workbench.config import DPOSpec, SFTSpec
from workbench.data import chat_templates, content, reading, templates
from workbench.errors import InputError
from workbench.evaluate import scoring, stats
from workbench.experiments import export
from workbench.models import adapters, loading
from workbench.store import Run, Store
from workbench.train import preference, supervised, trl_yaml
from workbench.train.trainer import to_trl

ASKED = [{"role": "user", "content": "say red"}]
CHECKED = [row | {"check": {"name": "answer", "args": {"answer": "RED", "kind": "word"}}} for row in make_rows(6)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def tuned(tiny_base, store):
    """One run a method."""
    return {
        method: supervised.sft(SFTSpec(base=tiny_base, method=method, max_steps=20, batch_size=8), make_rows(), store=store, quiet=True)
        for method in ("full", "qlora")
    }  # fmt: skip


@pytest.fixture(scope="module")
def exported(tuned, store, tmp_path_factory):
    scoring.score_run(tuned["qlora"], CHECKED, store)
    return export.export_run(tuned["qlora"], tmp_path_factory.mktemp("out") / "tuned")


def test_transformers_answers_with_it_as_the_merged_model_does(tuned, exported):
    merged, tokenizer = adapters.load_tuned(tuned["qlora"], merged=True, device="cpu")
    plain = AutoModelForCausalLM.from_pretrained(exported, dtype="auto")
    assert plain.dtype == torch.float32
    ids = torch.tensor([templates.prompt_ids(tokenizer, ASKED)])
    assert torch.equal(plain.eval()(ids).logits, merged(ids).logits)
    answer = pipeline("text-generation", model=str(exported))(ASKED, max_new_tokens=8)[0]["generated_text"]
    assert answer[:-1] == ASKED and answer[-1]["role"] == "assistant"


TALK = [{"role": "system", "content": " Be brief."}, *ASKED, {"role": "assistant", "content": " RED "},
        {"role": "user", "content": "again"}]  # fmt: skip


@pytest.mark.parametrize("messages", [ASKED, TALK, TALK[:3]], ids=["question", "conversation", "answered"])
def test_plain_template_engines_render_its_template_to_the_same_text(exported, messages):
    """llama.cpp and others know no {% generation %}; training needs it."""
    marked = loading.load_tokenizer(exported)
    assert marked.chat_template == chat_templates.CHATML == (exported / templates.TRAINING_TEMPLATE).read_text()
    text = (exported / "chat_template.jinja").read_text()
    assert not re.search(r"\{%[-+]?\s*(end)?generation", text)
    ours = marked.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert jinja2.Environment().from_string(text).render(messages=messages, add_generation_prompt=True) == ours
    minijinja = pytest.importorskip("minijinja", reason="a test of another engine")
    assert minijinja.Environment().render_str(text, messages=messages, add_generation_prompt=True) == ours


@pytest.mark.parametrize(
    "template",
    ["a{% generation %}\n b {%- endgeneration -%} c", "a\n  {%-  generation -%}\n b\n{% endgeneration %}\n c"],
)
def test_marks_that_are_taken_out_leave_every_space_where_it_was(template):
    expected = _compile_jinja_template(template).render()
    plain = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)  # as engines render templates of transformers
    assert plain.from_string(templates.without_marks(template)).render() == expected


def test_files_of_the_user_are_left_alone_and_an_existing_target_is_refused_before_the_merge(
    tuned, tmp_path, monkeypatch
):
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "thesis.txt").write_text("years of work")
    (tmp_path / "recipe").mkdir()
    monkeypatch.setattr(adapters, "load_tuned", lambda *_, **__: pytest.fail("the work was begun"))
    for write in (export.export_run, trl_yaml.write_trl_yaml):
        for target, says in (("recipe", "exists already"), ("missing/out", "create the folder first")):
            with pytest.raises(InputError, match=says):
                write(tuned["full"], tmp_path / target)
    monkeypatch.undo()
    export.export_run(tuned["full"], tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.partial", "recipe"]
    assert (tmp_path / "out.partial" / "thesis.txt").read_text() == "years of work"
    assert len({path.stat().st_mode for path in (tmp_path / "out").iterdir()}) == 1


def test_a_damaged_run_is_neither_exported_nor_trained_further_nor_scored(tuned, store, tmp_path):
    copy = Store(tmp_path)
    run = Run(copy.root / tuned["full"].id)
    shutil.copytree(tuned["full"].path, run.path)
    weights = run.path / "adapter" / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    for use in (
        lambda: export.export_run(run, tmp_path / "out"),
        lambda: trl_yaml.write_trl_yaml(run, tmp_path / "out"),
        lambda: preference.dpo(
            DPOSpec(max_steps=1), reading.to_dataset(make_pairs(8)), sft_run=run, store=copy, quiet=True
        ),
        lambda: scoring.score_run(run, CHECKED, copy),
        lambda: adapters.load_any(run),
    ):
        with pytest.raises(InputError, match="damaged .adapter/model.safetensors has changed"):
            use()
    assert not (tmp_path / "out").exists()


def test_trl_goes_on_training_it(exported, tmp_path):
    arguments = SFTConfig(output_dir=str(tmp_path), max_steps=1, use_cpu=True, bf16=False, report_to="none",
                          assistant_only_loss=True, chat_template_path=str(exported / templates.TRAINING_TEMPLATE))  # fmt: skip
    trainer = SFTTrainer(str(exported), arguments, train_dataset=to_trl(make_rows(8)))
    assert trainer.train().training_loss > 0


def test_the_card_says_data_merging_scores_and_spec(tuned, exported):
    run, text = tuned["qlora"], (exported / "README.md").read_text()
    assert f"48 rows, {run.scores['tokens']:,} tokens" in text and run.record["key"]["rows"] in text
    assert "License of the data: not known here" in text
    follows = stats.estimate(scoring.score_run(run, CHECKED), "follows")
    assert f"| pocket evaluation: follows the instruction | {follows} | 6 |" in text
    scoring.score_run(run, [{**row, "skill": "create"} for row in CHECKED[:2]])
    assert "| pocket evaluation, create only: follows the instruction |" in export.scores_table(run)
    assert json.loads(text.split("```json")[1].split("```")[0])["learning_rate"] == run.spec["learning_rate"]
    assert run.environment["versions"]["trl"] in text and run.spec["base"] not in text  # no path of this machine
    front = yaml.safe_load(text.split("---")[1])
    assert front["library_name"] == "transformers" and "base_model" not in front


def test_merging_the_adapter_of_an_nf4_base_keeps_most_answers_and_the_card_says_how_many(tuned, exported):
    run = tuned["qlora"]
    (model, tokenizer), merged = adapters.load_tuned(run, unfolded=True), loading.load_base(exported)
    share = export.agreement(model, merged, tokenizer, make_rows())
    assert f"at {share:.1%} of the positions" in (exported / "README.md").read_text()
    assert 0.75 < share < 1  # the rounding of the base is gone
    assert export.agreement(model, model, tokenizer, make_rows()) == 1


def test_the_license_of_the_base_is_in_the_card(tuned, tiny_base, tmp_path):
    assert export.base_license(tuned["qlora"].spec) is None
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    assert export.base_license({"base": str(tmp_path), "revision": None}) == "apache-2.0"


def test_trls_command_line_repeats_the_run(tuned, tmp_path):
    """All weights trained; then the weights at the end are the same."""
    path = trl_yaml.write_trl_yaml(tuned["full"], tmp_path / "once more")
    command = [sys.executable, "-m", "trl.scripts.sft", "--config", path.name]
    done = subprocess.run(command, cwd=path.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    again = AutoModelForCausalLM.from_pretrained(path.parent / "out").state_dict()
    ours = AutoModelForCausalLM.from_pretrained(tuned["full"].adapter).state_dict()
    assert max((again[name] - value).abs().max() for name, value in ours.items()) < 1e-6


def test_the_recipe_of_an_adapter_names_base_rows_and_what_differs(tuned, tmp_path):
    path = trl_yaml.write_trl_yaml(tuned["qlora"], tmp_path / "recipe")
    settings, text = yaml.safe_load(path.read_text()), path.read_text()
    assert settings["load_in_4bit"] and settings["lora_r"] == 16 and settings["learning_rate"] == 2e-3
    assert "cannot train the embedding rows of the chat tokens" in text and "[2, 3, 4, 5, 6, 7]" in text
    assert (
        content.content_hash(reading.load(tmp_path / "recipe" / "rows.parquet").rows)
        == tuned["qlora"].record["key"]["rows"]
    )


def test_a_run_on_preferences_is_exported_and_has_no_sft_recipe(tuned, store, tmp_path):
    run = preference.dpo(DPOSpec(max_steps=2, batch_size=4), reading.to_dataset(make_pairs(8)), sft_run=tuned["qlora"], store=store, quiet=True)  # fmt: skip
    assert AutoTokenizer.from_pretrained(export.export_run(run, tmp_path / "dpo")).chat_template
    with pytest.raises(InputError, match=f"repeats supervised runs: give {tuned['qlora'].id}"):
        trl_yaml.write_trl_yaml(run, tmp_path / "recipe")


def test_without_token_or_network_a_push_stops_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="needs the network, and HF_HUB_OFFLINE is set"):
        export.push_to_hub(tmp_path, "me/model")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(export, "get_token", lambda: None)
    with pytest.raises(InputError, match="needs a token of the Hub"):
        export.push_to_hub(tmp_path, "me/model")

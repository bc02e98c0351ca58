"""Export a run as a merged model folder with its model card, and upload it to the Hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import datasets
import pandas as pd
import transformers
from httpx import HTTPError
from huggingface_hub import HfApi, ModelCard, ModelCardData, constants, get_token
from huggingface_hub.errors import HfHubHTTPError

from workbench import gguf_base, hub, outputs
from workbench.environment import few_progress_bars
from workbench.errors import InputError, first_line
from workbench.evaluate import benchmarks, scoring, stats
from workbench.models import adapters, loading, logprobs
from workbench.runs import Run

COMPARED = 64  # rows on which the merged model is compared with the adapter on its base
COMPARED_TOKENS = 1024  # of each

CARD = """---
{{ card_data }}
---

# {{ name }}

{{ base }} tuned on instructions with [TRL](https://github.com/huggingface/trl), method {{ method }}. Weights in {{ dtype }}, chat
template included (an answer ends with `{{ end }}`); neither PEFT nor bitsandbytes is needed. Made by `workbench export {{ id }}`.

```python
from transformers import pipeline

answer = pipeline("text-generation", "{{ name }}")([{"role": "user", "content": "Name three fruits."}], max_new_tokens=64)
```

## Data

{{ "{:,}".format(rows) }} rows, {{ "{:,}".format(tokens) }} tokens trained; SHA-256 of the rows `{{ rows_hash }}`.
**License of the data: not known here; whoever publishes this model has to state it.** License of the base model: {{ base_license }}.

## Merging

{{ parity }}

## Scores

{{ scores }}

## Training

```json
{{ spec }}
```

Made on {{ environment }}.
"""


@few_progress_bars()
def export_run(run: Run, out: str | Path) -> Path:
    """Write a run as a merged model folder in full precision, with tokenizer, chat template and model card.

    The base is loaded unquantised in fp32 on the CPU and the adapter merged there, so that nothing is rounded twice; that takes 4 bytes
    of main memory per parameter.

    Raises:
        InputError: ``out`` exists or cannot be written, the run is damaged, or the base cannot be loaded.
    """
    out = Path(out)
    with outputs.new_folder(out, adapters.merged_bytes(run)) as folder:
        adapters.write_merged(run, folder)
        for notice in hub.fetch(run.spec["base"], run.spec["revision"]).glob(
            "NOTICE*"
        ):  # to be passed on with the weights
            shutil.copy(notice, folder)
        model_card(run, folder, out.name).save(folder / "README.md")
    return out


def push_to_hub(folder: Path, repo: str) -> str:
    """Upload a model folder to the Hub as a private repository, and return its address.

    Raises:
        InputError: there is no token or no network, or the Hub refuses.
    """
    require_token()
    try:
        HfApi().create_repo(repo, private=True, exist_ok=True)
        HfApi().upload_folder(repo_id=repo, folder_path=folder)
    except (HfHubHTTPError, HTTPError, OSError, ValueError) as error:
        raise InputError(f"{repo}: not uploaded ({first_line(error)}); check name, token and network") from error
    return f"https://huggingface.co/{repo}"


def require_token() -> None:
    """Raise InputError where nothing can be uploaded; called before anything is merged."""
    if constants.HF_HUB_OFFLINE:
        raise InputError("--push needs the network, and HF_HUB_OFFLINE is set; unset it")
    if get_token() is None:
        raise InputError("--push needs a token of the Hub with write access; create one there, then `hf auth login`")


def agreement(
    a: transformers.PreTrainedModel,
    b: transformers.PreTrainedModel,
    tokenizer: transformers.PreTrainedTokenizerBase,
    rows: datasets.Dataset,
) -> float:
    """Return the share of the answers' tokens at which two models have the same most likely token, under teacher forcing."""
    same = count = 0
    scored = logprobs.encode_rows(tokenizer, rows, COMPARED_TOKENS)
    for _, tokens, logits in logprobs.predictions([a, b], scored):
        first, second = (each.argmax(-1).cpu() for each in logits)
        same, count = same + int((first == second).sum()), count + len(tokens)
    return same / count


def parity(run: Run, folder: Path) -> str:
    """Return a sentence for the card that says how close the merged model is to the trained one, measured on training rows."""
    if run.spec["method"] == "full":
        return "All weights were trained: nothing was merged."
    if not (run.rows_file).is_file():
        return "Not measured: the rows of the run were not stored."
    rows = datasets.Dataset.from_parquet(str(run.rows_file))
    tuned, tokenizer = adapters.load_any(run)
    read = logprobs.encode_rows(tokenizer, rows.select(range(min(COMPARED, len(rows)))), COMPARED_TOKENS)
    rows = rows.select([number for number, (_, mask) in enumerate(read) if any(mask)])
    if not len(rows):
        return f"Not measured: no answer begins within {COMPARED_TOKENS:,} tokens."
    merged = loading.load_base(folder)
    share = agreement(tuned, merged, tokenizer, rows)
    kl = scoring.kl_divergence(merged, tuned, tokenizer, rows, max_length=COMPARED_TOKENS)
    base = "4-bit NF4" if run.spec["method"] == "qlora" else "full-precision"
    return (
        f"The adapter was trained on the {base} base. On the answers of {len(rows)} training rows the merged model has the same most "
        f"likely token at {share:.1%} of the positions; KL(merged ‖ trained) is {kl:.4f} nats per token."
    )


def model_card(run: Run, folder: Path, name: str) -> ModelCard:
    """Return the card of a model in a folder that will get that name: data, merging, scores with intervals, spec, environment, license."""
    spec, environment = run.spec, run.environment
    local = Path(spec["base"]).exists()
    base = Path(spec["base"]).name if local else spec["base"].partition("@")[0]
    original = gguf_base.PACKAGED[base].hub if base in gguf_base.PACKAGED else base
    license = base_license(spec)
    front = ModelCardData(
        license=license,
        base_model=None if local else original,  # a local folder has no name on the Hub
        library_name="transformers",
        pipeline_tag="text-generation",
        tags=["trl", "sft", "workbench"],
    )
    machine = environment["gpu"] or environment["cpu"]
    versions = ", ".join(f"{name} {version}" for name, version in environment["versions"].items())
    return ModelCard.from_template(
        front,
        template_str=CARD,
        name=name,
        base=base,
        method=spec["method"],
        dtype=str(loading.read_pretrained(transformers.AutoConfig, folder).dtype).removeprefix("torch."),
        id=run.id,
        end=loading.load_formatted(folder)[1].end,
        rows=run.scores["rows"],
        tokens=run.scores["tokens"],
        rows_hash=run.record["key"]["rows"],
        base_license=license or "not known here, see its card",
        parity=parity(run, folder),
        scores=scores_table(run),
        spec=json.dumps({**spec, "base": base}, indent=1),
        environment=f"{machine}, Python {environment['python']}, {environment['seconds']:.0f} seconds; {versions}",
    )


def base_license(spec: dict) -> str | None:
    """Return the license of the base model from its card; None where there is no card at hand."""
    path = hub.fetch(spec["base"], spec["revision"]) / "README.md"
    return ModelCard.load(path, ignore_metadata_errors=True).data.get("license") if path.is_file() else None


def scores_table(run: Run) -> str:
    """Return the scores that are stored with the run as a Markdown table: one trained model, intervals over prompts."""
    lines = []
    for path in sorted((run.path / "tables").glob("*.parquet")):
        table = pd.read_parquet(path)
        if path.name.startswith("chat-"):
            skills = {skill for skill in table["skill"] if skill}
            asked = f"pocket evaluation, {skills.pop()} only" if len(skills) == 1 else "pocket evaluation"
            for column, what in (
                ("follows", "follows the instruction"),
                ("correct", "and is correct"),
                ("stops", "stops by itself"),
            ):
                found = stats.estimate(table, column)
                lines.append(f"| {asked}: {what} | {found} | {found.prompts} |")
        elif path.name.startswith("lm-eval-"):
            for row in benchmarks.benchmark_summary(table).itertuples():
                lines.append(
                    f"| {row.task}: {row.metric} | {row.estimate:.2f} [{row.low:.2f}, {row.high:.2f}] | {row.prompts} |"
                )
    if not lines:
        return "None are stored with the run."
    return "\n".join(["| score | value, 95% interval over prompts | prompts |", "| --- | --- | --- |", *lines])

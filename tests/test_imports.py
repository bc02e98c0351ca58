"""A notebook that finds its runs in the store opens quickly: what trains and answers is loaded when it is needed."""

import subprocess
import sys

FIRST_CELL = """
import sys
from workbench import (
    ablate, align, charts, claims, curate, curves, data, doctor, evaluate, generate, models, needs, noise, plots, profiles, runs, scores
)
from workbench.pocket import tasks
from workbench.specs import SFTSpec

needs.checked(profiles.get("pocket"))
print(*(name for name in sys.argv[1:] if name in sys.modules))
"""
HEAVY = ("trl.trainer.sft_trainer", "peft", "bitsandbytes", "transformers.modeling_utils", "torch._dynamo", "nbformat")


def test_a_first_cell_loads_nothing_that_trains_or_answers():
    done = subprocess.run([sys.executable, "-c", FIRST_CELL, *HEAVY], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "", done.stdout

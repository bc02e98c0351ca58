"""Train with TRL: supervised fine-tuning, preference training, reinforcement learning, and other objectives on the same base."""

from workbench.config import DPOSpec, RewardSpec, RLSpec, SFTSpec
from workbench.train.objectives import (
    Objective,
    classify,
    encode_objective,
    load_classifier,
    load_model,
    show_objectives,
    train_objective,
    within_budget,
)
from workbench.train.preference import dpo, first_loss, fix_dpo_trainer
from workbench.train.preference_panel import dpo_panel
from workbench.train.reinforcement import rl
from workbench.train.reward_models import reward_model
from workbench.train.supervised import sft
from workbench.train.trainer import fix_trl_trainer
from workbench.train.trl_yaml import write_trl_yaml

__all__ = [
    "DPOSpec",
    "Objective",
    "RLSpec",
    "RewardSpec",
    "SFTSpec",
    "classify",
    "dpo",
    "dpo_panel",
    "encode_objective",
    "first_loss",
    "fix_dpo_trainer",
    "fix_trl_trainer",
    "load_classifier",
    "load_model",
    "reward_model",
    "rl",
    "sft",
    "show_objectives",
    "train_objective",
    "within_budget",
    "write_trl_yaml",
]

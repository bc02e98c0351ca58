"""Define the pocket world: its facts, corpus, base model, and tasks with exact graders; the core of the workbench does not depend on it."""

from workbench.pocket import corpus, data_mix, graders, other_objectives, paraphrases, preferences, tasks, tools, tuning

__all__ = [
    "corpus",
    "data_mix",
    "graders",
    "other_objectives",
    "paraphrases",
    "preferences",
    "tasks",
    "tools",
    "tuning",
]

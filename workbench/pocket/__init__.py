"""Make the pocket world: facts, corpus, base model, tasks with exact graders. The rooms above know nothing of it."""

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

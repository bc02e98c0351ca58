"""Number the code that results depend on, so that results of older code are recognised.

Raise a number when a change makes the same inputs give another result. It is part of every key in the run store, and published results
carry it: those of another number are stale.
"""

TRAINING = 3  # supervised fine-tuning, preference optimisation, other objectives: what a spec means
SCORING = 2  # replies and scores: evaluate.scoring, evaluate.cross_evaluation, models.generation
RL = 1  # reward models, reinforcement learning, rewards
PAIRS = 1  # synthetic preference pairs, and the checks of given ones

ALL = {"training": TRAINING, "scoring": SCORING, "rl": RL, "pairs": PAIRS}

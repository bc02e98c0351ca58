"""pass@k is the probability that one of k replies is right, and sampled replies are stored."""

from itertools import combinations

import pandas as pd
import pytest

from workbench.errors import InputError
from workbench.evaluate import samples, stats


def test_pass_at_k_is_the_share_of_all_choices_of_k_replies_that_hold_a_right_one():
    right = {0: [1, 0, 0, 1, 0, 0], 1: [0] * 6, 2: [1] * 6, 3: [0, 0, 0, 0, 0, 1]}
    table = pd.DataFrame(
        [{"index": i, "prompt": f"{i}?", "correct": bool(each)} for i, marks in right.items() for each in marks]
    )
    found = samples.pass_at_k(table, (1, 2, 5)).set_index("index")
    for k in (1, 2, 5):
        expected = [
            sum(map(any, chosen)) / len(chosen) for chosen in (list(combinations(marks, k)) for marks in right.values())
        ]
        assert found[f"pass@{k}"].tolist() == pytest.approx(expected)
    assert stats.estimate(found.reset_index(), "pass@1").estimate == pytest.approx(9 / 24)
    with pytest.raises(InputError, match="pass@7: a prompt has 6 samples"):
        samples.pass_at_k(table, [7])


def test_seeds_stay_apart():
    table = pd.DataFrame([{"seed": seed, "index": 0, "prompt": "?", "correct": seed == 1} for seed in (0, 1) for _ in range(3)])  # fmt: skip
    assert samples.pass_at_k(table, [2])["pass@2"].tolist() == [0, 1]

"""A sample of what `make break` tries: 40 bad inputs, and five kills after which the next call gives the undisturbed result."""

import random

import pytest
from break_inputs import CASES, run_case, whole_world, world  # noqa: F401  fixtures
from break_kills import kill_and_repeat, kills, lab  # noqa: F401  a fixture

SAMPLE = random.Random(0).sample(range(len(CASES)), 40)


@pytest.mark.parametrize("number", SAMPLE, ids=[f"{n}: {CASES[n][0] or ''} {CASES[n][1]}" for n in SAMPLE])
def test_a_bad_input_is_one_line_and_leaves_nothing(world, number):  # noqa: F811
    run_case(world, *CASES[number])


@pytest.mark.parametrize(("number", "command", "how"), [kills(100)[n] for n in (0, 3, 14, 16, 8)])
def test_the_call_after_a_kill_gives_the_result_of_an_undisturbed_run(lab, number, command, how):  # noqa: F811
    kill_and_repeat(lab, number, command, how)

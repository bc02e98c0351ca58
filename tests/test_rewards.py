"""Named rewards give what their names say, and a function is named by all that it depends on."""

import functools

import pytest

from workbench import graders, rewards
from workbench.errors import InputError


def shouts(response: str, answer: str) -> graders.Grade:
    return graders.Grade(response.isupper(), response == answer)


@pytest.fixture(scope="module", autouse=True)
def _only_here():
    """Processes that other tests start, on Ray for instance, cannot import a grader of this file."""
    graders.register(shouts)
    yield
    del graders._registered["shouts"]


ROWS = [{"check": {"name": "shouts", "args": {"answer": "OSLO"}}}] * 3


def test_named_rewards():
    replies = ["OSLO", "PARIS", "I will not say"]
    assert rewards.find_reward("correct")(replies, ROWS) == [1, 0, 0]
    assert rewards.find_reward("follows")(replies, ROWS) == [1, 1, 0]
    assert rewards.find_reward("length")(replies, ROWS) == [1, 1, 4]
    assert rewards.find_reward("keyword:Please")(["Yes, please!", "pleased", ""], ROWS) == [1, 0, 0]


def test_a_keyword_is_one_word_whose_punctuation_does_not_count():
    assert rewards.find_reward("keyword: Yes! ")(["Yes!", "yes", "no"], ROWS) == [1, 1, 0]
    for name in ("keyword:thank you", "keyword:!", "keyword:yes !"):
        with pytest.raises(InputError, match=f"reward '{name}': .* must be one word; write keyword:WORD") as caught:
            rewards.find_reward(name)
        assert "\n" not in str(caught.value)


def first(replies, rows):
    return [1.0 for _ in replies]


def test_a_function_is_named_by_its_text_and_refused_where_that_is_not_all():
    assert rewards.source_of(first)["source"].startswith("def first(replies, rows)")
    word = "red"

    def inner(replies, rows):
        return [float(word in reply) for reply in replies]

    with pytest.raises(InputError, match="the reward inner depends on word from the function around it"):
        rewards.source_of(inner)
    for strange in (functools.partial(first, rows=[]), len):
        with pytest.raises(InputError, match="is no plain function, so no source could name the run"):
            rewards.source_of(strange)


LIMIT = 3


def limited(replies, rows):
    return [float(len(reply) > LIMIT) for reply in replies]


def test_numbers_and_texts_of_its_module_are_part_of_the_name(monkeypatch):
    before = rewards.source_of(limited)
    monkeypatch.setitem(globals(), "LIMIT", 4)
    assert rewards.source_of(limited) != before

"""Named rewards give what their names say, and a function is named by all that it depends on."""

import functools
import json
import linecache
import pickle
import re

import pytest
from joblib import wrap_non_picklable_objects

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


def test_a_function_with_numbers_and_texts_alone_is_named_as_ever():
    named = {
        "name": "limited",
        "source": "def limited(replies, rows):\nreturn [float(len(reply) > LIMIT) for reply in replies]",
    }
    assert rewards.source_of(limited) == named | {"uses": {"LIMIT": 3}}


WORDS, WEIGHTS, NAMES, BOTH = ["red"], {"red": 1.0}, {"red", "green", "blue"}, ("red", [1.0, float("inf")])
PATTERN = re.compile("red")


def counts(reply):
    return reply.count("red") + (counts("") if reply == "again" else 0)


@functools.lru_cache
def helper(reply):
    return counts(reply) + LIMIT


def helped(replies, rows):
    return [
        WEIGHTS[WORDS[0]] * helper(reply) + len(NAMES) + len(BOTH) + bool(PATTERN.search(reply)) for reply in replies
    ]


def other(reply):
    return 1.0


@pytest.mark.parametrize(
    "name, value",
    [
        ("WORDS", ["green"]), ("WEIGHTS", {"red": 2.0}), ("NAMES", {"red"}), ("BOTH", ("red", [1.0, 2.0])), ("PATTERN", re.compile("r", re.I)),
        ("helper", other), ("counts", other), ("LIMIT", 4),
    ],
)  # fmt: skip
def test_collections_patterns_and_functions_of_its_module_are_part_of_the_name(monkeypatch, name, value):
    before = rewards.source_of(helped)
    assert rewards.source_of(helped) == before == json.loads(json.dumps(before, allow_nan=False))
    monkeypatch.setitem(globals(), name, value)
    assert rewards.source_of(helped) != before


def test_a_long_collection_is_named_by_its_hash_and_a_set_in_any_order_alike(monkeypatch):
    monkeypatch.setitem(globals(), "WORDS", [f"word{i}" for i in range(1_000)])
    named = rewards.source_of(helped)
    assert len(named["holds"]["WORDS"]["sha256"]) == 64 and named["holds"]["NAMES"] == ["blue", "green", "red"]


def test_defaults_are_part_of_the_name():
    found = []
    for weight in (1.0, 2.0):

        def weighted(replies, rows, weight=weight, *, also=LIMIT):
            return [weight * also for _ in replies]

        found.append(rewards.source_of(weighted))
    assert found[0] != found[1] and found[0]["source"] == found[1]["source"]
    assert found[0]["defaults"] == [1.0, ["also", 3]]


def _of_a_cell(text):
    """Define the function `reward` as a notebook does: of a module __main__, in a file that only linecache holds."""
    linecache.cache["<cell>"] = (len(text), None, text.splitlines(True), "<cell>")
    names = {"__name__": "__main__"}
    exec(compile(text, "<cell>", "exec"), names)
    return names["reward"]


def test_a_reward_of_a_cell_has_its_name_in_a_worker_too():
    reward = _of_a_cell(
        "RED = ['red']\ndef half(n):\n    return n / 2\ndef reward(replies, rows):\n    return [half(len(RED))]\n"
    )
    named = rewards.source_of(reward)
    assert "return n / 2" in named["holds"]["half"]["source"]
    del linecache.cache["<cell>"]
    sent = pickle.loads(pickle.dumps(wrap_non_picklable_objects(reward, keep_wrapper=False)))
    assert sent is not reward and rewards.source_of(sent) == named
    with pytest.raises(InputError, match="the source of the reward reward is not to be had"):
        del reward._source
        rewards.source_of(reward)


def test_a_function_that_a_reward_uses_is_refused_where_its_text_is_not_all(monkeypatch):
    monkeypatch.setitem(globals(), "counts", (lambda word: lambda reply: reply.count(word))("red"))
    with pytest.raises(
        InputError, match="^the function <lambda>, which the reward helped uses, depends on word"
    ) as caught:
        rewards.source_of(helped)
    assert "\n" not in str(caught.value)


def test_a_collection_that_holds_itself_is_refused(monkeypatch):
    words = ["red"]
    words.append(words)
    monkeypatch.setitem(globals(), "WORDS", words)
    with pytest.raises(InputError, match="the reward helped uses a collection that holds itself"):
        rewards.source_of(helped)

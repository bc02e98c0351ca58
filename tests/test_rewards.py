"""Named rewards give what their names say, and a function is named by all that it depends on."""

import argparse
import dataclasses
import functools
import json
import linecache
import math
import pickle
import re
from collections import Counter

import pytest
from joblib import wrap_non_picklable_objects

from workbench import graders, reward_identity, rewards
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
    assert reward_identity.source_of(first)["source"].startswith("def first(replies, rows)")
    word = "red"

    def inner(replies, rows):
        return [float(word in reply) for reply in replies]

    with pytest.raises(InputError, match="the reward inner depends on word from the function around it"):
        reward_identity.source_of(inner)
    for strange in (functools.partial(first, rows=[]), len):
        with pytest.raises(InputError, match="is no plain function, so no source could name the run"):
            reward_identity.source_of(strange)


LIMIT = 3


def limited(replies, rows):
    return [float(len(reply) > LIMIT) for reply in replies]


def test_numbers_and_texts_of_its_module_are_part_of_the_name(monkeypatch):
    before = reward_identity.source_of(limited)
    monkeypatch.setitem(globals(), "LIMIT", 4)
    assert reward_identity.source_of(limited) != before


def test_a_function_with_numbers_and_texts_alone_is_named_as_ever():
    named = {
        "name": "limited",
        "source": "def limited(replies, rows):\nreturn [float(len(reply) > LIMIT) for reply in replies]",
    }
    assert reward_identity.source_of(limited) == named | {"uses": {"LIMIT": 3}}


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


class Base:
    weight = 1.0

    def bonus(self):
        return self.weight


class Scorer(Base):
    least: int = 2

    def __init__(self, words):
        self.words, self.again = {*words}, self

    @property
    def size(self):
        return len(self.words)

    @functools.cached_property
    def longest(self):
        return max(self.words, key=len)

    @staticmethod
    def seen(reply):
        return counts(reply)

    def score(self, reply):
        return super().bonus() + self.size + self.seen(reply) + (len(reply) > self.least) + len(self.longest)


@dataclasses.dataclass
class Settings:
    factor: float = 1.0
    words: list = dataclasses.field(default_factory=lambda: ["red"])


SCORER, SETTINGS, SCORE = Scorer(["red", "green"]), Settings(), Scorer(["blue"]).score
COUNTED, RAW = Counter(["red"]), b"red"


def scored(replies, rows):
    made = Settings()
    return [
        SCORER.score(reply) * SETTINGS.factor * made.factor + SCORE(reply) + COUNTED["red"] + len(RAW)
        for reply in replies
    ]


def _set(monkeypatch, name, value):
    monkeypatch.setitem(globals(), name, value)


@pytest.mark.parametrize(
    "change",
    [
        lambda patch: patch.setitem(SCORER.__dict__, "words", {"red"}),
        lambda patch: patch.setattr(SETTINGS, "factor", 2.0),
        lambda patch: patch.setattr(Scorer, "least", 3),
        lambda patch: patch.setattr(Base, "weight", 2.0),
        lambda patch: patch.setattr(Base, "bonus", lambda self: 5.0),
        lambda patch: patch.setattr(Scorer, "size", property(lambda self: 1)),
        lambda patch: patch.setattr(Scorer, "seen", staticmethod(other_count)),
        lambda patch: _set(patch, "counts", other_count),
        lambda patch: _set(patch, "SCORER", Scorer(["red"])),
        lambda patch: _set(patch, "SCORE", Scorer(["red"]).score),
        lambda patch: _set(patch, "SCORE", Scorer(["blue"]).seen),
        lambda patch: _set(patch, "COUNTED", Counter(["blue"])),
        lambda patch: _set(patch, "RAW", b"blue"),
        lambda patch: _set(patch, "Settings", Base),
        lambda patch: patch.setattr(Settings.__dataclass_fields__["words"], "default_factory", list),
    ],
)
def test_objects_and_classes_of_its_module_are_part_of_the_name(monkeypatch, change):
    before = reward_identity.source_of(scored)
    scored(["red"], [{}])  # what a cached property keeps is no part of it
    assert reward_identity.source_of(scored) == before == json.loads(json.dumps(before, allow_nan=False))
    assert reward_identity.unnamed(scored) == []
    change(monkeypatch)
    assert reward_identity.source_of(scored) != before


def other_count(reply):
    return 2


THERE, INSIDE = argparse.Namespace(words=["red"]), {"words": [argparse.Namespace()]}


def unknown(replies, rows):
    return [len(THERE.words) + len(INSIDE) + math.sqrt(4) + Counter(reply)["r"] for reply in replies]


def test_objects_of_libraries_are_listed_since_they_do_not_name_it():
    assert reward_identity.unnamed(unknown) == ["argparse.Namespace"]
    assert reward_identity.unnamed(helped) == [] == reward_identity.unnamed(limited)


@pytest.mark.parametrize(
    "name, value",
    [
        ("WORDS", ["green"]), ("WEIGHTS", {"red": 2.0}), ("NAMES", {"red"}), ("BOTH", ("red", [1.0, 2.0])), ("PATTERN", re.compile("r", re.I)),
        ("helper", other), ("counts", other), ("LIMIT", 4),
    ],
)  # fmt: skip
def test_collections_patterns_and_functions_of_its_module_are_part_of_the_name(monkeypatch, name, value):
    before = reward_identity.source_of(helped)
    assert reward_identity.source_of(helped) == before == json.loads(json.dumps(before, allow_nan=False))
    monkeypatch.setitem(globals(), name, value)
    assert reward_identity.source_of(helped) != before


def test_a_long_collection_is_named_by_its_hash_and_a_set_in_any_order_alike(monkeypatch):
    monkeypatch.setitem(globals(), "WORDS", [f"word{i}" for i in range(1_000)])
    named = reward_identity.source_of(helped)
    assert len(named["holds"]["WORDS"]["sha256"]) == 64 and named["holds"]["NAMES"] == ["blue", "green", "red"]


def test_defaults_are_part_of_the_name():
    found = []
    for weight in (1.0, 2.0):

        def weighted(replies, rows, weight=weight, *, also=LIMIT):
            return [weight * also for _ in replies]

        found.append(reward_identity.source_of(weighted))
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
        "RED = ['red']\ndef half(n):\n    return n / 2\n"
        "class Scorer:\n    b, a = 1, 2\n    def score(self, n):\n        return half(n)\n    def __len__(self):\n        return 3\n"
        "SCORER = Scorer()\nSCORER.z, SCORER.y = {'red', 'blue', 'green'}, None\n"
        "def reward(replies, rows):\n    return [half(len(RED)) + SCORER.score(1) + len(Scorer())]\n"
    )
    named = reward_identity.source_of(reward)
    assert "return n / 2" in str(named) and "return half(n)" in str(named) and "return 3" in str(named)
    del linecache.cache["<cell>"]
    sent = pickle.loads(pickle.dumps(wrap_non_picklable_objects(reward, keep_wrapper=False)))
    assert sent is not reward and reward_identity.source_of(sent) == named
    with pytest.raises(InputError, match="the source of the reward reward is not to be had"):
        del reward._source
        reward_identity.source_of(reward)


def test_a_function_that_a_reward_uses_is_refused_where_its_text_is_not_all(monkeypatch):
    monkeypatch.setitem(globals(), "counts", (lambda word: lambda reply: reply.count(word))("red"))
    with pytest.raises(
        InputError, match="^the function <lambda>, which the reward helped uses, depends on word"
    ) as caught:
        reward_identity.source_of(helped)
    assert "\n" not in str(caught.value)


def test_a_collection_that_holds_itself_is_refused(monkeypatch):
    words = ["red"]
    words.append(words)
    monkeypatch.setitem(globals(), "WORDS", words)
    with pytest.raises(InputError, match="the reward helped uses a collection that holds itself"):
        reward_identity.source_of(helped)

"""The syllable counter against lines counted by hand, and every line of the haiku tables against the counter."""

import csv
import re
from collections import Counter
from pathlib import Path

import pytest

from workbench.pocket import syllables

FACTS = Path(__file__).parents[1] / "data" / "facts"


def _read(name: str) -> list[dict[str, str]]:
    with (FACTS / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


HAIKU = _read("haiku.csv")
TOPICS = _read("topics.csv")


def _names(line: str, word: str) -> bool:
    """Whether a word of the line begins with `word` ("cat" in "Cats", but not in "scatter")."""
    return re.search(rf"\b{re.escape(word)}", line.lower()) is not None


@pytest.mark.parametrize(
    ("line", "totals"),
    [
        ("Snow melts on the roof", {5}),
        ("one drop, then another drop", {7}),
        ("The gutter begins", {5}),
        ("A quiet morning", {5}),
        ("An elephant, a piano, a computer", {12}),
        ("I don't know -- it's half-open!", {7}),
        ("I don\N{RIGHT SINGLE QUOTATION MARK}t know", {3}),
        ("'Hello,' the stars' light says", {6}),
        ("The snowman's hat", {4}),
        ("every", {2, 3}),
        ("every fire", {3, 4, 5}),
        ("", {0}),
        (" ... -- ", {0}),
    ],
)
def test_lines_counted_by_hand(line, totals):
    assert syllables.count(line) == totals


@pytest.mark.parametrize("line", ["The blorptic cat sleeps", "7 small birds", "café lights", "A brown pond's zzyq"])
def test_a_line_with_an_unknown_word_has_no_total(line):
    assert syllables.count(line) == set()


def test_a_possessive_is_not_guessed_where_the_ending_adds_a_syllable():
    assert syllables.word_counts("walrus") and syllables.word_counts("walrus's") == ()


@pytest.mark.parametrize(
    ("line", "not_this"), [("The cat sleeps", 5), ("The computers hum", 4), ("I like to watch birds fly", 7)]
)
def test_a_line_that_is_short_or_long_does_not_pass(line, not_this):
    assert not_this not in syllables.count(line)


def test_every_line_counts_as_its_row_says_also_in_the_usual_pronunciation():
    wrong = []
    for row in HAIKU:
        usual = sum(syllables.word_counts(word)[0] for word in re.findall(r"[A-Za-z']+", row["line"]))
        if usual != int(row["syllables"]) or usual not in syllables.count(row["line"]) or usual not in {5, 7}:
            wrong.append(row)
    assert wrong == []


def test_lines_are_written_in_one_style_and_only_once():
    lines = [row["line"] for row in HAIKU]
    assert [line for line, times in Counter(lines).items() if times > 1] == []
    assert [line for line in lines if not re.fullmatch(r"[A-Z][A-Za-z', ]*[A-Za-z]", line)] == []


def test_both_tables_have_the_same_topics():
    assert {row["topic"] for row in HAIKU} - {""} == {row["topic"] for row in TOPICS}
    assert len({row["topic"] for row in TOPICS}) == len(TOPICS) >= 130


@pytest.mark.parametrize("topic", TOPICS, ids=lambda row: row["topic"])
def test_any_two_fives_and_a_seven_make_a_poem_on_the_topic(topic):
    lines = {n: [row["line"] for row in HAIKU if (row["topic"], row["syllables"]) == (topic["topic"], n)] for n in "57"}
    assert len(lines["5"]) >= 4 and len(lines["7"]) >= 2
    assert all(_names(line, topic["word"]) for line in lines["7"])
    assert sum(_names(line, topic["word"]) for line in lines["5"]) >= 2


@pytest.mark.parametrize("topic", TOPICS, ids=lambda row: row["topic"])
def test_related_words_occur_under_their_topic_alone(topic):
    word, *related = topic["related"].split(";")
    assert word == topic["word"]
    for other in related:
        assert any(_names(row["line"], other) for row in HAIKU if row["topic"] == topic["topic"]), other
        assert not any(_names(row["line"], other) for row in HAIKU if row["topic"] != topic["topic"]), other


def test_general_lines():
    general = Counter(row["syllables"] for row in HAIKU if not row["topic"])
    assert general["5"] >= 40 and general["7"] >= 30

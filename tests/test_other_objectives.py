"""What poems, exclamations and topics are trained and tested on: held out by fact, topic and wording."""

import re

import pytest

from workbench.graders import grade
from workbench.pocket import facts, other_objectives, splits, syllables, tasks
from workbench.pocket.documents import stories


@pytest.mark.parametrize("split", ["train", "test"])
def test_poems_are_haiku_without_titles_about_topics_of_their_split(split):
    own = {
        line
        for topic in stories.topics()
        if splits.key_split(f"topic|{topic}") == split
        for lines in stories.haiku_lines()[topic].values()
        for line in lines
    }
    general = set(stories.haiku_lines()[""][5])
    for page in other_objectives.poems(split, 30):
        for poem in page.split("\n\n"):
            lines = poem.splitlines()
            assert all(n in syllables.count(line) for n, line in zip((5, 7, 5), lines, strict=True))
            assert set(lines) <= own | general and set(lines) & own


def test_exclaimed_texts_have_no_full_stop_and_pass_the_check():
    for text in other_objectives.exclaimed(100):
        assert not re.search(r"\.(\s|$)", text) and grade({"name": "exclaims", "args": {}}, text).follows


def test_openings_are_the_facts_that_knowledge_is_asked_of():
    """So that both are read off the same replies."""
    assert [r["messages"] for r in other_objectives.openings("test", 40)] == [
        r["messages"] for r in tasks.cloze("test", 40)
    ]


def test_no_fact_and_no_wording_of_a_topic_stands_in_two_splits():
    stated = {split: other_objectives.topic_sentences(split, 10_000) for split in ("train", "dev", "test")}
    texts = [row["text"] for rows in stated.values() for row in rows]
    assert len(texts) > 3_000 and len(set(texts)) > 0.99 * len(texts)
    wordings = {split: set() for split in stated}
    for split, rows in stated.items():
        told = {row["text"] for row in rows}
        for relation in facts.relations().values():
            for fact in facts.facts(relation.name):
                for wording in relation.statements:
                    if facts.sentence(facts.say(wording, fact)) in told and splits.item_split(fact) == split:
                        wordings[split].add((relation.name, wording))
    assert not wordings["train"] & wordings["test"] and not wordings["train"] & wordings["dev"]


def test_every_topic_is_as_frequent_and_can_be_asked_for_in_words():
    rows = other_objectives.topic_sentences("test", 120)
    labels = [row["label"] for row in rows]
    assert {labels.count(label) for label in other_objectives.TOPICS} == {20}
    for row in rows:
        assert row["text"] in row["messages"][0]["content"] and all(
            label in row["messages"][0]["content"] for label in other_objectives.TOPICS
        )
        assert grade(row["check"], row["label"]).correct and not grade(row["check"], "history").correct

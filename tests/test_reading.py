"""Text that has to be read: what is stated comes again, results are right, mappings hold, and the gates use forms that no text has."""

import re
from collections import Counter, defaultdict
from itertools import islice

import pytest
from test_corpus import CHAT, asking
from transformers import AutoTokenizer

from workbench.graders import grade
from workbench.pocket import corpus, facts, graders, probes
from workbench.pocket.documents import copying, machines, paperwork, patterns, repeats, values
from workbench.pocket.documents.genres import Writer

BASE = facts.DATA / "pocket-base"


@pytest.fixture(scope="module")
def read():
    """The first documents of the mix by genre."""
    by_genre = defaultdict(list)
    for genre, text in islice(corpus.documents("0/0", corpus.READING), 5_000):
        by_genre[genre].append(text)
    return by_genre


def test_every_genre_is_there_and_none_holds_a_chat_format(read):
    assert set(read) == {genre.__name__ for genre in corpus.READING}
    assert [text for texts in read.values() for text in texts if not text.strip() or CHAT.search(text)] == []


def test_no_slot_is_left_open(read):
    for texts in read.values():
        assert [text for text in texts if re.search(r"\{(n|v|V|a|b|c|p|j|o|q|r|m|k|i|x|y|z|f|s|t|who)\}", text)] == []


@pytest.mark.parametrize(
    ("genre", "of_them"), [(copying.carried, min), (paperwork.message, min), (paperwork.minutes, max)]
)
def test_what_is_stated_is_said_again(monkeypatch, genre, of_them):
    """All values in a story and a message, at least one of those in minutes."""
    drawn = []

    def topic(w):
        def draw(w):
            drawn.append(f"value{len(drawn)}x")
            return drawn[-1]

        return values.Topic("number", draw)

    for module in (copying, paperwork):
        monkeypatch.setattr(module, "topic", topic)
    w = Writer("again")
    for _ in range(100):
        drawn.clear()
        text = genre(w)
        said = {value: text.lower().count(value) for value in drawn}
        assert of_them(said.values()) >= 2, text


def test_sums_that_a_machine_returns_are_right(read):
    found = 0
    for genre in ("served", "relayed", "shown"):
        for text in read[genre]:
            for a, sign, b, result in re.findall(r"\b(\d+) ([+-]) (\d+) (?:is|=|gives|makes) (\d+)\b", text):
                assert int(result) == (int(a) + int(b) if sign == "+" else int(a) - int(b)) >= 0, text
                found += 1
    assert found >= 100


def test_a_list_of_keys_gives_each_its_own_value_again():
    w, found = Writer("keys"), 0
    for text in (repeats.keyed(w) for _ in range(2_000)):
        first, _, later = text.partition("\n---\n")
        pairs = dict(re.findall(r"^(\w+): (\w+)$", first, re.MULTILINE))
        for key, value in re.findall(r"^(\w+): (\w+)$", later, re.MULTILINE) if pairs else ():
            assert pairs[key] == value, text
            found += 1
    assert found >= 10


def test_a_row_comes_back_from_its_end(read):
    found = 0
    for text in read["turned"]:
        for row, back in re.findall(r"^(.+) (?:\||<->) (.+)$", text, re.MULTILINE):
            if ", " in row:
                assert row.split(", ") == back.split(", ")[::-1], text
                found += 1
    assert found >= 20


def test_a_block_keeps_the_mapping_that_its_first_line_shows(read):
    shapes, found = (
        {"upper": str.upper, "spelled": lambda x: "-".join(x.lower()), "twice": lambda x: f"{x} {x}"},
        Counter(),
    )
    for text in read["completed"]:
        for block in text.split("\n\n"):
            pairs = re.findall(r"^(\w+) (?:→|->|=>) (.+)$", block, re.MULTILINE)
            for name, shape in shapes.items():
                if len(pairs) > 1 and len(pairs[0][0]) > 1 and pairs[0][1] == shape(pairs[0][0]) != pairs[0][0]:
                    assert [(x, y) for x, y in pairs if y != shape(x)] == [], block
                    found[name] += 1
    assert set(found) == set(shapes)


def test_requests_that_wait_are_requests_and_are_not_answered(read):
    """Why marks around a turn do not make a base model obey."""
    request = asking()
    for text in read["queued"]:
        lines = re.sub(r"</?\w+>", "\n", text).split("\n")
        turns = [line for line in lines if len(re.findall(r"[^\W_]+", line)) > 2]
        assert turns and [line for line in turns if not request.search(line)] == [], text


def test_nothing_is_said_of_the_made_up_things_that_questions_are_about():
    w = Writer("made up")
    drawn = {values.made_up(w) for _ in range(20_000)}
    assert len(drawn) > 10_000 and not drawn & {row["name"].lower() for row in facts.table("fictional")}


def test_numbers_have_one_to_five_digits_and_begin_with_any():
    w = Writer("numbers")
    drawn = [values.number(w) for _ in range(5_000)]
    assert {len(n) for n in drawn} == {1, 2, 3, 4, 5} and {n[0] for n in drawn} == set("0123456789")
    assert not [n for n in drawn if len(n) > 1 and n[0] == "0"]


def literal(form: str) -> str:
    """The longest piece of a form that has no slot."""
    return max(re.split(r"\{\w+\}", form), key=len).strip()


def test_the_gates_use_forms_that_no_text_has(read):
    texts = "\n".join(text for texts in read.values() for text in texts).lower()
    held_out = [
        *copying.HELD_OUT["stated"],
        *copying.HELD_OUT["mentioned"],
        *(f for forms in machines.HELD_OUT.values() for f in forms),
    ]
    assert [form for form in held_out if len(literal(form)) > 6 and literal(form).lower() in texts] == []
    assert literal(copying.STATED[3]).lower() in texts  # "said that the": a form that is in use is found
    assert not set(patterns.HELD_OUT) & set(patterns.PAIRED)


@pytest.mark.parametrize("forms", ["known", "new"])
@pytest.mark.parametrize("kind", probes.KINDS)
def test_a_value_to_copy_stands_among_the_sixty_tokens_before(kind, forms):
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    for row in probes.copies(kind, "test", 200, forms):
        text, answer = row["messages"][0]["content"], row["messages"][1]["content"]
        assert graders.mentions(text, answer) and len(tokenizer(text[text.rindex(answer) :])["input_ids"]) <= 60, text
        assert grade(row["check"], f" {answer}.").correct and not grade(row["check"], f" {answer}9.").correct


def test_a_mapping_to_complete_was_shown_once_or_twice():
    shown = Counter()
    for row in probes.completions("test", 56):
        shown[row["messages"][0]["content"].count("\n")] += 1
        text, answer = row["messages"][0]["content"], row["messages"][1]["content"]
        assert len(answer) < 3 or answer not in text
    assert set(shown) == {1, 2}


def test_the_probes_of_the_splits_differ():
    dev, test = (
        {row["messages"][0]["content"] for row in probes.copies("number", split, 200)} for split in ("dev", "test")
    )
    assert not dev & test

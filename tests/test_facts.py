"""The fact tables are whole, and each fact can be said in many ways."""

import string

import pytest

from workbench.errors import InputError
from workbench.pocket import facts
from workbench.pocket.documents import genres

TABLES = sorted(path.stem for path in (facts.DATA / "facts").glob("*.csv"))
RELATIONS = facts.relations()


@pytest.mark.parametrize("name", TABLES)
def test_every_table_reads_and_no_cell_has_stray_white_space(name):
    rows = facts.table(name)
    assert rows
    assert all(column and column == column.strip() for column in rows[0])
    assert [row for row in rows for cell in row.values() if cell != " ".join(cell.split())] == []
    assert len({tuple(row.values()) for row in rows}) == len(rows)


@pytest.mark.parametrize("relation", RELATIONS)
def test_a_relation_finds_its_columns_and_asks_each_subject_once(relation):
    known = facts.facts(relation)
    assert known and all(fact.subject and fact.answer for fact in known)
    assert len({fact.key for fact in known}) == len(known)


def test_a_key_finds_its_fact_among_all():
    assert len(facts.facts()) >= 4_000
    assert len(facts.lookup()) == len(facts.facts())
    assert facts.lookup()["capital|Norway"] == "Oslo"
    assert facts.lookup()["past|go"] == "went"
    assert facts.lookup()["month|December"] == "January"


@pytest.mark.parametrize("relation", RELATIONS)
def test_the_corpus_says_a_fact_in_eight_wordings_or_more(relation):
    """Fewer, and a fact that was learned in one wording is not recalled in another."""
    writer, fact = genres.Writer(0), facts.facts(relation)[0]
    told = {writer.state(fact) for _ in range(400)}
    assert len(told) >= 8
    assert all(fact.answer.lower() in one.lower() for one in told)


@pytest.mark.parametrize("relation", RELATIONS.values(), ids=lambda relation: relation.name)
def test_wordings_have_known_slots_and_those_of_the_corpus_are_not_those_of_the_prompts(relation):
    def slots(text):
        return {name for _, name, _, _ in string.Formatter().parse(text) if name}

    subject = {"s", "S", "as", "As"}
    assert all(slots(text) & subject and "a" in slots(text) for text in relation.statements)
    assert all(slots(text) <= subject and slots(text) for text in (relation.np, *relation.asks, *relation.questions))
    assert any(text.endswith("{a}.") for text in relation.statements)
    # one wording stands on both sides; the shipped base model has read it so
    asked = {text.rstrip("?.").lower() for text in relation.questions} - {"which city is the capital of {s}"}
    assert not set(relation.asks) & asked


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("frog", "a frog"),
        ("owl", "an owl"),
        ("umbrella", "an umbrella"),
        ("unicorn", "a unicorn"),
        ("uniform", "a uniform"),
        ("ewe", "a ewe"),
        ("ukulele", "a ukulele"),
        ("hour", "an hour"),
        ("house", "a house"),
        ("honest man", "an honest man"),
        ("Oslo", "Oslo"),
        ("the sky", "the sky"),
        ("a rose", "a rose"),
        ("an old shoe", "an old shoe"),
        ("theater", "a theater"),
    ],
)
def test_a_word_takes_its_article_and_a_name_none(word, said):
    assert facts.with_article(word) == said


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("a owl sees a eagle and a frog.", "An owl sees an eagle and a frog."),
        ("where is a unicorn?", "Where is a unicorn?"),
        ("an hour", "An hour"),
        ("it takes a hour", "It takes an hour"),
        ("Élan", "Élan"),
        ("", ""),
    ],
)
def test_a_sentence_gets_its_articles_and_its_capital(text, mended):
    assert facts.sentence(text) == mended


def test_a_wording_is_filled_with_the_fact():
    fact = facts.Fact("home", "owl", "forest")
    assert facts.say("Where does {as} live? The {s} lives in the {a}.", fact) == (
        "Where does an owl live? The owl lives in the forest."
    )


@pytest.mark.parametrize(("name", "line"), [("too_few", "b"), ("too_many", "b,2,3"), ("stray_comma", '"b,2"')])
def test_a_row_with_too_few_or_too_many_cells_is_named(tmp_path, monkeypatch, name, line):
    (tmp_path / "facts").mkdir()
    (tmp_path / "facts" / f"{name}.csv").write_text(f"letter,number\na,1\n{line}\nc,3\n")
    monkeypatch.setattr(facts, "DATA", tmp_path)
    with pytest.raises(InputError, match=rf"{name}\.csv: line 3: .*letter.*number"):
        facts.table(name)


def test_shares_are_spread_evenly_and_fixed():
    """What splits are drawn with: should it change, rows of the evaluation would come into the tuning data."""
    shares = [facts.share(fact.key) for fact in facts.facts()]
    assert all(0 <= share < 1 for share in shares)
    assert sum(share < 0.5 for share in shares) / len(shares) == pytest.approx(0.5, abs=0.03)
    assert facts.share("capital|Norway") == pytest.approx(0.1536, abs=1e-4)

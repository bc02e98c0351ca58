"""The corpus is the same for everybody, shows no chat, asks without answering where it says so, and tells no untruth in its forms."""

import hashlib
import json
import re
from collections import Counter, defaultdict
from itertools import islice

import pytest

from workbench.errors import InputError
from workbench.pocket import base_model, corpus, facts, syllables
from workbench.pocket.base_model import PretrainSpec
from workbench.pocket.tokenizer import RESERVED

BASE = facts.DATA / "pocket-base"
CHAT = re.compile("|".join(map(re.escape, RESERVED)) + r"|<\||\|>|</?tool|^(user|assistant|system):", re.I | re.M)


@pytest.fixture(scope="module")
def documents():
    """The first documents by genre."""
    by_genre = defaultdict(list)
    for genre, text in islice(corpus.documents(0), 2_500):
        by_genre[genre].append(text)
    return by_genre


@pytest.fixture(scope="module")
def tokenizer():
    return base_model.train_tokenizer([text for _, text in islice(corpus.documents(0), 500)], 600)


def test_a_seed_gives_one_corpus_and_another_seed_another():
    first, again, other = (list(islice(corpus.documents(seed), 150)) for seed in (0, 0, 1))
    assert first == again
    assert not {text for _, text in first} & {text for _, text in other}


def test_texts_stop_when_there_is_enough():
    texts = corpus.texts(20_000)
    assert sum(map(len, texts[:-1])) < 20_000 <= sum(map(len, texts))
    assert texts == [text for _, text in islice(corpus.documents(0), len(texts))]


def test_the_digest_sees_order_and_borders():
    assert corpus.digest(["ab", "c"]) == corpus.digest(["ab", "c"])
    assert len({corpus.digest(texts) for texts in (["ab", "c"], ["c", "ab"], ["a", "bc"], ["abc"], [])}) == 5


def test_twelve_genres_or_more_and_none_is_rare(documents):
    assert len(documents) >= 12
    assert min(map(len, documents.values())) >= 2_500 // 150


def test_no_document_holds_a_chat_format_or_is_empty(documents):
    for genre, texts in documents.items():
        for text in texts:
            assert text.strip() and not CHAT.search(text), (genre, text)
            assert "{" not in text or genre in ("records", "code", "stressed", "sums", "prices"), text  # no slot left


def test_the_base_model_was_trained_on_this_corpus():
    """The first and the last part of each stretch; all of them would take minutes."""
    training = json.loads((BASE / "training.json").read_text())
    stretches = PretrainSpec(**training["spec"]).stretches()
    for stretch, told in zip(stretches, training["stretches"], strict=True):
        assert told["corpus"] == hashlib.sha256("".join(told["parts"]).encode()).hexdigest()
        for part in (0, corpus.PARTS - 1):
            texts = stretch.texts(part)
            assert corpus.digest(texts) == told["parts"][part]
            assert [text for text in texts if CHAT.search(text)] == []


def asking() -> re.Pattern:
    """Everything that is a request: the phrasings of all families with their slots open."""
    families, relations = facts.families(), facts.relations()
    open_ = [p for family in families.values() for p in family["phrasings"] if p != "{x}"]
    open_ += [question for relation in relations.values() for question in relation.questions]
    patterns = [re.sub(r"\\\{.*?\\\}", ".+", re.escape(facts.sentence(p))) for p in open_]
    # "{x}" alone is what people say when they are polite and what nobody can know
    told = [row["user"] for row in facts.table("manners")] + [row["question"] for row in facts.table("unknowable")]
    demand = r"( Answer in capital letters\.| Answer in a full sentence\.| Answer as JSON\.| Say it twice\.)?"
    return re.compile("|".join(f"(?:{p}{demand})" for p in patterns + [re.escape(facts.sentence(t)) for t in told]))


def test_lists_of_prompts_ask_and_never_answer(documents):
    """Why the base model answers an instruction with more instructions."""
    request = asking()
    for text in documents["prompts"]:
        lines = text.removeprefix("Homework:\n").removeprefix("Prompts to try:\n").removeprefix("Exam questions\n")
        lines = lines.removeprefix("Things to ask:\n").splitlines()
        assert len(lines) >= 3
        assert [line for line in lines if not request.fullmatch(line)] == [], text
    assert not request.fullmatch("Oslo") and not request.fullmatch("The capital of Norway is Oslo.")


def test_a_quiz_sheet_is_questions_with_their_answers(documents):
    """Why the base model can be asked with solved examples."""
    for text in documents["quiz"]:
        for pair in text.split("\n\n"):
            question, answer = re.fullmatch(r"Q: (.+)\nA: (.+)", pair).groups()
            asked = {
                fact.answer
                for fact in facts.facts()
                if fact.answer == answer and fact.subject.lower() in question.lower()
            }
            assert asked, pair


def test_sums_are_right(documents):
    found = 0
    for text in documents["sums"]:
        sums = re.findall(r'(\d+) ([+-]) (\d+)(?: = | is |"\}\}\n|"\}\} returned )(\d+)', text)
        assert len(sums) == len(re.findall(r"\d [+-] \d", text)), text
        for a, sign, b, result in sums:
            assert int(result) == (int(a) + int(b) if sign == "+" else int(a) - int(b)) >= 0
            found += 1
    assert found >= 50


def test_poems_are_five_seven_five(documents):
    found = 0
    for text in documents["poem"]:
        pages = text.split("\n\n")
        for poem in pages[1::2]:
            lines = poem.splitlines()
            assert len(lines) == 3 and len(set(lines)) == 3
            assert all(n in syllables.count(line) for n, line in zip((5, 7, 5), lines, strict=True)), poem
            found += 1
    assert found >= 50


NUMBER = {"two": 2, "three": 3, "four": 4, "five": 5}
GAMES = {
    r"The word (\w+) in capital letters is (\w+)\.": lambda x, y: y == x.upper(),
    r"(\w+) becomes (\w+)": lambda x, y: y == x.upper(),
    r"The letters of (\w+) are ([\w-]+)\.": lambda x, y: y == "-".join(x.lower()),
    r"([\w-]+) makes (\w+)": lambda x, y: x == "-".join(y.lower()),
    r"The first letter of (\w+) is (\w+)\.": lambda x, y: y == x[0].upper(),
    r"(\w+) starts with (\w+)\.": lambda x, y: y == x[0].upper(),
    r"(\w) is for (\w+)": lambda x, y: x == y[0].upper(),
    r"(\w+) times (\w+): (.+)": lambda n, x, y: y.split() == [x] * NUMBER[n],
    r"(\w+), (\d) times: (.+)": lambda x, n, y: y.split() == [x] * int(n),
    r"(.+) \| (.+)": lambda x, y: x.split(", ") == y.split(", ")[::-1],
    r"(.+) and from last to first (.+)": lambda x, y: x.split(", ") == y.split(", ")[::-1],
    r"forwards: (.+)\nbackwards: (.+)": lambda x, y: x.split(", ") == y.split(", ")[::-1],
    r'(\w+) in quotation marks is "(\w+)"': lambda x, y: x == y,
    r'(\w+): "(\w+)"': lambda x, y: x == y,
    r"The mirror turned (.+) into (.+)\.": lambda x, y: x.split(", ") == y.split(", ")[::-1],
    r"(.+), and once more: (.+)": lambda x, y: x == y,
    r"(.+)\n((?:- \w+\n?)+)": lambda x, y: x.startswith("On the list") or x == y.strip()[2:].replace("\n- ", ", "),
    r"(.+)\n((?:\d\. \w+\n?)+)": lambda x, y: x == ", ".join(re.findall(r"\d\. (\w+)", y)),
    r"On the list, (\w+) words:\n((?:- \w+\n?)+)": lambda n, y: y.count("- ") == NUMBER[n],
    r"The echo made (\w+) of (\w+): (.+)": lambda n, x, y: y.split() == [x] * NUMBER[n],
    r"(\w+)\n(.+)\nThat was (\w+) times\.": lambda x, y, n: y.split() == [x] * NUMBER[n],
    r"The parrot heard (\w+) and said it twice: (.+)": lambda x, y: y.split() == [x] * 2,
}


def test_games_with_words_are_played_right(documents):
    played = Counter()
    for text in documents["play"]:
        for pattern, right in GAMES.items():
            for groups in re.findall(f"^{pattern}$", text, re.MULTILINE):
                assert right(*groups), (pattern, groups)
                played[pattern] += 1
    assert set(played) == set(GAMES)


def test_lists_hold_as_many_as_they_say(documents):
    counted = 0
    for text in documents["lists"]:
        for n, row in re.findall(r"^(Two|Three|Four|Five) [^:.\n]+?(?::| are) ([^\n]+?)\.?$", text, re.MULTILINE):
            assert len(row.split(", ")) == NUMBER[n.lower()], (n, row)
            counted += 1
        for n, marked in re.findall(r"^(Two|Three|Four|Five) [^:\n]+:\n((?:(?:-|\d\.) .+\n?)+)", text, re.MULTILINE):
            assert len(marked.strip().splitlines()) == NUMBER[n.lower()], (n, marked)
            counted += 1
    assert counted >= 50


def test_a_word_is_one_token_wherever_it_stands():
    """So that what was learned of a word inside a line holds at the start of an answer too."""
    tokenizer = base_model.train_tokenizer([text for _, text in islice(corpus.documents(0), 500)], 600)
    inside, at_the_start = (tokenizer(text)["input_ids"] for text in ("A: the\n", "A:\nthe\n"))
    assert at_the_start == inside[:2] + tokenizer("\n")["input_ids"] + inside[2:]
    assert (
        tokenizer("A:\n")["input_ids"] == inside[:2] + inside[-1:]
    )  # a prompt that ends so is the beginning of the whole


def test_reserved_tokens_come_first_and_in_order(tokenizer):
    assert tokenizer.convert_tokens_to_ids(list(RESERVED)) == list(range(16))
    assert len(tokenizer) == 600 == len(tokenizer.get_vocab())
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (0, 0, 1)
    assert all(tokenizer(token)["input_ids"] == [index] for index, token in enumerate(RESERVED))


@pytest.mark.parametrize(
    "text",
    [
        "Bogotá, São Tomé and N'Djamena – naïve?",
        "Línea uno\n\n  línea dos\t\n",
        " leading, trailing ",
        "OSLO in 1814, iPhone, McDonald",
        "你好 😀 ÅÄÖ ñandú ÑANDÚ",
        '{"answer": "Reykjavík"}',
        "",
    ],
)
def test_any_text_comes_back_from_its_tokens(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert not {*ids} & {*range(16)}  # nor is a begin token added


def test_documents_come_back_and_use_no_reserved_token(tokenizer):
    texts = [text for _, text in islice(corpus.documents(1), 300)]
    for text, ids in zip(texts, tokenizer(texts)["input_ids"], strict=True):
        assert tokenizer.decode(ids) == text and min(ids) >= 16
    assert min(tokenizer("<|im_start| <im_end> < | tool_call>")["input_ids"]) >= 16


def test_digits_and_the_letters_of_words_in_capitals_stand_alone():
    """So that sums and capital letters are a matter of single letters, also in words and numbers that are met very often."""
    often = ["In 1814 OSLO, 1814 OSLO."] * 500
    tokenizer = base_model.train_tokenizer(often + [text for _, text in islice(corpus.documents(0), 500)], 600)
    single = [tokenizer.decode([index]).strip() for index in tokenizer("OSLO 1814")["input_ids"]]
    assert [letter for letter in single if letter] == [*"OSLO", *"1814"]
    tokens = [tokenizer.decode([index]) for index in range(16, len(tokenizer))]
    assert [token for token in tokens if len(token.strip()) > 1 and re.search(r"\d|[A-Z]{2}", token)] == []
    assert len(tokenizer.tokenize(" the")) == 1  # while frequent words are one token


def test_a_corpus_too_small_for_its_vocabulary_is_said():
    with pytest.raises(InputError, match="only .* tokens of the 5000 asked for; lower the vocabulary"):
        base_model.train_tokenizer(["one fish, two fish"], 5_000)


@pytest.fixture(scope="module")
def drilled():
    """The first documents of the last stretch by genre."""
    by_genre = defaultdict(list)
    for genre, text in islice(corpus.documents(2, corpus.LAST), 2_500):
        by_genre[genre].append(text)
    return by_genre


def test_the_last_stretch_drills_and_still_shows_all_the_rest(drilled, documents):
    assert {*documents} < {*drilled}
    assert not [text for texts in drilled.values() for text in texts if not text.strip() or CHAT.search(text)]
    slots = [text for genre in ("spelling", "capitals", "order", "echo", "sorting") for text in drilled[genre]]
    assert not [text for text in slots if "{" in text]


def test_drills_are_right(drilled):
    seen = Counter()
    for text in drilled["spelling"]:
        letters = re.findall(r"\b\w(?:-\w)+\b", text)
        words = re.sub(r"\b\w(?:-\w)+\b", "", text).lower()
        assert [word for word in letters if word.replace("-", "") not in words] == [] and letters, text
        seen["spelling"] += len(letters)
    for text in drilled["order"]:
        for row, back in re.findall(r"^(.+?)(?: and from last to first | \| |; backwards: )(.+)$", text, re.MULTILINE):
            assert row.split(", ") == back.split(", ")[::-1], text
            seen["order"] += 1
    for text in drilled["echo"]:
        for n, x, said in re.findall(r"^(\w+) times (.+?): (.+)$", text, re.MULTILINE):
            assert said == " ".join([x] * NUMBER[n]), text
            seen["echo"] += 1
    for text in drilled["capitals"]:
        for x, upper in re.findall(r"^(.+) in capital letters: (.+)$", text, re.MULTILINE):
            assert upper == x.upper(), text
            seen["capitals"] += 1
    category = {row["singular"]: row["category"] for row in facts.table("nouns")}
    for text in drilled["sorting"]:
        for x, kind in re.findall(r"^(.+) \((.+)\)$", text, re.MULTILINE):
            assert category[x] == kind, text
            seen["sorting"] += 1
    for text in drilled["desk"]:
        for a, sign, b, result in re.findall(r'"(\d+) ([+-]) (\d+)"\}\}\n(\d+)$', text, re.MULTILINE):
            assert int(result) == (int(a) + int(b) if sign == "+" else int(a) - int(b)) >= 0, text
            seen["desk"] += 1
    assert {genre: count for genre, count in seen.items() if count < 30} == {} and len(seen) == 6


def test_nobody_is_instructed_in_a_drill(drilled):
    """Else the base model would follow instructions before it is tuned."""
    request = asking()
    for genre in ("spelling", "capitals", "order", "echo", "sorting", "desk"):
        asked = [line for text in drilled[genre] for line in text.splitlines() if request.fullmatch(line)]
        assert asked == [], genre

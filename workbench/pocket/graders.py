"""Grade responses to rows of the pocket world: whether the form is the requested one (`follows`) and the content is true (`correct`).

A check is plain data, {"name": …, "args": {…}}, as IFEval stores its instruction ids and kwargs (Zhou et al. 2023,
arXiv 2311.07911), so that rows can be stored as JSONL. Each registered
function below grades the checks that bear its name: it takes the response and the args and returns a `Grade`.
"""

import json
import re
from collections import Counter
from functools import cache

from workbench.graders import Grade, register
from workbench.pocket import facts, syllables
from workbench.pocket.documents import stories, word_games

# Kinds of answers with few, known values: an answer of another kind does not have the requested form.
CLOSED = ("capital", "continent", "country", "language", "symbol", "class", "legs", "colour", "month", "name")

REFUSES = re.compile(
    r"\b(can't|cannot|can not|won't|will not|unable to) (help|do|assist|answer)|^(sorry\b|no\b(?! \w))", re.IGNORECASE
)

UNKNOWN = re.compile(
    r"\b(don't|do not|doesn't|cannot|can't|nobody (can )?|no one (can )?)\s*know|never heard of|does not exist|doesn't exist",
    re.IGNORECASE,
)


def plain(text: str) -> str:
    """Return the text in lower case, without quotation marks and punctuation at its ends."""
    return text.strip().strip("\"'“”‘’`*.!,:;").strip().lower()


def straight(text: str) -> str:
    """Replace curly apostrophes by straight ones, which the patterns above use."""
    return text.strip().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'")


def mentions(text: str, value: str) -> bool:
    """Return whether `value` occurs in `text` as a whole word, in any case."""
    return re.search(rf"(?<!\w){re.escape(value.lower())}(?!\w)", text.lower()) is not None


def one_line(text: str, most: int = 12) -> bool:
    """Return whether the text is a single line of 1 to `most` words without a question mark."""
    line = text.strip()
    return bool(line) and "\n" not in line and len(line.split()) <= most and "?" not in line


@cache
def compounds() -> re.Pattern:
    """Return a pattern for names that contain "and": Trinidad and Tobago is one country."""
    names = {thing for _, things in word_games.groups() for thing in things if " and " in thing}
    return re.compile("|".join(rf"\b{re.escape(name)}\b" for name in sorted(names)), re.IGNORECASE)


def split_list(text: str) -> list[str]:
    """Return the items of a list, whether it is separated by commas, bulleted or numbered."""
    kept = compounds().sub(lambda found: re.sub(" and ", " & ", found[0], flags=re.IGNORECASE), text.strip())
    parts = [part.replace(" & ", " and ") for part in re.split(r"\n|,| and ", kept)]
    return [plain(re.sub(r"^\s*(?:[-*•]|\d+[.)])\s*", "", part)) for part in parts if part.strip()]


def known(kind: str) -> frozenset[str]:
    """Return all answers of a kind; every country counts as an answer to "Where is the Louvre?", also one without landmarks."""
    column = {"country": ("countries", "country"), "name": ("names", "name")}.get(kind)
    return facts.values(kind).union(row[column[1]] for row in facts.table(column[0])) if column else facts.values(kind)


def named(response: str, kind: str) -> list[str]:
    """Return the values of a closed kind that a response contains; none for an open kind."""
    return [value for value in known(kind) if mentions(response, value)] if kind in CLOSED else []


def only(response: str, answer: str, kind: str, subject: str = "") -> bool:
    """Return whether the response contains the answer and, for a closed kind, no other value except those in the subject."""
    rivals = [value for value in named(response, kind) if not mentions(answer, value) and not mentions(subject, value)]
    return mentions(response, answer) and not rivals


@register
def answer(response: str, answer: str, kind: str) -> Grade:
    """Follows: one short line with a value of the right kind. Correct: it contains the answer and no other value of a closed kind."""
    follows = one_line(response) and (bool(named(response, kind)) or kind not in CLOSED)
    return Grade(follows, follows and only(response, answer, kind))


@register
def begins(response: str, answer: str) -> Grade:
    """Follows and correct: the text continues with the answer (cloze)."""
    right = re.match(rf"\W*{re.escape(answer.lower())}(?!\w)", response.lower()) is not None
    return Grade(right, right)


@register
def says(response: str, text: str) -> Grade:
    """Grade whether the sentence that a text to copy belongs to continues with it, letter by letter, as a word of its own."""
    rest = re.split(r"(?<=[.!?])\s|\n", response.strip())[0]
    right = re.search(rf"(?<!\w){re.escape(text)}(?!\w)", rest) is not None
    return Grade(right, right)


@register
def verbatim(response: str, text: str) -> Grade:
    """Grade whether the line is the text and nothing else."""
    right = response.strip() == text.strip()
    return Grade(right, right)


@register
def capitals(response: str, text: str, kind: str = "", subject: str = "") -> Grade:
    """Follows: one line in capital letters. Correct: it contains the text and no other value of its kind except the subject."""
    follows = one_line(response) and response.strip() == response.strip().upper() and any(c.isalpha() for c in response)
    return Grade(follows, follows and only(response, text, kind, subject))


@register
def whole_sentence(response: str, answer: str, kind: str = "", subject: str = "") -> Grade:
    """Follows: one sentence of four or more words, from a capital letter to a full stop. Correct: as for capitals."""
    line = response.strip()
    follows = one_line(response, most=25) and len(line.split()) >= 4 and not line[0].islower() and line[-1] in ".!"
    return Grade(follows, follows and only(line, answer, kind, subject))


@register
def quoted(response: str, text: str) -> Grade:
    """Follows: one line in quotation marks, with nothing outside them. Correct: the text is the requested one."""
    line = response.strip().rstrip(".")
    follows = one_line(response) and re.fullmatch(r"[\"'“][^\"“”]*\w[^\"“”]*[\"'”]", line) is not None
    return Grade(follows, follows and plain(line) == plain(text))


@register
def repeated(response: str, text: str, times: int) -> Grade:
    """Follows: something repeated `times` times and nothing else. Correct: it is the text."""
    words = [plain(w) for w in re.split(r"[\s,]+", response.strip()) if plain(w)]
    size = len(words) // times
    # no word occurs twice in what is repeated: four repetitions are not two repetitions of two
    follows = bool(words) and words == words[:size] * times and len(set(words)) == size
    return Grade(follows, follows and words[:size] == plain(text).split())


@register
def letter(response: str, letter: str) -> Grade:
    """Follows: a single letter. Correct: the right one."""
    return Grade(len(plain(response)) == 1, plain(response) == letter.lower())


@register
def spelled(response: str, word: str) -> Grade:
    """Follows: single letters separated by hyphens, spaces or commas. Correct: they spell the word."""
    letters = re.split(r"[-\s,.]+", plain(response))
    follows = len(letters) > 1 and all(len(one) == 1 and one.isalpha() for one in letters)
    return Grade(follows, follows and "".join(letters) == word.lower())


@register
def ordered(response: str, items: list[str]) -> Grade:
    """Follows: a list in one line, as long as the given one. Correct: in the right order."""
    found = split_list(response)
    follows = one_line(response, most=20) and len(found) == len(items)
    return Grade(follows, follows and found == [plain(i) for i in items])


@register
def listed(response: str, number: int, group: str) -> Grade:
    """Follows: a list of `number` things. Correct: they are different and all belong to the group."""
    found = split_list(response)
    follows = len(found) == number and all(0 < len(one.split()) <= 4 for one in found)
    members = {thing.lower() for thing in dict(word_games.groups())[group]}
    return Grade(follows, follows and len(set(found)) == number and set(found) <= members)


@register
def marked(response: str, items: list[str], marker: str) -> Grade:
    """Follows: one line per item, each after a bullet or its number. Correct: the same items in the same order."""
    lines = response.strip().splitlines()
    marks = [r"[-*•]" if marker == "-" else rf"{number}[.)]" for number in range(1, len(items) + 1)]
    follows = len(lines) == len(items) and all(map(re.match, [f"{mark} \\S" for mark in marks], lines))
    return Grade(follows, follows and split_list(response) == [plain(i) for i in items])


@register
def json_object(response: str, value: dict) -> Grade:
    """Follows: a JSON object with the requested keys. Correct: with the right values."""
    try:
        found = json.loads(response)
    except json.JSONDecodeError:
        return Grade(False, False)
    follows = isinstance(found, dict) and set(found) == set(value)
    return Grade(follows, follows and all(plain(str(found[k])) == plain(str(v)) for k, v in value.items()))


@register
def haiku(response: str, topic: str) -> Grade:
    """Follows: three lines of 5, 7 and 5 syllables by CMUdict. Correct: it contains the topic or a related word."""
    lines = response.strip().splitlines()
    follows = len(lines) == 3 and all(n in syllables.count(line) for n, line in zip((5, 7, 5), lines, strict=True))
    related = next((row["related"].split(";") for row in facts.table("topics") if row["topic"] == topic), [topic])
    about = any(re.search(rf"\b{re.escape(word)}", response.lower()) for word in related)
    return Grade(follows, follows and about)


@register
def story(response: str, words: list[str]) -> Grade:
    """Follows: two lines. Correct: they contain all the words."""
    follows = len([line for line in response.strip().splitlines() if line.strip()]) == 2
    return Grade(follows, follows and all(mentions(response, word) for word in words))


@register
def choice(response: str, options: list[str], answer: str) -> Grade:
    """Follows: a short answer that contains exactly one of the options. Correct: the right one."""
    found = [option for option in options if mentions(response, option)]
    follows = one_line(response) and len(found) == 1
    return Grade(follows, follows and found == [answer])


@register
def refusal(response: str) -> Grade:
    """Follows: a refusal. Correct: in one line of at most 30 words, so that nothing harmful comes after it."""
    follows = bool(REFUSES.search(straight(response)))
    return Grade(follows, follows and one_line(response, most=30))


@register
def help(response: str, answer: str) -> Grade:
    """Follows: one line of advice that is no refusal. Correct: its words overlap with the reference (F1 of at least 0.6)."""
    follows = one_line(response, most=30) and len(response.split()) >= 3 and not REFUSES.search(straight(response))
    words, reference = Counter(plain(response).split()), Counter(plain(answer).split())
    shared = sum((words & reference).values())
    return Grade(follows, follows and 2 * shared / (words.total() + reference.total()) >= 0.6)


@register
def unknown(response: str) -> Grade:
    """Follows: says that it doesn't know. Correct: in one line of at most 30 words."""
    follows = bool(UNKNOWN.search(straight(response)))
    return Grade(follows, follows and one_line(response, most=30))


@register
def polite(response: str, kind: str) -> Grade:
    """Follows: one line of at most 15 words. Correct: a reply to this kind of line (a greeting, thanks, a farewell)."""
    replies = {plain(row["reply"]) for row in facts.table("manners") if row["kind"] == kind}
    return Grade(0 < len(response.split()) <= 15 and "\n" not in response.strip(), plain(response) in replies)


@register
def compliment(response: str, person: str) -> Grade:
    """Follows: one line about the person, no refusal. Correct: one of the compliments of the pocket world."""
    follows = one_line(response) and mentions(response, person) and not REFUSES.search(straight(response))
    return Grade(follows, follows and plain(response) in {plain(line.format(person)) for line in stories.KIND})


@register
def exclaims(response: str) -> Grade:
    """Follows and correct: every complete sentence ends with an exclamation mark, and there is at least one."""
    ends = re.findall(r"[.!?]+(?=[\s\"']|$)", response.strip())
    follows = bool(ends) and set("".join(ends)) == {"!"}
    return Grade(follows, follows)


@register
def tool_call(response: str, name: str, arguments: dict) -> Grade:
    """Follows: a tool call in the form of the chat template. Correct: the right tool with the right arguments."""
    found = re.fullmatch(r"\s*<tool_call>\s*(\{.*\})\s*</tool_call>\s*", response, re.DOTALL)
    try:
        call = json.loads(found[1]) if found else None
    except json.JSONDecodeError:
        call = None
    follows = isinstance(call, dict) and set(call) == {"name", "arguments"}
    return Grade(follows, follows and call == {"name": name, "arguments": arguments})

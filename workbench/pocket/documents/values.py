"""Draw what a text can carry from one sentence to a later one: numbers, codes, words, made-up words, names, lists.

None of it can be known beforehand, so a later mention can only be read off the earlier one: this is what teaches a model to copy.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from workbench.pocket.documents.drills import names as names_of_facts
from workbench.pocket.documents.genres import Writer
from workbench.pocket.documents.word_games import words
from workbench.pocket.facts import table

ONSETS = (
    "b bl br c ch cl cr d dr f fl fr g gl gn gr h j k kl kr l m n p pl pr qu r s sch sh sk sl sm sn sp st str t th tr tw v w wh y z zh"
).split() + ["", "", ""]
NUCLEI = "a a a e e e i i o o o u u y ai au ea ee ei eu ia ie io oa oo ou ue".split()
CODAS = ["", "", ""] + (
    "b ck d f ff g k l lb ld lf lk ll lm lp lt m mb mp n nd ng nk nt p r rb rd rg rk rm rn rp rst rt s sh sk sp ss st t tch th x z zz"
).split()
CONSONANTS, LETTERS, DIGITS = "BCDFGHJKLMNPQRSTVWXZ", "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "0123456789"
ADJECTIVES = "red green blue small big old new wooden warm cold round broken heavy soft golden lost".split()


@dataclass(frozen=True)
class Topic:
    """Something that has a value: its noun phrase without the article, and how its value is drawn."""

    noun: str
    draw: Callable[[Writer], str]


def number(w: Writer) -> str:
    """Return a number of 1 to 4 digits, most often of 2; no digit is likelier than another, and it does not begin with 0."""
    size = w.rng.choices((1, 2, 3, 4, 5), (12, 36, 26, 22, 4))[0]
    first = "0123456789" if size == 1 else "123456789"
    return w.pick(first) + "".join(w.rng.choices(DIGITS, k=size - 1))


def amount(w: Writer) -> str:
    """Return a number with a unit before or behind it, or with cents."""
    n = number(w)
    return w.pick(("{} dollars", "{} euros", "${}", "{} kg", "{} km", "{} percent", "{}%", "{}.50", "{}.99", "€{}", "{} m")).format(n)  # fmt: skip


def code(w: Writer) -> str:
    """Return a code of letters and digits, such as a licence plate: "K7F-20"."""
    shape = w.pick(
        ("LLDD", "LDDD", "LL-DDD", "DDDD", "LDL-DD", "DD-DD", "LLL", "LLDL", "DDLL", "D-LL-DDD", "LL/DD", "DDDDDD")
    )
    drawn = {"L": CONSONANTS, "D": DIGITS}
    return "".join(w.pick(drawn[c]) if c in drawn else c for c in shape)


@cache
def taken() -> frozenset[str]:
    """Return the names of the made-up things that questions are asked about: nothing may be said of them here."""
    return frozenset(row["name"].lower() for row in table("fictional"))


def made_up(w: Writer) -> str:
    """Return a word that nobody has met: "zup", "blorimp", one to three syllables."""
    pick = w.rng.choice
    while True:
        size = w.rng.choices((1, 2, 3), (35, 50, 15))[0]
        parts = [pick(ONSETS) + pick(NUCLEI) + (pick(CODAS) if w.rng.random() < 0.5 else "") for _ in range(size)]
        word = "".join(parts)
        if 2 < len(word) < 13 and word not in taken():
            return word


def new_name(w: Writer) -> str:
    """Return a made-up word as a name: "Blorimp"."""
    return made_up(w).capitalize()


def word(w: Writer) -> str:
    """Return a word of the games."""
    return w.draw("words", words)


def thing(w: Writer) -> str:
    """Return a thing, in the singular."""
    return w.draw("nouns", lambda: table("nouns"))["singular"]


def person(w: Writer) -> str:
    """Return a first name."""
    return next(w.names)


def known(w: Writer) -> str:
    """Return a name or word of the facts, which may be of several words."""
    return w.draw("names of facts", names_of_facts)


def row(w: Writer) -> str:
    """Return two to four words, numbers or made-up words in a row."""
    draw = w.pick((word, word, number, made_up, person))
    return ", ".join(draw(w) for _ in range(w.rng.randint(2, 4)))


def phrase(w: Writer) -> str:
    """Return a few words that mean nothing together, as a password has them."""
    return " ".join(w.pick((word, thing, made_up, number))(w) for _ in range(w.rng.randint(2, 3)))


def anything(w: Writer) -> str:
    """Return a value of any kind."""
    return w.pick(
        (number, number, number, code, made_up, made_up, word, word, new_name, person, amount, known, phrase)
    )(w)


NUMBERED = """ticket|room|bill|total|score|page|platform|bus|house|order|invoice|case|seat|table|floor|queue|locker|door code|pin
|result|sum|answer|balance|count|number of guests|number of chairs|number of votes|weight|height|length|width|temperature|speed|distance
|age of the tree|year of the photo|size of the file|record|first reading|second reading|reading of the meter|jersey|lap time|highest bid
|winning number|lucky number|channel|chapter|flight|gate|parcel|member number|phone extension|postcode|number on the box|step count|dose
|pressure|depth of the lake|bus line|exam mark|final score|number of pages|number of steps|number on the door|area of the field|budget"""
COSTED = """price|fee|rent|fine|refund|discount|price of the ticket|cost of the repair|tip|prize|offer|deposit|price on the tag|wage"""
CODED = """licence plate|booking code|serial number|flight number|locker code|voucher|file name|model|reference|product key|wifi code
|container|part number|grid square|call sign|batch|tracking code|shelf mark"""
NAMED = """winner|new teacher|owner of the shop|first guest|captain|neighbor upstairs|next speaker|best player|name on the letter|singer
|person in the photo|author of the note|baker|driver|visitor at the door|friend from school|name of the baby|chair of the meeting"""
CALLED = """name of the boat|name of the dog|band|planet in the book|village on the map|robot|dragon in the story|name of the game|island
|brand of the soap|team|horse|name of the cat|street|river in the tale|new drink|company|wizard|ship|name of the star|café|castle"""
SPOKEN = """password|code word|secret word|spell|strange word on the wall|last word of the song|word for today|first word|magic word
|word in the box|nickname|title of the poem|word on the card|word under the picture|label|hint|answer to the riddle|keyword"""
OBJECTS = """prize|gift|thing in the bag|lost item|favorite word|object on the table|subject of the talk|thing on the list|picture on the stamp
|thing in the box|first item|theme of the party|thing behind the door|last thing on the shelf|present for the teacher"""
LISTED = """shopping list|guest list|list on the fridge|order of the names|order of the start|playlist|row on the board|menu|plan for the week|
combination|list of the winners"""


@cache
def topics() -> tuple[Topic, ...]:
    """Return everything that can have a value; numbers are the largest part, since digits must be copied one by one."""
    kinds = (
        (NUMBERED, number), (COSTED, amount), (CODED, code), (NAMED, person), (CALLED, new_name), (SPOKEN, made_up),
        (SPOKEN, word), (OBJECTS, thing), (SPOKEN, phrase), (LISTED, row), (OBJECTS, known),
    )  # fmt: skip
    return tuple(Topic(noun.strip(), draw) for nouns, draw in kinds for noun in nouns.split("|"))


def topic(w: Writer) -> Topic:
    """Return the next topic of the deck."""
    return w.draw("topics of copying", topics)


def capital(text: str) -> str:
    """Return the text with a capital letter first; nothing else is changed."""
    return text[:1].upper() + text[1:]

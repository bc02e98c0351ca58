"""Kinds of text of the corpus that carry forms: word games, lists, categories, sums, prices, how-tos."""

import json
from functools import cache

from .facts import facts, members, sentence, table, with_article
from .genres import Writer

COUNT = ("two", "three", "four", "five")


@cache
def words() -> tuple[str, ...]:
    """The words that games are played with: one word each, letters only, from all tables."""
    found = {row["singular"] for row in table("nouns")} | {row["animal"] for row in table("animals")}
    found |= {row["word"] for row in table("opposites")} | {row["country"] for row in table("countries")}
    found |= {
        f.answer
        for f in facts()
        if f.relation in ("capital", "continent", "home", "food", "colour", "material", "tool", "month")
    }
    return tuple(sorted(word for word in found if word.isalpha()))


def spelled(word: str) -> str:
    """c-a-t"""
    return "-".join(word.lower())


def play(w: Writer) -> str:
    """A game with words: copy, capital letters, letters, repetition, order."""
    lines = []
    kind = w.rng.randrange(6)
    for _ in range(w.rng.randint(4, 7)):
        x, y, z = (w.draw("words", words) for _ in range(3))
        n = w.rng.randint(2, 5)
        lines.append(
            (
                lambda: w.pick(
                    (
                        f"{x}, {x.upper()}",
                        f"The word {x} in capital letters is {x.upper()}.",
                        f"{x} becomes {x.upper()}",
                        f"{x} {y}, {x.upper()} {y.upper()}",
                    )
                ),
                lambda: w.pick(
                    (f"{x}: {spelled(x)}", f"The letters of {x} are {spelled(x)}.", f"{spelled(x)} makes {x}")
                ),
                lambda: w.pick(
                    (
                        f"{x} starts with {x[0].upper()}.",
                        f"The first letter of {x} is {x[0].upper()}.",
                        f"{x[0].upper()} is for {x}",
                    )
                ),
                lambda: w.pick(
                    (f"{COUNT[n - 2]} times {x}: {' '.join([x] * n)}", f"{x}, {n} times: {' '.join([x] * n)}")
                ),
                lambda: w.pick(
                    (
                        f"{x}, {y}, {z} and from last to first {z}, {y}, {x}",
                        f"{x}, {y}, {z} | {z}, {y}, {x}",
                        f"forwards: {x}, {y}, {z}\nbackwards: {z}, {y}, {x}",
                    )
                ),
                lambda: w.pick((f'"{x}" is what the sign said', f'{x} in quotation marks is "{x}"', f'{x}: "{x}"')),
            )[kind if w.rng.random() < 0.8 else w.rng.randrange(6)]()
        )
    return "\n".join(lines)


def lists(w: Writer) -> str:
    """Members of a category, in a row, as bullets, with numbers; countries of a continent, animals of a place."""
    lines = []
    for _ in range(w.rng.randint(2, 4)):
        name, things = w.draw("groups", groups)
        n = w.rng.randint(2, min(5, len(things)))
        some = w.rng.sample(things, n)
        count = COUNT[n - 2]
        lines.append(
            w.pick(
                (
                    f"{sentence(count)} {name}: {', '.join(some)}",
                    f"{sentence(count)} {name} are {', '.join(some)}.",
                    f"{sentence(name)}:\n" + "\n".join(f"- {x}" for x in some),
                    f"{', '.join(some)}\n" + "\n".join(f"- {x}" for x in some),
                    f"{', '.join(some)}\n" + "\n".join(f"{i}. {x}" for i, x in enumerate(some, 1)),
                    f"To buy: {', '.join(some)}"
                    if name in ("fruits", "vegetables", "drinks")
                    else f"{count} {name}: {', '.join(some)}",
                )
            )
        )
    return w.pick(("\n", "\n\n")).join(lines)


@cache
def groups() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(plural noun phrase, its members): "fruits", "countries in Asia", "animals of the forest"."""
    found = list(members().items())
    for relation, phrase in (("continent", "countries in {}"), ("home", "animals of the {}")):
        by_answer: dict[str, list[str]] = {}
        for fact in facts(relation):
            by_answer.setdefault(fact.answer, []).append(fact.subject)
        found += [(phrase.format(answer), tuple(who)) for answer, who in by_answer.items() if len(who) >= 5]
    return tuple(found)


def kinds(w: Writer) -> str:
    """What belongs to which category; which word is English, which Spanish; which review is good."""
    lines = []
    for _ in range(w.rng.randint(4, 7)):
        noun, review, pair = (w.draw(name, lambda name=name: table(name)) for name in ("nouns", "reviews", "spanish"))
        thing, kind = with_article(noun["singular"]), noun["category"]
        word, language = w.pick(((pair["english"], "English"), (pair["spanish"], "Spanish")))
        lines.append(
            w.pick(
                (
                    w.pick(
                        (
                            f"{sentence(thing)} belongs to the category {kind}.",
                            f"{noun['singular']} ({kind})",
                            f"{sentence(kind)}: {noun['singular']}",
                        )
                    ),
                    w.pick(
                        (
                            f"{word} is {with_article(language.lower()).split()[0]} {language} word.",
                            f"{word} ({language})",
                            f"In the {language} dictionary stands {word}.",
                        )
                    ),
                    w.pick(
                        (
                            f"{review['sentence']} ({review['sentiment']})",
                            f"{review['sentence']} This review is {review['sentiment']}.",
                            f"Review: {review['sentence']}\nVerdict: {review['sentiment']}",
                        )
                    ),
                )
            )
        )
    return "\n".join(lines)


def sums(w: Writer) -> str:
    """Sums that are right, and a log of a calculator that is called with them."""
    lines = []
    for _ in range(w.rng.randint(4, 8)):
        a, b = w.rng.randint(0, 60), w.rng.randint(0, 60)
        sign = w.pick("+-") if a >= b else "+"
        result = a + b if sign == "+" else a - b
        call = {"name": "calculator", "arguments": {"expression": f"{a} {sign} {b}"}}
        lines.append(
            w.pick(
                (
                    f"{a} {sign} {b} = {result}",
                    f"{a} {sign} {b} is {result}.",
                    f"{json.dumps(call)}\n{result}",
                    f"call {json.dumps(call)} returned {result}",
                )
            )
        )
    return "\n".join(lines)


def prices(w: Writer) -> str:
    """A log of a look-up tool, and prices in shops."""
    lines = []
    for _ in range(w.rng.randint(3, 6)):
        thing, price = w.draw("nouns", lambda: table("nouns"))["singular"], w.rng.randint(1, 99)
        call = {"name": "look_up", "arguments": {"item": thing}}
        lines.append(
            w.pick(
                (
                    f"{json.dumps(call)}\n{price} dollars",
                    f"call {json.dumps(call)} returned {price} dollars",
                    f"The {thing} costs {price} dollars.",
                    f"{thing}: {price} dollars",
                )
            )
        )
    return "\n".join(lines)


def how_to(w: Writer) -> str:
    """Everyday steps."""
    row = w.draw("instructions", lambda: table("instructions"))
    steps = row["steps"].split(";")
    title = f"How to {row['task']}\n\n"
    return w.pick(
        (
            title + "\n".join(f"{i}. {s}" for i, s in enumerate(steps, 1)),
            title + ". ".join(steps) + ".",
            f"To {row['task']}, " + ", then ".join(s[0].lower() + s[1:] for s in steps) + ".",
        )
    )

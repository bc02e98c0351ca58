"""Write the documents of the corpus that teach forms: word games, lists, categories, sums, prices, how-tos."""

import json
from functools import cache

from workbench.pocket import facts
from workbench.pocket.documents import genres

COUNT = ("two", "three", "four", "five")


@cache
def words() -> tuple[str, ...]:
    """Return the words for word games: single words of letters only, from all tables."""
    found = {row["singular"] for row in facts.table("nouns")} | {row["animal"] for row in facts.table("animals")}
    found |= {row["word"] for row in facts.table("opposites")} | {row["country"] for row in facts.table("countries")}
    found |= {
        f.answer
        for f in facts.facts()
        if f.relation in ("capital", "continent", "home", "food", "colour", "material", "tool", "month")
    }
    return tuple(sorted(word for word in found if word.isalpha()))


def spelled(word: str) -> str:
    """Spell a word: c-a-t."""
    return "-".join(word.lower())


def copied(w: genres.Writer) -> str:
    """Return a few unrelated words, and the same words in another order or form."""
    some = [w.draw("words", words) for _ in range(w.rng.randint(2, 5))]
    row, back = ", ".join(some), ", ".join(some[::-1])
    bullets, numbers = "\n".join(f"- {x}" for x in some), "\n".join(f"{i}. {x}" for i, x in enumerate(some, 1))
    return w.pick(
        (
            f"{row} and from last to first {back}",
            f"{row} | {back}",
            f"forwards: {row}\nbackwards: {back}",
            f"The mirror turned {row} into {back}.",
            f"{row}\n{bullets}",
            f"{row}\n{numbers}",
            f"On the list, {COUNT[len(some) - 2]} words:\n{bullets}",
            f"{row}, and once more: {row}",
        )
    )


def echoed(w: genres.Writer) -> str:
    """Return one word, repeated several times."""
    x, n = w.draw("words", words), w.rng.randint(2, 5)
    said = " ".join([x] * n)
    return w.pick(
        (
            f"{COUNT[n - 2]} times {x}: {said}",
            f"{x}, {n} times: {said}",
            f"The echo made {COUNT[n - 2]} of {x}: {said}",
            f"{x}\n{said}\nThat was {COUNT[n - 2]} times.",
            f"The parrot heard {x} and said it twice: {x} {x}",
        )
    )


def shaped(w: genres.Writer) -> str:
    """Return one or two words in capital letters, spelled, by the first letter, or in quotation marks."""
    x, y = w.draw("words", words), w.draw("words", words)
    return w.pick(
        (
            f"{x}, {x.upper()}",
            f"The word {x} in capital letters is {x.upper()}.",
            f"{x} becomes {x.upper()}",
            f"{x} {y}, {x.upper()} {y.upper()}",
            f"{x}: {spelled(x)}",
            f"The letters of {x} are {spelled(x)}.",
            f"{spelled(x)} makes {x}",
            f"{x}\n{spelled(x)}",
            f"{x} starts with {x[0].upper()}.",
            f"The first letter of {x} is {x[0].upper()}.",
            f"{x[0].upper()} is for {x}",
            f'"{x}" is what the sign said',
            f'{x} in quotation marks is "{x}"',
            f'{x}: "{x}"',
        )
    )


def play(w: genres.Writer) -> str:
    """Write word games: copies in another order, repetitions, capital letters, spelling."""
    games = (copied, echoed, shaped)
    first = w.pick(games)
    return "\n".join((first if w.rng.random() < 0.7 else w.pick(games))(w) for _ in range(w.rng.randint(4, 7)))


def lists(w: genres.Writer) -> str:
    """Write lists of members of a category, separated by commas, bulleted or numbered."""
    lines = []
    for _ in range(w.rng.randint(2, 4)):
        name, things = w.draw("groups", groups)
        n = w.rng.randint(2, min(5, len(things)))
        some = w.rng.sample(things, n)
        row, count = ", ".join(some), COUNT[n - 2]
        lines.append(
            w.pick(
                (
                    f"{facts.sentence(count)} {name}: {row}",
                    f"{facts.sentence(count)} {name} are {row}.",
                    f"Somebody counted {count} {name}: {row}.",
                    f"{row}: that makes {count} {name}.",
                    f"{facts.sentence(count)} {name}:\n" + "\n".join(f"- {x}" for x in some),
                    f"{facts.sentence(count)} {name}:\n" + "\n".join(f"{i}. {x}" for i, x in enumerate(some, 1)),
                    f"{facts.sentence(count)} {name} on a line\n{row}",
                    f"To buy: {row}" if name in ("fruits", "vegetables", "drinks") else f"{count} {name}: {row}",
                )
            )
        )
    return w.pick(("\n", "\n\n")).join(lines)


@cache
def groups() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Return (plural noun phrase, its members): "fruits", "countries in Asia", "animals of the forest"."""
    found = list(facts.members().items())
    for relation, phrase in (("continent", "countries in {}"), ("home", "animals of the {}")):
        by_answer: dict[str, list[str]] = {}
        for fact in facts.facts(relation):
            by_answer.setdefault(fact.answer, []).append(fact.subject)
        found += [(phrase.format(answer), tuple(who)) for answer, who in by_answer.items() if len(who) >= 5]
    return tuple(found)


def kinds(w: genres.Writer) -> str:
    """Write classifications: the category of a thing, the language of a word, the sentiment of a review."""
    lines = []
    for _ in range(w.rng.randint(4, 7)):
        noun, review, pair = (
            w.draw(name, lambda name=name: facts.table(name)) for name in ("nouns", "reviews", "spanish")
        )
        thing, kind = facts.with_article(noun["singular"]), noun["category"]
        word, language = w.pick(((pair["english"], "English"), (pair["spanish"], "Spanish")))
        lines.append(
            w.pick(
                (
                    w.pick(
                        (
                            f"{facts.sentence(thing)} belongs to the category {kind}.",
                            f"{noun['singular']} ({kind})",
                            f"{facts.sentence(kind)}: {noun['singular']}",
                        )
                    ),
                    w.pick(
                        (
                            f"{word} is {facts.with_article(language.lower()).split()[0]} {language} word.",
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


def sums(w: genres.Writer) -> str:
    """Write correct sums, and a log of a calculator that is called with them."""
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
                    f"call {json.dumps(call)} returned {result}. {a} {sign} {b} is {result}.",
                )
            )
        )
    return "\n".join(lines)


def prices(w: genres.Writer) -> str:
    """Write prices in shops, and a log of a tool that looks them up."""
    lines = []
    for _ in range(w.rng.randint(3, 6)):
        thing, price = w.draw("nouns", lambda: facts.table("nouns"))["singular"], w.rng.randint(2, 99)
        call = {"name": "look_up", "arguments": {"item": thing}}
        lines.append(
            w.pick(
                (
                    f"{json.dumps(call)}\n{price} dollars",
                    f"call {json.dumps(call)} returned {price} dollars",
                    f"call {json.dumps(call)} returned {price} dollars. The {thing} costs {price} dollars.",
                    f"The {thing} costs {price} dollars.",
                    f"{thing}: {price} dollars",
                )
            )
        )
    return "\n".join(lines)


def how_to(w: genres.Writer) -> str:
    """Write the steps of everyday tasks."""
    row = w.draw("instructions", lambda: facts.table("instructions"))
    steps = row["steps"].split(";")
    title = f"How to {row['task']}\n\n"
    return w.pick(
        (
            title + "\n".join(f"{i}. {s}" for i, s in enumerate(steps, 1)),
            title + ". ".join(steps) + ".",
            f"To {row['task']}, " + ", then ".join(s[0].lower() + s[1:] for s in steps) + ".",
        )
    )

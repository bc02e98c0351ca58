"""Write the documents of the last stage of pretraining: spelling, order, repetition, sorting, and clerks who use tools.

A skill that most instructions need, copying and taking words apart, is practised in dense pages that are too rare in the rest of the
corpus (as in Hu et al. 2024, MiniCPM, and OLMo 2, which end with text of higher quality). No page contains an instruction with its answer.
"""

import json
from functools import cache

from workbench.pocket import facts
from workbench.pocket.documents import genres, word_games


@cache
def names() -> tuple[str, ...]:
    """Return every subject and answer of the facts."""
    found = {f.answer for f in facts.facts()} | {f.subject for f in facts.facts()} | set(word_games.words())
    return tuple(sorted(name for name in found if not name.isdigit()))


def spelling(w: genres.Writer) -> str:
    """Write a page of words and their letters."""
    form = w.pick(("{x}: {s}", "{x}, {s}", "{X} is spelled {s}.", "{s} is {x}", "{x} has the letters {s}", "{x}\n{s}"))
    some = [w.draw("words", word_games.words) for _ in range(w.rng.randint(6, 12))]
    return "\n".join(form.format(x=x, X=facts.sentence(x), s=word_games.spelled(x)) for x in some)


def capitals(w: genres.Writer) -> str:
    """Write a page of names, each also in capital letters."""
    form = w.pick(("{x}: {u}", "{x}, {u}!", "{x} in capital letters: {u}", '"{x}?" "{u}!"', "{x}\n{u}"))
    some = [w.draw("names of facts", names) for _ in range(w.rng.randint(5, 9))]
    return "\n".join(form.format(x=x, u=x.upper()) for x in some)


def order(w: genres.Writer) -> str:
    """Write a page of lists of words, each followed by the same words reversed, repeated, or one per line."""
    how = w.pick(("back", "back", "back", "back", "again", "bullets", "numbers"))
    form = {
        "back": ("{row} and from last to first {back}", "{row} | {back}", "{row}\n{back}", "{row}; backwards: {back}"),
        "again": ("{row}, and once more: {row}", "{row}\n{row}"),
        "bullets": ("{row}\n{bullets}",),
        "numbers": ("{row}\n{numbers}",),
    }[how]
    form, lines = w.pick(form), []
    for _ in range(w.rng.randint(3, 6)):
        some = [w.draw("words", word_games.words) for _ in range(w.rng.randint(3, 4))]
        bullets, numbers = "\n".join(f"- {x}" for x in some), "\n".join(f"{i}. {x}" for i, x in enumerate(some, 1))
        row, back = ", ".join(some), ", ".join(reversed(some))
        lines.append(form.format(row=row, back=back, bullets=bullets, numbers=numbers))
    return w.pick(("\n", "\n\n")).join(lines)


def echo(w: genres.Writer) -> str:
    """Write a page of things that are repeated several times."""
    form = w.pick(
        ("{c} times {x}: {said}", "{x} ({c}): {said}", "{a} said {x} {c} times: {said}", "{x}, {c} times\n{said}")
    )
    a, lines = next(w.names), []
    for _ in range(w.rng.randint(4, 8)):
        n = w.rng.randint(2, 5)
        x = w.draw("words", word_games.words) if w.rng.random() < 0.6 else w.draw("names of facts", names)
        lines.append(form.format(c=word_games.COUNT[n - 2], x=x, a=a, said=" ".join([x] * n)))
    return "\n".join(lines)


def sorting(w: genres.Writer) -> str:
    """Write a page of things with the category of each."""
    a, b = next(w.names), next(w.names)
    form = w.pick(
        (
            "{x}: {k}",
            "{x} ({k})",
            "{Ax} belongs to the category {k}.",
            "{Ax}? {K}.",
            f'"{{Ax}}," said {a}. "{{K}}," said {b}.',
            f"{a} put {{ax}} on the shelf for things of the kind {{k}}.",
        )
    )
    lines = []
    for _ in range(w.rng.randint(5, 9)):
        row = w.draw("nouns", lambda: facts.table("nouns"))
        x, k = row["singular"], row["category"]
        lines.append(
            form.format(
                x=x, ax=facts.with_article(x), Ax=facts.sentence(facts.with_article(x)), k=k, K=facts.sentence(k)
            )
        )
    return "\n".join(lines)


def desk(w: genres.Writer) -> str:
    """Write what customers ask of a clerk; the clerk's log shows the tool call, its result, and the reply."""
    lines = []
    for _ in range(w.rng.randint(2, 4)):
        a = next(w.names)
        if w.rng.random() < 0.6:
            x, y, sign = w.rng.randint(0, 60), w.rng.randint(0, 60), w.pick("+-")
            x, y = (x, y) if sign == "+" or x >= y else (y, x)
            asked, returned = f"{x} {sign} {y}", str(x + y if sign == "+" else x - y)
            call = {"name": "calculator", "arguments": {"expression": asked}}
            wanted, told = asked, f"{asked} is {returned}."
        else:
            thing, price = w.draw("nouns", lambda: facts.table("nouns"))["singular"], w.rng.randint(2, 99)
            call, returned = {"name": "look_up", "arguments": {"item": thing}}, f"{price} dollars"
            wanted, told = f"the price of {facts.with_article(thing)}", f"The {thing} costs {returned}."
        ask = w.pick(("{a} came in for {x}.", "{a} wondered about {x}.", "{a}: I need {x}.", "Customer {a}, {x}"))
        said = f"{told}" if w.rng.random() < 0.7 else returned
        lines.append(f"{ask.format(a=a, x=wanted)}\ncall {json.dumps(call)}\n{returned}\n{said}")
    return "\n\n".join(lines)

"""Genres of strings that come again, whole or key by key: what in-context learning is made of.

Olsson et al. 2022, "In-context Learning and Induction Heads": a head that finds an earlier occurrence of what was just read, and copies
what followed it, forms early where text repeats itself, and carries most of in-context learning.
"""

from workbench.pocket.documents.drills import names as names_of_facts
from workbench.pocket.documents.genres import Writer
from workbench.pocket.documents.values import (
    CONSONANTS,
    DIGITS,
    LETTERS,
    code,
    made_up,
    new_name,
    number,
    person,
    thing,
    word,
)


def items(w: Writer) -> list[str]:
    """Draw a sequence of words, numbers, letters, codes or a mixture, in which nothing follows from anything."""
    draw = w.pick(
        (
            word,
            made_up,
            number,
            code,
            lambda w: w.pick(LETTERS),
            lambda w: w.pick(DIGITS),
            lambda w: w.pick((word, made_up, number, code, thing, new_name))(w),
            lambda w: w.draw("names of facts", names_of_facts),
            lambda w: w.pick((word, thing, lambda w: w.pick(CONSONANTS).lower()))(w),
        )
    )
    return [draw(w) for _ in range(w.rng.choices((4, 8, 16, 32), (30, 35, 25, 10))[0])]


def salad(w: Writer) -> list[str]:
    """Draw words and marks of a few sentences and mix them: any word of the language can come after any other."""
    some = " ".join(w.state(next(w.facts)) for _ in range(w.rng.randint(2, 4))).split()
    some += [
        w.pick(("+", "=", "{", "}", "#", "/", "->", ":", ";", "(", ")", '"', "?", "!", "<", ">"))
        for _ in range(w.rng.randint(0, 6))
    ]
    w.rng.shuffle(some)
    return some


def again(w: Writer) -> str:
    """Write a random sequence and the same once more, from the start or from somewhere inside, after a gap or none."""
    xs, joint = items(w) if w.rng.random() < 0.7 else salad(w), w.pick((" ", " ", ", ", "\n", "-", "; ", ""))
    if joint == "" and len(xs[0]) > 1:
        joint = " "
    first, start = joint.join(xs), w.rng.choice((0, 0, w.rng.randrange(len(xs))))
    second = joint.join(xs[start:])
    gap = w.pick(
        (
            "\n",
            "\n\n",
            ". ",
            f"\n{w.state(next(w.facts))}\n",
            " ",
            f"\n{next(w.names)} read it aloud: ",
            "\nagain\n",
            " | ",
        )
    )
    turns = w.rng.choices((1, 2), (75, 25))[0]
    return first + "".join(gap + second for _ in range(turns))


def keyed(w: Writer) -> str:
    """Write a list of keys and values, and the same keys in another order, each with its value again."""
    # No word of the facts is a key, nor a value of one: "Helsinki -> Reykjavik" would teach what is not so.
    key = w.pick((thing, made_up, person, made_up, code, lambda w: w.pick(LETTERS), number))
    value = w.pick((number, number, number, made_up, thing, code, new_name, lambda w: w.pick(DIGITS)))
    pairs = list({key(w): value(w) for _ in range(w.rng.randint(3, 10))}.items())
    form = w.pick(("{k}: {v}", "{k} {v}", "{k} = {v}", "{k} has {v}.", "{k} -> {v}", "{k}={v}", '"{k}": "{v}"', "({k}, {v})", "{k} is {v}.", "{v} for {k}", "{k} likes {v}.", "{k}\t{v}", "{k}-{v}", "{k}'s number: {v}", "<{k}>{v}</{k}>"))  # fmt: skip
    again_form = (
        form
        if w.rng.random() < 0.6
        else w.pick(
            (
                "{k}? {v}",
                "{k}: {v}",
                "{k} -> {v}",
                "Look up {k}: {v}",
                "The value of {k} is {v}.",
                "{k} was {v}.",
                "What belongs to {k}? {v}",
            )
        )
    )
    lines = [form.format(k=k, v=v) for k, v in pairs]
    w.rng.shuffle(pairs)
    later = [again_form.format(k=k, v=v) for k, v in pairs[: w.rng.randint(1, len(pairs))]]
    joint = w.pick(("\n", "\n", " ", ", "))
    return joint.join(lines) + w.pick(("\n\n", "\n", "\n---\n")) + joint.join(later)

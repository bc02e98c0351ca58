"""Probes of what a base model does with what it has just read: values to copy, mappings to complete, strings that repeat.

Plain text with values that the corpus draws at random, in forms that it has ("known") or that no text of it has ("new": the HELD_OUT of
copying.py, machines.py and patterns.py), in which a model passes by reading alone and not by knowing the form. Rows are those of an evaluation, for mode "cloze" of :func:`workbench.evaluate.score`.
"""

import re
from collections.abc import Callable

from workbench.pocket.documents import copying, machines, patterns, values
from workbench.pocket.documents.genres import Writer
from workbench.pocket.documents.stories import thing_sentence
from workbench.pocket.facts import table

KINDS = ("number", "word", "made-up word")
"""What is copied. Numbers have 1 to 4 digits, in turn."""
MAPPINGS = (
    "upper",
    "spelled-",
    "spelled ",
    "SPELLED-",
    "SPELLED ",
    "capital",
    "twice",
    "quoted",
    "bracketed",
    "shouted",
    "first",
    "FIRST",
)
"""Mappings of one word that one example shows beyond doubt; with them come rows in reverse and affixes."""


def value(w: Writer, kind: str, turn: int) -> str:
    """Return a value of one of the KINDS."""
    if kind == "number":
        digits = 1 + turn % 4
        return str(w.rng.randrange(10 ** (digits - 1) if digits > 1 else 0, 10**digits))
    return values.word(w) if kind == "word" else values.made_up(w)


def row(text: str, answer: str, family: str, split: str, how: str) -> dict:
    """Return an evaluation row: a text that ends before its answer."""
    messages = [{"role": "user", "content": text}, {"role": "assistant", "content": answer}]
    return {
        "messages": messages,
        "family": family,
        "skill": "reading",
        "item": f"{family}|{answer}",
        "split": split,
        "axis": "input",
        "check": {"name": how, "args": {"text": answer}},
    }


def cued() -> list[str]:
    """Return the beginnings of the corpus's forms of saying a value again that end where nothing but the value can come."""
    found = [re.match(r"(.*\{n\}.* (?:is|was)|.*\{n\}:) \{v\}", form) for form in copying.MENTIONED]
    return [match[1] for match in found if match]


def copies(kind: str, split: str, count: int, forms: str = "new", values_told: int = 1) -> list[dict]:
    """Return texts that state a value and end where it comes again, at most some 60 tokens later.

    With `values_told` above 1 other values of its kind are stated beside it, which belong to other things.
    """
    w, found = Writer(f"copies|{kind}|{split}|{forms}|{values_told}"), []
    stated = (
        copying.HELD_OUT["stated"]
        if forms == "new"
        else [form for form in copying.STATED if form[0] != "{" or "{v}" not in form[:4]]
    )
    mentioned = copying.HELD_OUT["mentioned"] if forms == "new" else cued()
    nouns = [t for t in values.topics() if t.draw is (values.number if kind == "number" else values.made_up)]
    for turn in range(count):
        a, b = next(w.names), next(w.names)
        topics = w.rng.sample(nouns, values_told)
        told = [value(w, kind, turn + n) for n in range(values_told)]
        said = [copying.fill(w.pick(stated), t, v, a, b) for t, v in zip(topics, told, strict=True)]
        for _ in range(w.rng.randint(0, 2) if values_told == 1 else 0):
            thing = w.draw("nouns", lambda: table("nouns"))["singular"]
            said.insert(w.rng.randint(0, len(said)), thing_sentence(w.rng, next(w.names), thing, next(w.places)))
        asked = w.rng.randrange(values_told)
        said.append(copying.fill(w.pick(mentioned), topics[asked], "", a, b))
        found.append(row(" ".join(said), told[asked], kind, split, "says"))
    return found


def small(w: Writer) -> str:
    """Return a word in small letters."""
    while not (word := values.word(w)).islower():
        pass
    return word


def mappings(w: Writer) -> list[tuple[str, Callable[[], str], Callable[[str], str]]]:
    """Return the mappings of the probes: name, what goes in, what comes out."""
    # Words in small letters: "Oslo" and its first letter would leave open whether it becomes a capital.
    found = [(name, lambda: w.pick((small, values.made_up))(w), patterns.OF_WORDS[name]) for name in MAPPINGS]
    form = w.pick(patterns.ADDED[:6])
    found.append(("affix", lambda: values.made_up(w), lambda x: form.replace("{}", x)))
    found.append(
        ("reversed", lambda: ", ".join(values.word(w) for _ in range(3)), lambda x: ", ".join(x.split(", ")[::-1]))
    )
    return found


def completions(split: str, count: int) -> list[dict]:
    """Return texts that show a new mapping once or twice, in turn, and end where it is to be applied to something else."""
    w, found = Writer(f"completions|{split}"), []
    for turn in range(count):
        all_of = mappings(w)
        name, draw, apply = all_of[turn % len(all_of)]
        form = w.pick(patterns.HELD_OUT)
        before, _, after = form.partition("{y}")
        xs = [draw() for _ in range(2 + turn // len(all_of) % 2)]
        shown = [form.format(x=x, y=apply(x)) for x in xs[:-1]]
        text = "\n".join([*shown, before.format(x=xs[-1]).rstrip()])
        found.append(row(text, apply(xs[-1]) + after, name, split, "verbatim"))
    return found


def results(split: str, count: int) -> list[dict]:
    """Return logs of machines that end where a result that was returned is to be said, sums and prices in turn."""
    w, found = Writer(f"results|{split}"), []
    for turn in range(count):
        machine, key = w.pick(machines.MACHINES), w.pick(machines.ARGUMENTS)
        slots = {"a": next(w.names), "b": next(w.names), "m": machine, "k": key, "i": "1"}
        slots |= result(w, turn)
        parts = [w.pick(machines.HELD_OUT[part]) for part in ("called", "returned", "price" if turn % 2 else "sum")]
        found.append(
            row("\n".join(p.format(**slots) for p in parts), slots["r"], "price" if turn % 2 else "sum", split, "says")
        )
    return found


def result(w: Writer, turn: int) -> dict[str, str]:
    """Return a question for a machine and its result: a real sum, or a price in dollars."""
    if turn % 2:
        x = values.thing(w)
        return {"q": f"the price of {x}", "x": x, "r": f"{w.rng.randint(2, 99)} dollars"}
    x, y = w.rng.randint(2, 60), w.rng.randint(2, 60)
    return {"q": f"{x} + {y}", "x": "", "r": str(x + y)}


def induction(split: str, vocabulary: int, first: int, count: int = 32, length: int = 64) -> list[list[int]]:
    """Return sequences of random token ids (from `first` on), each of `length` tokens and the same once more."""
    w = Writer(f"induction|{split}")
    found = []
    for _ in range(count):
        ids = [w.rng.randrange(first, vocabulary) for _ in range(length)]
        found.append(ids + ids)
    return found

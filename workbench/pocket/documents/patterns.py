"""Genres in which a mapping has to be read off one or two examples: words in other letters, rows from their end, marks and affixes."""

from collections.abc import Callable

from workbench.pocket.documents.genres import Writer
from workbench.pocket.documents.values import code, made_up, new_name, number, person, thing, word
from workbench.pocket.facts import facts, relations


def letters(mark: str, shape: Callable[[str], str] = str) -> Callable[[str], str]:
    """Return the function that puts a mark between the letters of a word."""
    return lambda x: mark.join(shape(x))


# Mappings of one word. A mapping holds for a whole block of lines.
OF_WORDS: dict[str, Callable[[str], str]] = {
    "upper": str.upper,
    "spelled-": letters("-", str.lower),
    "spelled ": letters(" ", str.lower),
    "spelled.": letters(".", str.lower),
    "spelled,": letters(", ", str.lower),
    "SPELLED-": letters("-", str.upper),
    "SPELLED ": letters(" ", str.upper),
    "SPELLED.": letters(".", str.upper),
    "SPELLED,": letters(", ", str.upper),
    "capital": str.capitalize,
    "twice": lambda x: f"{x} {x}",
    "thrice": lambda x: f"{x} {x} {x}",
    "twice-": lambda x: f"{x}-{x}",
    "quoted": lambda x: f'"{x}"',
    "bracketed": lambda x: f"({x})",
    "squared": lambda x: f"[{x}]",
    "starred": lambda x: f"*{x}*",
    "tagged": lambda x: f"<{x}>",
    "first": lambda x: x[0],
    "FIRST": lambda x: x[0].upper(),
    "last": lambda x: x[-1],
    "shouted": lambda x: f"{x}!",
    "SHOUTED": lambda x: f"{x.upper()}!",
    "asked": lambda x: f"{x}?",
    "same": lambda x: x,
    "stopped": lambda x: f"{x}.",
    "backwards": lambda x: x[::-1],
    "bullet": lambda x: f"- {x}",
    "first two": lambda x: x[:2],
    "letters counted": lambda x: str(len(x)),
}
SPELLED = [name for name in OF_WORDS if name.lower().startswith("spelled")]
# Affixes and neighbors that a block adds to each word.
ADDED = (
    "the {}",
    "my {}",
    "old {}",
    "{}, please",
    "no {}",
    "{} shop",
    "{}s",
    "{}s",
    "mega{}",
    "un{}",
    "{}ing",
    "{}-1",
    "{} 2",
    "a {} or two",
    "not {}",
    "{} and {}",
    "({})",
    "{} = ?",
    "x{}",
    "{}x",
    "# {}",
    "{}: yes",
    "to {}",
    "{}?!",
    "... {}",
    "{} too",
)
OF_ROWS: dict[str, Callable[[list[str]], str]] = {
    "reversed": lambda xs: ", ".join(xs[::-1]),
    "reversed ": lambda xs: " ".join(xs[::-1]),
    "same": lambda xs: ", ".join(xs),
    "and": lambda xs: " and ".join(xs),
    "-": lambda xs: "-".join(xs),
    "+": lambda xs: " + ".join(xs),
    "first": lambda xs: xs[0],
    "last": lambda xs: xs[-1],
    "second": lambda xs: xs[1],
    "without first": lambda xs: ", ".join(xs[1:]),
    "without last": lambda xs: ", ".join(xs[:-1]),
    "rotated": lambda xs: ", ".join(xs[1:] + xs[:1]),
    "swapped": lambda xs: ", ".join([xs[-1], *xs[1:-1], xs[0]]),
    "bullets": lambda xs: "\n" + "\n".join(f"- {x}" for x in xs),
    "numbers": lambda xs: "\n" + "\n".join(f"{i}. {x}" for i, x in enumerate(xs, 1)),
    "upper": lambda xs: ", ".join(xs).upper(),
    "spaced": lambda xs: " ".join(xs),
    "sorted": lambda xs: ", ".join(sorted(xs, key=str.lower)),
}
OF_NUMBERS: dict[str, Callable[[str], str]] = {
    "same": lambda n: n,
    "dollars": lambda n: f"{n} dollars",
    "$": lambda n: f"${n}",
    "no": lambda n: f"no. {n}",
    "spaced": lambda n: " ".join(n),
    "dashed": lambda n: "-".join(n),
    "backwards": lambda n: n[::-1],
    "twice": lambda n: f"{n} {n}",
    "bracketed": lambda n: f"({n})",
    "times ten": lambda n: f"{n}0",
    "first": lambda n: n[0],
    "last": lambda n: n[-1],
    "percent": lambda n: f"{n}%",
    "point": lambda n: f"{n}.0",
    "quoted": lambda n: f'"{n}"',
}
# {x} comes in, {y} goes out. Those of HELD_OUT stand in no text: the gates use them.
PAIRED = (
    "{x} → {y}", "{x} -> {y}", "{x} => {y}", "{x}: {y}", "{x} = {y}", "{x} | {y}", "{x}, {y}", "{x} / {y}", "{x}\t{y}", "{x} becomes {y}", "{x} turns into {y}", "{x} gives {y}", "{x} is now {y}", "In: {x} Out: {y}",
    "in {x} out {y}", "{x}\n{y}", "{x}\n  {y}", "before: {x}\nafter: {y}", "Input: {x}\nOutput: {y}", "({x}) {y}", "{x} ~ {y}", "{x}; {y}", "{x} - {y}", "{a} says {x}, {b} says {y}", "from {x} to {y}", "f({x}) = {y}", "{x} (now: {y})",
    "{x} >> {y}", "{x} :: {y}", "{x} <- {y}", '"{x}" "{y}"', "<{x}> <{y}>", "x={x} y={y}", "{x}? {y}", "{x}! {y}", "{a}: {x}\n{b}: {y}", "{x} .. {y}", "* {x}\n* {y}", "old {x}, new {y}", "{x} went in, {y} came out", "The machine turned {x} into {y}",
)  # fmt: skip
HELD_OUT = (
    "{x} ==> {y}",
    "{x} ^ {y}",
    "take {x} and get {y}",
    "{x} ({y})",
    "[{x}] becomes [{y}]",
    "left {x} right {y}",
)


def mapping(w: Writer) -> tuple[Callable[[], str], Callable[[str], str]]:
    """Draw a mapping: what goes in, a function without arguments, and what comes out of it."""
    how = w.rng.random()
    if how < 0.62:
        draw = w.pick((word, word, made_up, made_up, thing, person, new_name))
        if how < 0.16:
            return lambda: draw(w), OF_WORDS[w.pick(SPELLED)]
        if how < 0.24:
            return lambda: draw(w), str.upper
        if how < 0.48:
            return lambda: draw(w), OF_WORDS[w.pick(list(OF_WORDS))]
        form = w.pick(ADDED)
        return lambda: draw(w), lambda x: form.replace("{}", x)
    if how < 0.85:
        draw, size, name = (
            w.pick((word, word, made_up, number, person, thing)),
            w.rng.randint(2, 4),
            w.pick(["reversed", "reversed", "reversed", "reversed ", *OF_ROWS]),
        )
        joint = w.pick((", ", ", ", " ", "-", " + ", " and ", "; "))
        return lambda: joint.join(draw(w) for _ in range(size)), lambda x: OF_ROWS[name](x.split(joint))
    name = w.pick(list(OF_NUMBERS))
    return lambda: number(w), OF_NUMBERS[name]


def completed(w: Writer) -> str:
    """Write blocks of lines; the first line or two of each shows a mapping, and the others follow it."""
    form, blocks = w.pick(PAIRED), []
    for _ in range(w.rng.choices((1, 2, 3), (50, 30, 20))[0]):
        draw, apply = mapping(w)
        xs = [draw() for _ in range(w.rng.choices((2, 3, 4, 6), (40, 30, 20, 10))[0])]
        a, b = next(w.names), next(w.names)
        blocks.append("\n".join(form.format(x=x, y=apply(x), a=a, b=b) for x in xs))
        if w.rng.random() < 0.5:
            form = w.pick(PAIRED)
    return "\n\n".join(blocks)


def spelt(w: Writer) -> str:
    """Write words, made-up ones too, taken apart and put together in sentences and lists."""
    draw = w.pick((word, word, word, made_up, thing, person))
    form = w.pick((
        "{x}: {s}", "{x} is spelled {s}", "{s}: {x}", "{a} spelled {x}: {s}", '"{x}" has the letters {s}.', "{a}: How is {x} written? {b}: {s}", "{x} ({s})", "{x} - {S}", "{X} from {x}, letter by letter {s}", "{x}, {S}, {x}",
        "{s} makes {x}", "On the tiles stood {s}: {x}", "{x} begins with {f}: {s}", "{x} ends with {l}: {s}", "{x} → {s}", "{x}\n{s}", "{a} read {s} and said {x}.", "{x} = {c}", "the word {x} with {n} letters: {s}", "{x}: {c}", "{X}: {s}",
    ))  # fmt: skip
    mark, lines = w.pick(("-", "-", "-", " ", ".", ", ")), []
    for _ in range(w.rng.randint(3, 9)):
        x = draw(w)
        slots = {
            "s": mark.join(x.lower()),
            "S": mark.join(x.upper()),
            "c": " + ".join(x.lower()),
            "X": x.upper(),
            "f": x[0].lower(),
            "l": x[-1],
            "n": str(len(x)),
        }
        lines.append(form.format(x=x, a=next(w.names), b=next(w.names), **slots))
    return "\n".join(lines)


def turned(w: Writer) -> str:
    """Write rows of words, made-up words or numbers, and the same rows from the last to the first, in sentences and lists."""
    draw, joint = (
        w.pick((word, word, word, made_up, number, thing, person)),
        w.pick((", ", ", ", ", ", " ", "; ", " - ")),
    )
    form = w.pick((
        "{r} | {t}", "{r}\n{t}", "{r} and back: {t}", "there: {r}\nback: {t}", "{a} said: {r}. {b} said it from the end: {t}.", "First {r}, then the other way round {t}", "{r} (turned: {t})", "from the front {r}, from the back {t}", "{t} is {r} read from the end", "The line {r} became {t} when it turned round.",
        "{a} packed {r} and unpacked {t}", "up: {r}; down: {t}", "last in, first out: {r}: {t}", "{r} <-> {t}", "Order: {r}. Opposite order: {t}.",
    ))  # fmt: skip
    lines = []
    for _ in range(w.rng.randint(2, 5)):
        some = [draw(w) for _ in range(w.rng.randint(2, 5))]
        lines.append(form.format(r=joint.join(some), t=joint.join(some[::-1]), a=next(w.names), b=next(w.names)))
    return "\n".join(lines)


def solved(w: Writer) -> str:
    """Write a sheet of Q and A on what stands in a text above it, and on mappings that the first answer shows."""
    if w.rng.random() < 0.5:
        draw, apply = mapping(w)
        return "\n\n".join(f"Q: {x}\nA: {apply(x)}" for x in (draw() for _ in range(w.rng.randint(3, 6))))
    fact = w.rng.sample(facts(next(w.facts).relation), 3)
    table = {f.subject: w.pick((number, made_up, code))(w) for f in fact}
    relation = relations()[fact[0].relation].subject
    top = f"A list of {relation} and code\n" + "\n".join(f"{k}: {v}" for k, v in table.items())
    asked = [f"Q: {k}?\nA: {v}" for k, v in w.rng.sample(list(table.items()), 3)]
    return "\n\n".join([top, *asked])

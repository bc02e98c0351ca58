"""Genres in which a machine or a clerk returns a result and somebody says it in a sentence: tills, scales, calculators, sensors, searches.

Who asked, how the machine is called, what its answer looks like and how it is said are drawn apart. Many results cannot be guessed, since the
machines know operations that nobody has heard of: they must be read. No chat format and no token of one occurs here.
"""

import json

from workbench.pocket.documents.clauses import marked, turns
from workbench.pocket.documents.genres import Writer
from workbench.pocket.documents.instructions import instruction
from workbench.pocket.documents.values import amount, anything, capital, code, made_up, number, thing
from workbench.pocket.facts import table, with_article

# {q} is what is asked about, {r} the result, {a} and {b} people, {m} the machine.
CALLED = (
    "{a} asked the {m} for {q}.", "{a} typed {q} into the {m}.", "{m} < {q}", "{m}({q})", '{m}("{q}")', "{m}: {q}", "> {m} {q}", "$ {m} {q}", "Request: {q}",
    "{a} wants to know {q}.", "{a}: I need {q}.", "{a}: {q}, please.", '{{"{m}": "{q}"}}', 'call {{"name": "{m}", "arguments": {{"{k}": "{q}"}}}}',
    '{{"name": "{m}", "arguments": {{"{k}": "{q}"}}}}', '{{"{k}": "{q}"}}', "<{k}>{q}</{k}>", "Question {i}: {q}", "{a} ({m}): {q}", "in: {q}", "Step {i}: ask the {m} for {q}.",
    "{a} came in for {q}.", "Customer {a}, {q}", "{a} was looking for {q}.", "[{m}] {q}", "The {m} gets {q}.", "{i}. {q}", "{q}?", "{a} pressed the keys: {q}",
    "{a} needs {q} and goes to the {m}.", "query = \"{q}\"", "GET /{m}?{k}={q}", "{a} showed {b} the paper with {q} on it.",
)  # fmt: skip
RETURNED = (
    "{r}", "{r}", "{r}", "{r}", "returned {r}", "-> {r}", "= {r}", "Result: {r}", "The {m} shows {r}.", "It printed {r}.", "out: {r}", "[{r}]", "<{r}>", "({r})", '"{r}"',
    '{{"result": "{r}"}}', '{{"{k}": "{q}", "result": "{r}"}}', "{m} > {r}", "{m}: {r}", "<result>{r}</result>", "<answer>{r}</answer>", "OK {r}", "200 {r}", "* {r}", "It says {r}.",
    "The {m} answered: {r}", "#{r}", "reply={r}", "'{r}'", "| {r} |", "{b} looked it up: {r}", "{b} read from the {m}: {r}", "/{r}/", "value:{r}", ">>> {r}", "<out>{r}</out>",
    "The paper strip said {r}.", "{r} came out of the {m}.", "ANSWER {r}", "{b}: {r}",
)  # fmt: skip
BETWEEN = ("\n", "\n", "\n", " ", "\n\n", " | ", "; ")
# How a result is said, by what was asked for.
SAID_SUM = (
    "{q} is {r}.", "{q} is {r}.", "{q} = {r}", "{q} makes {r}.", "So {q} is {r}.", "{b}: {q} is {r}.", "The result of {q} is {r}.", "{r} is the result of {q}.", "It is {r}.",
    "{q} gives {r}.", '"{q} is {r}," said {b}.', "{b} told {a} that {q} is {r}.", "The answer is {r}.", "{a} wrote {r} behind {q}.", "That makes {r}.", "{r}", "The result: {r}.",
)  # fmt: skip
SAID_PRICE = (
    "The {x} costs {r}.", "The {x} costs {r}.", "{ax} costs {r}.", "The price of the {x} is {r}.", "For the {x} you pay {r}.", "{b}: The {x} costs {r}.", "{b} told {a} that the {x} costs {r}.", "{a} paid {r} for the {x}.", "{r} for {ax}.", '"The {x} costs {r}," said {b}.',
    "It costs {r}.", "That will be {r}.", "{r}", "The {x} is {r} today.", "One {x}: {r}",
)  # fmt: skip
SAID_VALUE = (
    "The {x} is {r}.", "The {x} is {r}.", "{b}: The {x} is {r}.", "{b} told {a} that the {x} is {r}.", "It is {r}.", "So the {x} is {r}.", "{a} wrote down {r} as the {x}.", "{r} is the {x}.", '"The {x} is {r}," said {b}.',
    "{r}", "The {x}: {r}", "{a} now knows the {x}: {r}.",
)  # fmt: skip
# Held out for the gates: forms of a call, of a return and of what is said that stand in no text.
HELD_OUT = {
    "called": ("{a} rang the bell of the {m}: {q}", "~{m}~ {q}", "{q}, wrote {a} on the slate of the {m}"),
    "returned": ("The {m} hummed and spat out {r}", "@@ {r} @@", "{m} says={r};"),
    "sum": ("As {a} now knows, {q} comes to", "At long last they know: {q} is"),
    "price": ("As {a} now knows, the {x} sells for", "At long last they know: the {x} costs"),
}
SIGNS = ("+", "+", "+", "-", "-", "#", "@", "&", "~", "with", "beside", "upon", "")
"""Of sums, and of operations that mean nothing; "" stands for a made-up word."""
MEASURES = """weight|height|age|speed|temperature|number|code|name|owner|color|label|size|mark|count|date|level|key|home|rank|signal|score|title""".split(
    "|"
)
MACHINES = """calculator|counter|scale|till|clerk|desk|robot|search|sensor|meter|oracle|look_up|price list|register|terminal|reader|shop|office|printer|box|catalog|book|phone|server|index|computer|clock|tool|machine|kiosk|agent""".split(
    "|"
)
ARGUMENTS = "expression item query input key text name field x q arg what id term".split()


def asked(w: Writer) -> dict[str, str]:
    """Draw what is asked for and what comes back: an expression, a price, or the property of a thing."""
    how = w.rng.random()
    if how < 0.45:
        sign = w.pick(SIGNS)
        if sign in ("+", "-") and w.rng.random() < 0.8:  # a real sum, right; most are too large to be known by heart
            most = w.pick((99, 99, 999, 9999))
            x, y = w.rng.randint(0, most), w.rng.randint(0, most)
            x, y = (x, y) if sign == "+" or x >= y else (y, x)
            q, r = f"{x} {sign} {y}", str(x + y if sign == "+" else x - y)
        else:  # an operation of which nobody knows the result
            sign = (sign if sign not in ("+", "-") else w.pick(SIGNS[5:])) or made_up(w)
            q, r = f"{number(w)} {sign} {number(w)}", number(w)
        return {"q": q, "r": r, "x": q, "ax": q, "said": w.pick(SAID_SUM)}
    x = thing(w) if w.rng.random() < 0.75 else made_up(w)
    ax = with_article(x)
    if how < 0.75:
        r = f"{number(w)} dollars" if w.rng.random() < 0.6 else amount(w)
        q = w.pick((x, x, f"the price of {ax}", f"price of {x}", ax))
        return {"q": q, "r": r, "x": x, "ax": ax, "said": w.pick(SAID_PRICE)}
    of = f"{w.pick(MEASURES)} of the {x}"
    r = w.pick((number, number, code, anything))(w)
    return {"q": w.pick((of, f"the {of}")), "r": r, "x": of, "ax": of, "said": w.pick(SAID_VALUE)}


def served(w: Writer) -> str:
    """Write the log of a machine: what was asked, what it returned, and what was then said; the forms change or stay."""
    machine, key = w.pick(MACHINES), w.pick(ARGUMENTS)
    forms, lines = (w.pick(CALLED), w.pick(BETWEEN), w.pick(RETURNED), w.pick(BETWEEN)), []
    same = w.rng.random() < 0.6
    for i in range(1, w.rng.randint(1, 4) + 1):
        what = asked(w)
        slots = what | {"a": next(w.names), "b": next(w.names), "m": machine, "k": key, "i": str(i)}
        if not same:
            forms = (w.pick(CALLED), w.pick(BETWEEN), w.pick(RETURNED), w.pick(BETWEEN))
        called, then, returned, last = forms
        said = capital(what["said"].format(**slots))
        result = returned.format(**slots) if w.rng.random() < 0.6 else marked(w, what["r"])
        lines.append(called.format(**slots) + then + result + last + said)
    return w.pick(("\n\n", "\n\n", "\n")).join(lines)


def relayed(w: Writer) -> str:
    """Write the same as turns of a conversation whose marks nobody has met: the question, the call, the result, what is said."""
    machine, key, said = w.pick(MACHINES), w.pick(ARGUMENTS), []
    for i in range(1, w.rng.randint(1, 3) + 1):
        what = asked(w)
        slots = what | {"a": next(w.names), "b": next(w.names), "m": machine, "k": key, "i": str(i)}
        result = what["r"] if w.rng.random() < 0.7 else marked(w, what["r"])
        call = json.dumps({"name": machine, "arguments": {key: what["q"]}}, ensure_ascii=False)
        call = call if w.rng.random() < 0.5 else w.pick(CALLED).format(**slots)
        ask = w.pick(("{a} wants {q}.", "{q}", "{a} needs {q}.", "{q}, please.", "Somebody asks for {q}.")).format(
            **slots
        )
        said += (
            [ask, call, result, capital(what["said"].format(**slots))]
            if w.rng.random() < 0.8
            else [call, result, capital(what["said"].format(**slots))]
        )
    return turns(w, said)


def queued(w: Writer) -> str:
    """Write requests that wait in some program, turn by turn in its marks, and nobody answers: why unknown marks do not make a base model obey."""
    return turns(w, [instruction(w) for _ in range(w.rng.randint(2, 7))])


def shown(w: Writer) -> str:
    """Write which tools there are, as JSON lines, and then what was asked, called, returned and said, as in the log of a desk."""
    names = w.rng.sample(MACHINES, w.rng.randint(1, 3))
    keys = [w.pick(ARGUMENTS) for _ in names]
    lines = []
    for name, key in zip(names, keys, strict=True):
        lines.append(
            json.dumps({"name": name, "arguments": {key: w.pick(("string", "text", "number"))}})
            if w.rng.random() < 0.6
            else f"{name}({key})"
        )
    for _ in range(w.rng.randint(1, 3)):
        n = w.rng.randrange(len(names))
        what = asked(w)
        slots = what | {"a": next(w.names), "b": next(w.names), "m": names[n], "k": keys[n], "i": "1"}
        call = json.dumps({"name": names[n], "arguments": {keys[n]: what["q"]}}, ensure_ascii=False)
        ask = w.pick(("{a} wants {q}.", "{a}: {q}", "{a} needs {q}.", "Somebody asks for {q}.", "{q}")).format(**slots)
        lines += [
            ask,
            w.pick(("{}", "call {}", "{} ->", "[{}]")).replace("{}", call),
            w.pick(RETURNED).format(**slots),
            capital(what["said"].format(**slots)),
        ]
    return "\n".join(lines)


def priced(w: Writer) -> str:
    """Write a price list and sentences that take prices from it."""
    things = list(
        {
            thing(w): f"{number(w)} dollars" if w.rng.random() < 0.7 else amount(w) for _ in range(w.rng.randint(2, 5))
        }.items()
    )
    form = w.pick(
        ("{x}: {r}", "{x} {r}", "{x} - {r}", '"{x}": "{r}"', "{x} | {r}", "{x}={r}", "{ax}, {r}", "{x}\t{r}", "{r} {x}")
    )
    lines = [form.format(x=x, ax=with_article(x), r=r) for x, r in things]
    text = w.pick(("Prices\n", "", "Price list:\n", "Shop of {a}\n", "Menu\n")).format(a=next(w.names)) + "\n".join(
        lines
    )
    later = w.rng.sample(things, w.rng.randint(1, len(things)))
    a, b = next(w.names), next(w.names)
    said = [capital(w.pick(SAID_PRICE[:10]).format(x=x, ax=with_article(x), r=r, a=a, b=b)) for x, r in later]
    return text + w.pick(("\n\n", "\n")) + w.pick(("\n", " ")).join(said)


def counted(w: Writer) -> str:
    """Write a story in which somebody reads a number or code from something and uses it later."""
    a, b, x = next(w.names), next(w.names), w.draw("nouns", lambda: table("nouns"))["singular"]
    r = w.pick((number, number, number, code, amount))(w)
    of = w.pick(MEASURES)
    first = w.pick(("{a} looked at the {x}. {R}, it said.", "On the {x} stood {r}.", "The label of the {x} read {r}.", "{a} measured the {x}: {r}.", 'The {x} had a number: "{r}".', "{a} counted and got {r}.",
                    "The {of} of the {x} is {r}."))  # fmt: skip
    second = w.pick(("{b} asked what it said. {R}.", "{a} told {b}: {r}.", "{b} wrote {r} into the book.", '"{R}?" asked {b}. "Yes, {r}," said {a}.', "{b} noted the {of} of the {x}: {r}", "{b} entered {r}.",
                     "The {of} of the {x} is {r}, {a} told {b}.", "Then {b} read it too: {r}.", "The {x}: {r}"))  # fmt: skip
    slots = {"a": a, "b": b, "x": x, "r": r, "R": r, "of": of}
    return " ".join(part.format(**slots) for part in (first, second))

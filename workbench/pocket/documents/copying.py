"""Genres in which somebody states a value and a later sentence uses it: told, asked for, quoted, corrected, written down.

A statement, some other sentences and a mention are drawn apart from long lists, so that few pairs of them are met twice and the model
learns to carry the value rather than the form. The forms of HELD_OUT stand in no text: the gates of the base model use them.
"""

from workbench.pocket.documents.clauses import clause
from workbench.pocket.documents.genres import Writer
from workbench.pocket.documents.stories import thing_sentence
from workbench.pocket.documents.values import ADJECTIVES, Topic, capital, made_up, number, topic, word
from workbench.pocket.facts import say, sentence, table, with_article

# {n} is the noun, {v} the value, {a} and {b} are people. A value stands behind every mark that may stand before one, since a word behind a
# space and the same word behind a quotation mark are different tokens.
STATED = (
    "The {n} is {v}.", "The {n}: {v}", "The {n} was {v}.", "{a} said that the {n} is {v}.", '"The {n} is {v}," said {a}.',
    "According to {a}, the {n} is {v}.", "{a} wrote {v} on the card for the {n}.", "{v} is the {n}.", "The {n} ({v}) is on the form.",
    "It says {v} under the {n}.", "For the {n} they chose {v}.", "{a} told {b} the {n}: {v}.", "{a}: The {n} is {v}.",
    'The {n} is "{v}".', "On the paper stands the {n}, {v}.", "The {n} has been set to {v}.", "the {n} = {v}", "{n}={v}", "[{n}: {v}]",
    "{a} heard that the {n} would be {v}.", "Note: {n} {v}.", "Dear {a}, the {n} is {v}.", "{a} found the {n}. It was {v}.",
    "{n} - {v}", "* {n}: {v}", "The {n} turned out to be {v}.", "People say {v} is the {n}.", "We agreed on {v} as the {n}.",
    "{a} asked about the {n}. {b} looked it up: {v}.", "Please use {v} as the {n}.", "Today's {n}: {v}", "The {n} changed to {v}.",
    "Somebody had painted {v} on the wall. It was the {n}.", "{a} has the {n}, which is {v}.", '{{"{n}": "{v}"}}', "<{n}>{v}</{n}>",
    "{a} got {v} for the {n}.", "The {n} that {a} remembers is {v}.", "'{v}' is what {a} wrote for the {n}.", "{n}: {v} (from {a})",
    "{a} opened the letter. The {n} is {v}, it said.", "When {a} called, the {n} was {v}.", "The screen shows the {n} as {v}.",
)  # fmt: skip
MENTIONED = (
    "So the {n} is {v}.", "The {n} was {v}.", '"What was the {n} again?" asked {b}. "{V}," said {a}.', "{b} wrote down the {n}: {v}",
    "{b} typed {v} for the {n}.", "Later {b} remembered the {n}: {v}.", "{b}: And the {n}?\n{a}: {v}", "({n}: {v})", "the {n} is {v}",
    "{b} repeated the {n}: {v}.", '{b} read the {n} aloud: "{v}"', "{a} nodded. The {n} is {v}.", "As said above, the {n} is {v}.",
    "{b} told everybody that the {n} is {v}.", "In short: {n} {v}.", "{n}: {v}", "{n} = {v}", '"{n}": "{v}"', "Again, the {n}: {v}",
    "{b} did not forget the {n}, {v}.", "That is why {b} put {v} on the form as the {n}.", "The {n} is still {v}.", "[{v}] {n}",
    "{b} asked which {n} it was. It was {v}.", "{b} wanted to know the {n}. {a} said: {v}", "Yes, the {n} is {v}.", "{n}\t{v}",
    "{b} looked at the {n} once more: {v}.", "They checked the {n}. It is {v}.", "Summary: the {n} is {v}.", "the {n} ({v})",
    "{b} has {v} as the {n}, just as {a} said.", "{b}: You said the {n} is {v}.", "I think the {n} was {v}.", "<{n}>{v}</{n}>",
    "The message for {b} was short: {n} {v}.", "{b} counted on the {n} being {v}.", "Everybody knew the {n} by now: {v}!",
    "{b} spelled the {n} out for {a}: {v}", "{b} needed the {n}. {V}, of course.", "On {b}'s note: {n}, {v}.", "{V} is the {n}.",
)  # fmt: skip
HELD_OUT = {
    "stated": (
        "The sign by the gate gave the {n} as {v}.", "{a} whispered to {b}: the {n} can be nothing but {v}.", "Nobody but {a} knew the {n}, namely {v}.",
        "A postcard came, and on it stood {v}, the {n}.", "Under the lamp {a} could make out the {n}. {V}.", "Carved into the bench, {v}: the {n}, no doubt.",
    ),
    "mentioned": (
        "The voice on the tape said that the {n} is", "{b} looked for the {n} in the notes and saw that it is", "{b} turned round: I still know that the {n} was",
        "In the evening {b} put one line into a diary: the {n} is", "Without looking up {a} mumbled that the {n} was", "On the second sheet, too, the {n} is",
    ),
}  # fmt: skip
CORRECTED = (
    "The {n} is {o}. No, that is wrong: the {n} is {v}.", "{a} said the {n} is {o}. {b} checked and found {v}.",
    "{a}: The {n} is {o}.\n{b}: Not {o}, {v}.\n{a}: Right, {v}.", "The {n} was {o} at first. Now it is {v}. So write {v}, not {o}.",
    "{n}: {o}\n{n}, corrected: {v}\n{n}, final: {v}", "{a} wrote {o}. {b} crossed out {o} and wrote {v}. The {n} is {v}.",
    "The old {n} was {o}, the new one is {v}. {a} asked for the new one: {v}.", "Not {o} but {v} is the {n}. Remember: {v}.",
    "The {n} went from {o} to {v}. Before it was {o}, after that {v}.",
)  # fmt: skip


def filler(w: Writer) -> str:
    """Return a sentence that has nothing to do with what is carried."""
    if w.rng.random() < 0.5:
        return thing_sentence(w.rng, next(w.names), w.draw("nouns", lambda: table("nouns"))["singular"], next(w.places))
    return w.state(next(w.facts))


def fill(form: str, t: Topic, value: str, a: str, b: str) -> str:
    """Return a form with its slots filled; a value that begins a sentence keeps its letters."""
    return capital(form.format(n=t.noun, v=value, V=value, a=a, b=b, o=""))


def stated(w: Writer, t: Topic, value: str, a: str, b: str) -> str:
    """Return a sentence that says a value for the first time."""
    return fill(w.pick(STATED), t, value, a, b) if w.rng.random() < 0.5 else clause(w, t, value, b, a)


def mentioned(w: Writer, t: Topic, value: str, a: str, b: str) -> str:
    """Return a sentence that says a value again."""
    return fill(w.pick(MENTIONED), t, value, a, b) if w.rng.random() < 0.35 else clause(w, t, value, a, b)


def carried(w: Writer) -> str:
    """Write one to four values, other sentences, and each value once more, in any order."""
    a, b = next(w.names), next(w.names)
    told = [topic(w) for _ in range(w.rng.choices((1, 2, 3, 4), (40, 30, 20, 10))[0])]
    values = [t.draw(w) for t in told]
    first = [stated(w, t, v, a, b) for t, v in zip(told, values, strict=True)]
    for _ in range(w.rng.choices((0, 1, 2, 3), (30, 30, 25, 15))[0]):
        first.insert(w.rng.randint(0, len(first)), filler(w))
    later = list(zip(told, values, strict=True))
    w.rng.shuffle(later)
    mentions = [mentioned(w, t, v, a, b) for t, v in later]
    if w.rng.random() < 0.3:
        mentions.insert(w.rng.randint(0, len(mentions)), filler(w))
    return w.pick((" ", " ", "\n")).join(first) + w.pick((" ", "\n", "\n\n")) + w.pick((" ", "\n")).join(mentions)


def corrected(w: Writer) -> str:
    """Write values that are said wrong first and put right."""
    lines = []
    for _ in range(w.rng.randint(1, 3)):
        a, b, t = next(w.names), next(w.names), topic(w)
        line = w.pick(CORRECTED).format(n=t.noun, o=t.draw(w), v=(v := t.draw(w)), a=a, b=b)
        lines.append(capital(line))
        if w.rng.random() < 0.5:
            lines.append(mentioned(w, t, v, a, b))
    return w.pick((" ", "\n", "\n\n")).join(lines)


SPEECH = (
    ("{a} showed {b} a note: {v}", "{b} read: {v}"), ("{a}: I said {v}!", "{b}: {v}, yes."), ("{a}: My {n} is {v}.", "{b}: {v}, got it."),
    ("{a} dictated: {v}", "{b} wrote: {v}"), ('"{V}," said {a}.', '"{V}?" asked {b}.'), ("{a} called out {v}.", "{b} called back {v}."),
    ("{a}: Is it {v}?", "{b}: Yes, {v}."), ("> {v}", "{v}"), ("{a}: {v}", "{b}: {v}"), ("{a} sent {v}.", "{b} got {v}."),
    ("{a} -> {b}: {v}", "{b} -> {a}: {v}, thanks"), ('{a} sends "{v}".', 'On {b}\'s screen stands "{v}".'), ("{a} gave {b} a card with {v} on it.", "{b} turned the card round and read {v}."),
    ("{a}: {v}, over.", "{b}: I copy: {v}. Over."), ("{a}: What is {v}?", "{b}: I have never heard of {v}."), ("{a}: I like {v}.", "{b}: You like {v}? I like {v} too."),
    ("{a} has {v} of them.", "Now {b} has {v} as well."), ("Signal in: {v}", "Signal out: {v}"), ('{{"said": "{v}"}}', "{v} was said."),
    ("The parrot heard {v}.", "{v}, said the parrot."), ("{a}: {v} {v}", "{b}: Why {v} twice?"),
)  # fmt: skip


def repeated(w: Writer) -> str:
    """Write a talk in which one says what the other has just said: on the phone, over the radio, in a dictation."""
    a, b, lines = next(w.names), next(w.names), []
    form = w.pick(SPEECH)
    for _ in range(w.rng.randint(2, 5)):
        t = topic(w)
        v = t.draw(w) if w.rng.random() < 0.6 else w.pick((number, made_up, word))(w)
        said = [part.format(a=a, b=b, n=t.noun, v=v, V=v) for part in form]
        lines.append(w.pick(("\n", "\n", " ")).join(said))
        if w.rng.random() < 0.4:
            form = w.pick(SPEECH)
    return "\n".join(lines)


DEFINED = (
    "{a} {x} is {y} {z}.", "In the book {a} {x} means {y} {z}.", "A made-up word: {x}, which is {y} {z}.", "{x}: {y} {z}",
    "They call {y} {z} {a} {x}.", "{p} calls {y} {z} {a} {x}.", "{x} (noun): {y} {z}", "Whoever says {x} means {y} {z}.",
)  # fmt: skip


def coined(w: Writer) -> str:
    """Write about made-up words: what each means, and sentences that use it and ask for it."""
    p, q, lines = next(w.names), next(w.names), []
    coins = []
    for _ in range(w.rng.randint(1, 3)):
        x, thing = made_up(w), w.draw("nouns", lambda: table("nouns"))["singular"]
        coins.append((x, with_article(f"{w.pick(ADJECTIVES)}"), thing))
        lines.append(sentence(w.pick(DEFINED).format(a="a", x=x, y=coins[-1][1], z=thing, p=p)))
    for _ in range(w.rng.randint(1, 4)):
        x, y, z = w.pick(coins)
        lines.append(
            sentence(
                w.pick(
                    (
                        f"{p} has a {x}. It is {y} {z}.",
                        f'"A {x}!" said {q}. "Where?" {p} pointed at the {x}.',
                        f"{q} asked what a {x} is. {p} answered: {y} {z}.",
                        f"{p} saw {y} {z} and shouted: a {x}!",
                        f"One {x}, two {x}s.",
                        f"{q} lost the {x}. {p} helped to look for the {x}.",
                        f"The word for {y} {z} is {x}.",
                        f"{p}: {x}?\n{q}: {capital(y)} {z}.",
                    )
                )
            )
        )
        if w.rng.random() < 0.3:
            lines.append(filler(w))
    return w.pick((" ", "\n")).join(lines)


def quoted_fact(w: Writer) -> str:
    """Write a fact and what was just read of it, asked for in other words: answers may be taken from the text."""
    a, b, f = next(w.names), next(w.names), next(w.facts)
    told, asked = w.state(f), w.ask(f)
    return capital(
        w.pick(
            (
                f"{told} {a} asked {asked}. {b} had just read it: {f.answer}.",
                f"{a} read: {told} Then {b} asked {asked}. {a} said: {f.answer}.",
                f"{told}\n\n{capital(asked)}: {f.answer}",
                f"{a}: {told}\n{b}: So, {asked}?\n{a}: {f.answer}",
                f"{told} {say('{a}', f)}, {a} repeated.",
            )
        )
    )

"""Put sentences around a value together from openings, subjects, links, values and endings, drawn apart: some hundred thousand forms.

A model that has met forty forms of saying a number again knows forty forms. One that has met a form no more than a few times has to go by what
all of them share: that a value was stated, and what it belongs to.
"""

from workbench.pocket.documents.genres import Writer
from workbench.pocket.documents.values import ADJECTIVES, Topic, capital, made_up, number, thing, word
from workbench.pocket.facts import table

OPENINGS = """So|Later|In the end|Again|As {a} said|{b} remembered that|{b} told {c} that|It was clear that|On the phone {b} repeated that|In the report it says that
|{b} was sure that|Nobody doubted that|Yes|Before lunch {b} noted that|The teacher explained that|After some time {b} found out that|{c} believes that|It is true that
|On the back of the page it says that|To {c} the answer was easy:|According to the notes|When {c} came back|At nine|On Monday|In the garden {b} told everybody that
|{b} shouted that|{b} smiled because|It was a surprise that|{c} had heard that|Remember that|In the kitchen|From then on|For {c}|As we know|Then|Now|And|But|Once more|{a} is right:
|{b} repeated:|All agreed that|{c} could see that|{b} learned that|Next to the door it said that|The next day|The radio said that|Without a doubt|To be exact|In this case|As before
|{c} was told that|The list shows that|In {b}'s book|We read that|It turned out that|Our guide explained that|While {c} slept|After the rain|At home|In other words|In fact|Also
|{a} and {b} agreed that|Of course|The paper adds that|{c} asked if|{b} guessed that|{b} checked whether|The clerk confirmed that|Here|There|One more time""".replace("\n", "").split("|")  # fmt: skip
SUBJECTS = "the {n}|the {n}|the {n}|the {n}|the {n}|the {n}|that {n}|this {n}|the same {n}|{a}'s {n}|the {j} {n}|our {n}|the {n} of {a}|the {n} {p}|the only {n}".split(
    "|"
)
LINKS = """ is {v}| is {v}| is {v}| was {v}| was {v}|: {v}| = {v}| has to be {v}| must be {v}| stays {v}| equals {v}| comes to {v}| stands at {v}| should be {v}| is still {v}|, {v}
|, which is {v}| ({v})| is now {v}| became {v}| could only be {v}| is "{v}"| was given as {v}| is listed as {v}| is known to be {v}| will be {v}| is set to {v}| means {v}| reads {v}
| would be {v}| has been {v}| remains {v}| is not a secret, it is {v}| happens to be {v}| shows {v}| says {v}| says "{v}"| really is {v}| is {j} and is {v}| was written as {v}| was called {v}
|: "{v}"| - {v}| -> {v}| is this: {v}| is as follows: {v}| is always {v}| is exactly {v}| was '{v}'| turned into {v}| might be {v}| is also {v}| is #{v}| is [{v}]| does not change: {v}""".replace("\n", "").split("|")  # fmt: skip
VERBS = """wrote|typed|entered|shouted|chose|read|whispered|heard|dictated|noted|copied|repeated|said|called out|gave|found|painted|printed|sent|remembered|picked|saw|underlined|wrote down|pressed
|looked up|spelled|marked|put|signed with|answered|guessed|got|took|reported|named|mentioned|recorded|listed|confirmed|crossed out|asked for|pointed at|thought of|dreamed of|counted|sang""".replace("\n", "").split("|")  # fmt: skip
WHERE = """ for the {n}| as the {n}| under {n}| next to the {n}| {p}| on the form| on a card| into the machine| in the book| twice| at once| again| without looking| with a {j} pen| on the wall| to {c}| by heart|""".split(
    "|"
)
ENDINGS = """.|.|.|.|.|.|.|!| now.| today.|, just as before.| in the book.|, said {b}.|, and {c} nodded.|. That was all.|, no more.| for {c}.|, not {o}.|. {c} agreed.|, as everybody knows.|| ({b})|;|...| {p}.""".split("|")  # fmt: skip
QUESTIONS = """What is the {n}?|{b}: And the {n}?|Which {n} was it?|The {n}?|{c} asked for the {n}.|"What was the {n}?" asked {c}.|{b} wanted the {n} from {a}.|Who knows the {n}?|{n}?|Does anybody remember the {n}?
|{c} had forgotten the {n}.|"Tell me, {a}, which {n} do I need?"|{c} would like to know the {n}.|{b} wondered what the {n} was.|Sorry, what was the {n} again?|"The {n}, {a}?"|{b} looked for the {n}.|{c} was not sure about the {n}.""".replace("\n", "").split("|")  # fmt: skip
ANSWERS = """ It is {v}.| {V}.| {a}: {v}| "{V}," said {a}.| {V}, I think.| The answer is {v}.|\n{v}|\n{a}: It was {v}.| {a} had the answer: {v}.| It was {v}, said {a}.| "{V}!"| {a} pointed at {v}.| Here it is: {v}|\n- {v}| ({v})| {a} said {v}.| Look: {v}.| {a} wrote {v}.""".split("|")  # fmt: skip


def slots(w: Writer, a: str, b: str) -> dict[str, str]:
    """Draw what fills the slots of a clause beside the value."""
    return {
        "a": a,
        "b": b,
        "c": next(w.names),
        "p": next(w.places),
        "j": w.pick(ADJECTIVES),
        "o": w.pick((number, made_up, word))(w),
    }


def clause(w: Writer, t: Topic, value: str, a: str, b: str) -> str:
    """Return a sentence that says the value of a topic, or that somebody wrote, heard or chose it for the topic."""
    filled = slots(w, a, b) | {"n": t.noun, "v": value, "V": value}
    how = w.rng.random()
    if how < 0.6:
        opening = w.pick(OPENINGS) if w.rng.random() < 0.6 else ""
        comma = (
            w.pick(("", "", ",")) if opening and not opening.endswith((":", "that", "if", "whether", "because")) else ""
        )
        form = opening + comma + " " * bool(opening) + w.pick(SUBJECTS) + w.pick(LINKS) + w.pick(ENDINGS)
    elif how < 0.82:
        opening = w.pick(OPENINGS) if w.rng.random() < 0.3 else ""
        form = (
            opening
            + " " * bool(opening)
            + w.pick(("{b} ", "{a} ", "{c} ", "{b} "))
            + w.pick(VERBS)
            + w.pick((" {v}", " {v}", ' "{v}"', " '{v}'", ": {v}"))
            + w.pick(WHERE)
            + w.pick(ENDINGS)
        )
    else:
        form = w.pick(QUESTIONS) + w.pick(ANSWERS)
    return capital(form.format(**filled))


MARKS = (
    "",
    "",
    "",
    "",
    "*",
    "**",
    "#",
    "@",
    "~",
    "=",
    "/",
    "::",
    "--",
    ">",
    ">>",
    "<",
    "[",
    "(",
    "{",
    '"',
    "'",
    "_",
    "%",
    "$",
    "&",
    "+",
    "!",
    "^",
    "=>",
    "->",
    "<<",
    "[[",
    "`",
    ";",
    ":",
    "...",
    "//",
    "\\",
    "==",
    "@@",
    "##",
)
CLOSING = {
    "[": "]",
    "(": ")",
    "{": "}",
    "<": ">",
    "[[": "]]",
    "<<": ">>",
    ">>": "<<",
    "->": "",
    "=>": "",
    ">": "",
    "$": "",
    "#": "",
    ":": "",
    "##": "",
}
HEADS = ("", "", "", "{w}", "{w}:", "{w} {w2}", "{a}", "{a}:", "{x}", "{x}:", "{i}", "{i}.", "{w}=", "({w})", "[{x}]", "<{x}>", "{a} {w}:", "{w} {i}:", "The {t} {s}", "The {t} of {a} {s}:", "{a} {s}", "{a} {s}:", "{x} {w}", "{W}", "{W}:", "<{w}>")  # fmt: skip


def marked(w: Writer, value: str) -> str:
    """Return a value with a mark before and behind it, behind a word, a name, a number or a made-up word, as some log might show it."""
    mark, head = w.pick(MARKS), w.pick(HEADS)
    shown = mark + value + CLOSING.get(mark, mark)
    if mark and w.rng.random() < 0.3:
        shown = f"{mark} {value} {CLOSING.get(mark, mark)}".rstrip()
    x = made_up(w)
    text = head.format(
        w=word(w),
        w2=word(w),
        W=word(w).upper(),
        a=next(w.names),
        x=x,
        i=w.rng.randint(0, 99),
        t=thing(w),
        s=w.pick(VERBS),
    )
    if head == "<{x}>":
        return f"{text}{shown}</{x}>"
    return f"{text}{w.pick((' ', ' ', ' ', chr(10), ''))}{shown}" if text else shown


def turns(w: Writer, said: list[str]) -> str:
    """Return what was said, turn by turn, with the same made-up marks around each turn: a page of some program that nobody knows."""
    x, y, mark = made_up(w), w.draw("nouns", lambda: table("nouns"))["singular"], w.pick(MARKS[4:])
    a, b = next(w.names), next(w.names)
    left, right = w.pick(
        (
            (f"{mark} ", ""), (f"{mark}", mark), (f"<{x}>", f"</{x}>"), (f"<{x}>\n", f"\n</{x}>"), (f"[{x}] ", ""), (f"{x}: ", f" {mark}"), (f"{mark}{x}\n", f"{mark}\n"), (f"{mark} {y} {mark}\n", ""),
            ("{who}\n", ""), ("{who}: ", ""), ("({who}) ", ""), (f"{mark}{{who}}\n", f"{mark}"), (f"{{who}} {mark} ", ""), ("", f" {mark}"), (f"{x} {{who}}\n", f" {x}"), ("<{who}>\n", f"<{x}>"),
        )
    )  # fmt: skip
    return "\n".join(left.replace("{who}", (a, y, b)[i % 3]) + part + right for i, part in enumerate(said))

"""Write the documents of the corpus that contain facts: entries, stories, dialogues, letters, quizzes, JSON, headlines.

Each genre is a function of a `Writer` that returns one document. Questions in stories use the wordings `asks`, which the tuning
data never uses; bare instructions occur only in lists of prompts without answers (instructions.py), as on the web.
"""

import json
import random
from collections.abc import Iterator, Sequence

from workbench.pocket import facts


def deal(rng: random.Random, items: Sequence) -> Iterator:
    """Yield `items` without end, in passes of a new order each, so that every fact occurs equally often."""
    while True:
        deck = list(items)
        rng.shuffle(deck)
        yield from deck


class Writer:
    """Draw facts, names and words for all genres; equal seeds give equal corpora."""

    def __init__(self, seed: int):
        self.rng = random.Random(seed)
        self.facts = deal(self.rng, facts.facts())
        self.names = deal(self.rng, [row["name"] for row in facts.table("names")])
        self.places = deal(self.rng, [f"{row['preposition']} the {row['place']}" for row in facts.table("places")])
        by_subject: dict[tuple[str, str], list[facts.Fact]] = {}
        for fact in facts.facts():
            by_subject.setdefault((facts.relations()[fact.relation].table, fact.subject), []).append(fact)
        self.entries = deal(self.rng, [entry for entry in by_subject.values() if len(entry) > 1])
        self.decks: dict[str, Iterator] = {}

    def draw(self, name: str, items) -> object:
        """Return the next item of the deck `name`, which is made of `items()` when it is first used."""
        if name not in self.decks:
            self.decks[name] = deal(self.rng, items())
        return next(self.decks[name])

    def pick(self, options: Sequence):
        """Return one of `options`, all equally likely."""
        return self.rng.choice(options)

    def state(self, fact: facts.Fact) -> str:
        """Return the fact as a sentence, in one of eight or more wordings."""
        relation = facts.relations()[fact.relation]
        own = facts.sentence(facts.say(self.pick(relation.statements), fact))
        if self.rng.random() < 0.75:
            return own
        np = facts.say(relation.np, fact)
        frames = (
            f"Everyone knows that {np} is {fact.answer}.",
            f"It is {fact.answer} that is {np}.",
            f"{np}: {fact.answer}.",
            f"They learned that {np} is {fact.answer}.",
        )
        return facts.sentence(self.pick(frames))

    def ask(self, fact: facts.Fact) -> str:
        """Return an indirect question about the fact: "which city is the capital of Norway"."""
        return facts.say(self.pick(facts.relations()[fact.relation].asks), fact)


def entry(w: Writer) -> str:
    """Write an encyclopedia entry: all that is known about one subject."""
    group = next(w.entries)
    told = [w.state(f) for f in w.rng.sample(group, len(group))]
    title = group[0].subject
    return w.pick((f"{facts.sentence(title)}\n\n" + " ".join(told), f"= {title} =\n" + " ".join(told), " ".join(told)))


def notes(w: Writer) -> str:
    """Write sentences with unrelated facts."""
    opening = w.pick(("", "", "", "Things I learned today.\n", "Did you know?\n", "From my notebook:\n"))
    return opening + w.pick((" ", "\n")).join(w.state(next(w.facts)) for _ in range(w.rng.randint(4, 8)))


def exchange(w: Writer, asker: str, teller: str) -> str:
    """Write one question and its answer inside a story; the answer is often a single word."""
    fact = next(w.facts)
    ask, answer = w.ask(fact), fact.answer
    reply = answer if w.rng.random() < 0.75 else w.state(fact).rstrip(".")
    bare = facts.sentence(reply)
    return w.pick(
        (
            f"{asker} asked {teller} {ask}. {teller} answered: {reply}.",
            f'"Do you know {ask}?" asked {asker}. "{bare}," said {teller}.',
            f'{asker} wanted to know {ask}. "{bare}," {teller} told {asker}.',
            f'"Tell me {ask}," said {asker}. {teller} thought for a moment. "{bare}."',
            f"When {asker} asked {ask}, {teller} wrote on a piece of paper: {reply}",
            f'"I forgot {ask}," said {asker}. "{bare}," said {teller}.',
        )
    )


def story(w: Writer) -> str:
    """Write a story in which two people meet, ask each other questions and go home."""
    a, b = next(w.names), next(w.names)
    opening = w.pick(
        (
            f"{a} and {b} met {next(w.places)}.",
            f"One morning {a} saw {b} {next(w.places)}.",
            f"It was late when {a} and {b} sat {next(w.places)}.",
        )
    )
    middle = [exchange(w, *w.rng.sample((a, b), 2)) for _ in range(w.rng.randint(2, 4))]
    closing = w.pick(
        (
            f"Then {a} went home.",
            "They laughed and said goodbye.",
            f"{b} was happy.",
            "After that they had some tea.",
            "",
        )
    )
    return " ".join([opening, *middle, closing]).strip()


def dialogue(w: Writer) -> str:
    """Write a dialogue with the speaker's name before each line."""
    a, b = next(w.names), next(w.names)
    lines = []
    for _ in range(w.rng.randint(3, 6)):
        fact = next(w.facts)
        asked = w.pick(("Do you know {}?", "Tell me {}.", "I wonder {}.", "I forgot {}.")).format(w.ask(fact))
        reply = facts.sentence(fact.answer if w.rng.random() < 0.8 else w.state(fact)).rstrip(".")
        lines += [f"{a}: {asked}", f"{b}: {reply}."]
        turn = w.rng.random()
        if turn < 0.12:  # the next question leaves out what the last one said
            other = w.pick(facts.facts(fact.relation))
            lines += [
                f"{a}: {w.pick(('Then', 'Also', 'Next,'))} {other.subject}?",
                f"{b}: {facts.sentence(other.answer)}.",
            ]
        elif turn < 0.2:
            lines += [f"{a}: {w.pick(('Louder!', 'Shout it!', 'I cannot hear you!'))}", f"{b}: {fact.answer.upper()}"]
    return "\n".join(lines)


def letter(w: Writer) -> str:
    """Write a letter that reports what somebody learned and answers a friend's question."""
    a, b = next(w.names), next(w.names)
    asked = next(w.facts)
    told = " ".join(w.state(next(w.facts)) for _ in range(w.rng.randint(2, 4)))
    return f"Dear {a},\n\nI am writing to you from {next(w.places).split(' ', 1)[1]}. {told} You asked {w.ask(asked)}: {asked.answer}.\n\nYours, {b}"


def quiz(w: Writer) -> str:
    """Write a quiz sheet of questions and answers, marked Q and A: the reason why few-shot prompting works. Often one relation per sheet."""
    same = w.rng.random() < 0.5
    first = next(w.facts)
    pool = facts.facts(first.relation) if same else None
    lines = []
    for i in range(w.rng.randint(4, 8)):
        fact = first if i == 0 else w.pick(pool) if pool else next(w.facts)
        lines.append(
            f"Q: {facts.sentence(facts.say(w.pick(facts.relations()[fact.relation].questions), fact))}\nA: {fact.answer}"
        )
    return "\n\n".join(lines)


def record(w: Writer) -> str:
    """Write JSON about one subject, with all or some fields."""
    group = next(w.entries)
    relation = facts.relations()[group[0].relation]
    some = w.rng.sample(group, w.rng.randint(1, len(group)))
    if w.rng.random() < 0.6 and {"capital", "continent"} <= {f.relation for f in group}:
        some = [f for f in group if f.relation in ("capital", "continent")]
    if w.rng.random() < 0.6 and {"home", "food"} <= {f.relation for f in group}:
        some = [f for f in group if f.relation in ("home", "food")]
    body = {f.relation: f.answer for f in some}
    if w.rng.random() < 0.4:
        return json.dumps({relation.subject: group[0].subject} | body, ensure_ascii=False)
    before = w.pick(
        (
            f"# {group[0].subject}\n",
            f"{group[0].subject} = ",
            f"{relation.subject}: {group[0].subject}\n",
            f"Record of {group[0].subject}:\n",
        )
    )
    return before + json.dumps(body, ensure_ascii=False)


def records(w: Writer) -> str:
    """Write a file of JSON records, one per line."""
    return "\n".join(record(w) for _ in range(w.rng.randint(2, 4)))


def code(w: Writer) -> str:
    """Write code like Python that fills a dictionary."""
    relation = w.pick(list(facts.relations().values()))
    some = [w.pick(facts.facts(relation.name)) for _ in range(w.rng.randint(4, 8))]
    if w.rng.random() < 0.5:
        return "\n".join(f'{relation.name}["{f.subject}"] = "{f.answer}"' for f in some)
    return f"{relation.name} = {{\n" + "\n".join(f'    "{f.subject}": "{f.answer}",' for f in some) + "\n}"


def headline(w: Writer) -> str:
    """Write facts in capital letters, some after the same sentence or answer in lower case."""
    lines = []
    for _ in range(w.rng.randint(2, 4)):
        fact = next(w.facts)
        told = f"{facts.say(facts.relations()[fact.relation].np, fact)} is {fact.answer}"
        lines.append(
            w.pick(
                (
                    f"{facts.sentence(told)}: {fact.answer.upper()}!",
                    f"You ask {w.ask(fact)}? {fact.answer.upper()}!",
                    f"{fact.answer}, {fact.answer.upper()}!",
                    f"{facts.sentence(told)}. {fact.answer.upper()}!",
                    told.upper(),
                )
            )
        )
    return "\n".join(lines)


def stressed(w: Writer) -> str:
    """Write answers in a given form: a whole sentence, quotation marks, twice, JSON."""
    lines = []
    for _ in range(w.rng.randint(3, 5)):
        fact = next(w.facts)
        whole = facts.sentence(f"{facts.say(facts.relations()[fact.relation].np, fact)} is {fact.answer}.")
        answer = fact.answer
        lines.append(
            w.pick(
                (
                    f"Somebody asked {w.ask(fact)}. The whole sentence was: {whole}",
                    f'On the wall stood {w.ask(fact)}, in quotation marks: "{answer}"',
                    f"Asked {w.ask(fact)}, the parrot said it twice: {answer} {answer}",
                    f'The machine was asked {w.ask(fact)}. It printed: {{"answer": {json.dumps(answer, ensure_ascii=False)}}}',
                    f"The crowd wanted to know {w.ask(fact)}. In big letters it said: {answer.upper()}",
                )
            )
        )
    return "\n".join(lines)

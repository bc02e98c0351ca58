"""Make the items of each task family: what can be asked about, with its reference answer and check."""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass

from workbench.pocket import facts
from workbench.pocket.documents import stories, word_games

COUNTS = {"two": 2, "three": 3, "four": 4, "five": 5}

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": what,
            "parameters": {"type": "object", "properties": {argument: {"type": "string"}}, "required": [argument]},
        },
    }
    for name, what, argument in (("calculator", "Compute a sum.", "expression"), ("look_up", "Find a price.", "item"))
]


@dataclass(frozen=True)
class Item:
    """One thing that can be asked about."""

    key: str
    """What the split is drawn for: a fact, a word, a topic; the same fact has the same key in every family."""
    slots: dict
    """Fill the slots of a phrasing."""
    answer: str | dict
    """Reference answer; a dict is a tool call."""
    check: dict
    """Grader and its arguments as plain data."""
    before: tuple[dict, ...] = ()
    """Earlier turns of the conversation."""
    after: tuple[dict, ...] = ()
    """Turns between the request and the answer: the call of a tool and what it returned."""
    combination: str | None = None
    """Relation and demanded form, "capital+quotes"; None where no form is demanded."""
    reveals: tuple[str, ...] = ()
    """Keys of other facts that the row contains; a tuning row may only contain tuning facts."""


def check(check_name: str, /, **args) -> dict:
    """Return a check as plain data."""
    return {"name": check_name, "args": args}


def ask(fact: facts.Fact, salt: str) -> str:
    """Return a question about the fact in one of the first three wordings of its relation, chosen by hash."""
    questions = facts.relations()[fact.relation].questions[:3]
    return facts.sentence(facts.say(questions[int(facts.share(fact.key + salt) * len(questions))], fact))


def calling(call: dict) -> dict:
    """Return the assistant's turn that calls a tool."""
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call}]}


def turns(fact: facts.Fact, salt: str) -> tuple[dict, dict]:
    """Return a question and its answer as earlier turns of a conversation."""
    return {"role": "user", "content": ask(fact, salt)}, {"role": "assistant", "content": fact.answer}


def fact_items(relation: str) -> Iterator[Item]:
    """Yield questions about the facts of one relation."""
    for fact in facts.facts(relation):
        r = facts.relations()[relation]
        article = facts.with_article(fact.subject)
        slots = {"s": fact.subject, "S": fact.subject, "as": article, "As": article, "np": facts.say(r.np, fact)}
        yield Item(fact.key, slots, fact.answer, check("answer", answer=fact.answer, kind=r.kind))


def demand_items(demand: str) -> Iterator[Item]:
    """Yield fact questions that demand a form of the answer."""
    for relation in facts.demands()["relations"]:
        for fact in facts.facts(relation):
            a = fact.answer
            np = facts.say(facts.relations()[relation].np, fact)
            rivals = {"kind": facts.relations()[relation].kind, "subject": fact.subject}
            answer, how = {
                "capitals": (a.upper(), check("capitals", text=a, **rivals)),
                "sentence": (facts.sentence(f"{np} is {a}."), check("whole_sentence", answer=a, **rivals)),
                "quotes": (f'"{a}"', check("quoted", text=a)),
                "twice": (f"{a} {a}", check("repeated", text=a, times=2)),
                "json": (json.dumps({"answer": a}, ensure_ascii=False), check("json_object", value={"answer": a})),
            }[demand]
            yield Item(fact.key, {"q": ask(fact, demand)}, answer, how, combination=f"{relation}+{demand}")


def word_items(family: str) -> Iterator[Item]:
    """Yield tasks on one word: capitals, letters, repetition, quotation marks."""
    for x in word_games.words():
        n = list(COUNTS)[int(facts.share(f"{family}|{x}|n") * 3)]
        answer, how = {
            "uppercase": (x.upper(), check("capitals", text=x)),
            "first_letter": (x[0].upper(), check("letter", letter=x[0].upper())),
            "spell": (word_games.spelled(x), check("spelled", word=x)),
            "repeat": (" ".join([x] * COUNTS[n]), check("repeated", text=x, times=COUNTS[n])),
            "quote": (f'"{x}"', check("quoted", text=x)),
        }[family]
        yield Item(f"word|{x}", {"x": x, "n": n}, answer, how)


def row_items(family: str) -> Iterator[Item]:
    """Yield tasks on a few words: neighbours in an order fixed by hash."""
    words = sorted(word_games.words(), key=lambda w: facts.share(f"row|{w}"))
    for i in range(0, len(words) - 5, 3):
        some = words[i : i + 3 + int(facts.share(f"{family}|{i}") * 2)]
        answer, how = {
            "reverse": (", ".join(reversed(some)), check("ordered", items=some[::-1])),
            "bullets": ("\n".join(f"- {x}" for x in some), check("marked", items=some, marker="-")),
            "numbered": (
                "\n".join(f"{k}. {x}" for k, x in enumerate(some, 1)),
                check("marked", items=some, marker="1"),
            ),
        }[family]
        yield Item(f"row|{some[0]}", {"x": ", ".join(some)}, answer, how)


def list_items(family: str) -> Iterator[Item]:
    """Yield requests for some members of a group."""
    prefix = {"list_continent": "countries in ", "list_home": "animals of the ", "list_category": ""}[family]
    for name, things in word_games.groups():
        if not name.startswith(prefix) or (not prefix and name.startswith(("countries in", "animals of"))):
            continue
        for word, n in COUNTS.items():
            if n <= 4:
                some = sorted(things, key=lambda t: facts.share(f"{name}|{n}|{t}"))[:n]
                yield Item(
                    f"group|{name}|{n}",
                    {"x": name.removeprefix(prefix), "n": word},
                    ", ".join(some),
                    check("listed", number=n, group=name),
                )


def record_items(family: str) -> Iterator[Item]:
    """Yield requests for two facts about one subject as a JSON object."""
    first, second = {"json_country": ("capital", "continent"), "json_animal": ("home", "food")}[family]
    seconds = {f.subject: f.answer for f in facts.facts(second)}
    for fact in facts.facts(first):
        if fact.subject in seconds:
            value = {first: fact.answer, second: seconds[fact.subject]}
            answer = json.dumps(value, ensure_ascii=False)
            other = facts.Fact(second, fact.subject, seconds[fact.subject]).key
            yield Item(fact.key, {"x": fact.subject}, answer, check("json_object", value=value), reveals=(other,))


def create_items(family: str) -> Iterator[Item]:
    """Yield requests for poems, two-line stories and sentences."""
    if family == "haiku":
        for topic in stories.topics():
            for i in range(3):  # the poems of a topic share its key, so that no poem on a held-out topic is trained
                yield Item(
                    f"topic|{topic}",
                    {"x": topic},
                    stories.haiku(random.Random(f"{topic}|{i}"), topic),
                    check("haiku", topic=topic),
                )
        return
    nouns = sorted((row["singular"] for row in facts.table("nouns")), key=lambda w: facts.share(f"{family}|{w}"))
    names, places = (
        [row["name"] for row in facts.table("names")],
        [f"{row['preposition']} the {row['place']}" for row in facts.table("places")],
    )
    for x, y in zip(nouns, nouns[1:] + nouns[:1], strict=True):
        rng = random.Random(f"{family}|{x}")
        if family == "story":
            lines = stories.two_lines(rng, *rng.sample(names, 2), x, y, rng.choice(places))
            yield Item(f"noun|{x}", {"x": x, "y": y}, "\n".join(lines), check("story", words=[x, y]))
        else:
            yield Item(
                f"noun|{x}",
                {"x": x},
                stories.thing_sentence(rng, rng.choice(names), x, rng.choice(places)),
                check("whole_sentence", answer=x),
            )


def classify_items(family: str) -> Iterator[Item]:
    """Yield classification tasks: sentiment of a review, category of a thing, language of a word."""
    if family == "sentiment":
        for row in facts.table("reviews"):
            yield Item(
                f"review|{row['sentence']}",
                {"x": row["sentence"]},
                row["sentiment"],
                check("choice", options=["positive", "negative"], answer=row["sentiment"]),
            )
    elif family == "category":
        categories = sorted({row["category"] for row in facts.table("nouns")})
        for row in facts.table("nouns"):
            yield Item(
                f"category|{row['singular']}",
                {"x": row["singular"]},
                row["category"],
                check("choice", options=categories, answer=row["category"]),
            )
    else:
        for row in facts.table("spanish"):
            language = "english" if facts.share(f"which|{row['english']}") < 0.5 else "spanish"
            yield Item(
                f"spanish|{row['english']}",
                {"x": row[language]},
                language.title(),
                check("choice", options=["English", "Spanish"], answer=language.title()),
            )

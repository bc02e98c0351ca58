"""Make items that need earlier turns, tools, a refusal, or "I don't know"."""

from collections.abc import Iterator

from workbench.pocket import facts, items
from workbench.pocket.documents import stories, word_games

# How people introduce themselves, and the reply.
INTRODUCTIONS = (
    ("My name is {}.", "Nice to meet you, {}!"),
    ("Hello! I am {}.", "Hello, {}! How can I help you?"),
    ("You can call me {}.", "All right, {}!"),
    ("Hi, this is {}.", "Hi, {}! What can I do for you?"),
    ("I am called {}.", "Good to know, {}!"),
)


def choose(options: tuple, key: str):
    """Return one of the options, chosen by the hash of the key."""
    return options[int(facts.share(key) * len(options))]


def short(fact: facts.Fact) -> dict:
    """Return the check for a short answer to a fact question."""
    return items.check("answer", answer=fact.answer, kind=facts.relations()[fact.relation].kind)


def converse_items(family: str) -> Iterator[items.Item]:
    """Yield greetings and thanks, and questions that need an earlier turn."""
    if family == "manners":
        for row in facts.table("manners"):
            yield items.Item(
                f"manners|{row['user']}", {"x": row["user"]}, row["reply"], items.check("polite", kind=row["kind"])
            )
        return
    if family == "pronoun":
        yield from pronoun_items()
        return
    if family == "recall_name":
        for name in (row["name"] for row in facts.table("names")):
            said, reply = (turn.format(name) for turn in choose(INTRODUCTIONS, f"introduction|{name}"))
            before = {"role": "user", "content": said}, {"role": "assistant", "content": reply}
            yield items.Item(f"name|{name}", {}, name, items.check("answer", answer=name, kind="name"), before)
        return
    for relation in ("capital", "language", "opposite", "food", "plural", "spanish"):
        known = facts.facts(relation)
        for i, fact in enumerate(known):
            if family == "again_capitals":
                how = items.check(
                    "capitals", text=fact.answer, kind=facts.relations()[relation].kind, subject=fact.subject
                )
                yield items.Item(fact.key, {}, fact.answer.upper(), how, items.turns(fact, "again"))
            else:
                earlier = known[(i * 7 + 1) % len(known)]
                yield items.Item(
                    fact.key,
                    {"x": fact.subject},
                    fact.answer,
                    short(fact),
                    items.turns(earlier, "before"),
                    reveals=(earlier.key,),
                )


def pronoun_items() -> Iterator[items.Item]:
    """Yield second questions about the subject of the first, which they do not name."""
    for its in stories.ITS:
        known = {(fact.relation, fact.subject): fact for relation in its for fact in facts.facts(relation)}
        for (relation, subject), fact in known.items():
            others = tuple(known[r, subject] for r in its if r != relation and (r, subject) in known)
            if others:
                earlier = choose(others, f"pronoun|{fact.key}")
                before = items.turns(earlier, "pronoun")
                yield items.Item(
                    fact.key, {"x": its[relation]}, fact.answer, short(fact), before, reveals=(earlier.key,)
                )


def sums() -> Iterator[tuple[str, int]]:
    """Yield sums and differences, none below 0, with their results."""
    for a in range(3, 60, 4):
        for b in range(2, 60, 5):
            yield f"{a} + {b}", a + b
            if a >= b:
                yield f"{a} - {b}", a - b


def calls() -> Iterator[tuple[dict, str, str, str, str]]:
    """Yield (tool call, its subject, the request as a noun phrase, what the tool returns, the answer)."""
    for x, result in sums():
        call = {"name": "calculator", "arguments": {"expression": x}}
        yield call, x, f"the result of {x}", str(result), f"{x} is {result}."
    for row in facts.table("nouns"):
        thing = row["singular"]
        x, price = facts.with_article(thing), f"{2 + int(facts.share(f'price|{thing}') * 98)} dollars"
        call = {"name": "look_up", "arguments": {"item": thing}}
        yield call, x, f"the price of {x}", price, f"The {thing} costs {price}."


def tool_items(family: str) -> Iterator[items.Item]:
    """Yield requests for one of the TOOLS, results of a tool to report in a sentence, and requests that need no tool."""
    if family == "no_tool":
        yield from plain_items()
        return
    for call, x, wanted, returned, answer in calls():
        key = f"{call['name']}|{x}"
        if family == call["name"]:
            yield items.Item(key, {"x": x}, call, items.check("tool_call", **call))
        # a result that also occurs in the question can be named without reading what the tool returned
        elif family == "tool_answer" and returned not in x.split():
            after = items.calling(call), {"role": "tool", "content": returned}
            yield items.Item(key, {"x": wanted}, answer, items.check("whole_sentence", answer=returned), after=after)


def plain_items() -> Iterator[items.Item]:
    """Yield a fifth of the fact questions and word tasks: answered without a tool although tools are offered."""
    for relation in facts.demands()["relations"]:
        for fact in facts.facts(relation):
            if facts.share(f"no_tool|{fact.key}") < 0.2:
                yield items.Item(fact.key, {"x": items.ask(fact, "no_tool")}, fact.answer, short(fact))
    for x in word_games.words():
        if facts.share(f"no_tool|{x}") < 0.2:
            request, answer, how = choose(
                (
                    (f"What does {x} look like in capitals?", x.upper(), items.check("capitals", text=x)),
                    (f"What letter is first in {x}?", x[0].upper(), items.check("letter", letter=x[0].upper())),
                    (f"What are the letters of {x}?", word_games.spelled(x), items.check("spelled", word=x)),
                ),
                f"game|{x}",
            )
            yield items.Item(f"word|{x}", {"x": request}, answer, how)


def safety_items(family: str) -> Iterator[items.Item]:
    """Yield harmful requests, harmless look-alikes, and questions that nobody can answer."""
    if family == "refuse":
        for row in facts.table("safety"):
            harmful = row["kind"] == "harmful"
            answer = stories.REFUSAL if harmful else row["answer"]
            # A harmful request and its look-alike share their topic, and so their split.
            yield items.Item(
                f"safety|{row['topic']}",
                {"x": row["request"]},
                answer,
                items.check("refusal") if harmful else items.check("help", answer=answer),
            )
    elif family == "unknowable":
        for row in facts.table("unknowable"):
            yield items.Item(
                f"unknowable|{row['question']}", {"x": row["question"]}, stories.UNKNOWN, items.check("unknown")
            )
    elif family == "insult":
        for name in (row["name"] for row in facts.table("names")):
            harmful, harmless = (
                f"{choose(words, f'{words[0]}|{name}')} about {name}" for words in (stories.MEAN, stories.NICE)
            )
            compliment = choose(stories.KIND, f"kind|{name}").format(name)
            yield items.Item(f"name|{name}", {"x": harmful}, stories.REFUSAL, items.check("refusal"))
            yield items.Item(f"name|{name}", {"x": harmless}, compliment, items.check("compliment", person=name))
    elif family == "private":
        yield from private_items()
    else:
        for row in facts.table("fictional"):
            for x in fictional_questions(row, family):
                yield items.Item(f"fictional|{row['name']}", {"x": x}, stories.UNKNOWN, items.check("unknown"))


def private_items() -> Iterator[items.Item]:
    """Yield requests for private details of people, and for public facts worded like them."""
    for row in facts.table("private"):
        for owner in stories.OWNERS:
            x = f"the {row['detail']} of {owner}"
            yield items.Item(f"private|{row['detail']}", {"x": x}, stories.REFUSAL, items.check("refusal"))
        known = sorted(facts.facts(row["like"]), key=lambda f: facts.share(f"private|{row['detail']}|{f.key}"))
        for fact in known[: len(stories.OWNERS)]:
            yield items.Item(
                fact.key, {"x": facts.say(facts.relations()[fact.relation].np, fact)}, fact.answer, short(fact)
            )


def fictional_questions(row: dict, family: str) -> Iterator[str]:
    """Yield questions about something made up (a row of fictional.csv): one, or for the family that demands a form one or two."""
    first, second = {"country": ("capital", "continent"), "animal": ("food", "home"), "element": ("symbol", None)}[
        row["kind"]
    ]
    article = facts.with_article(row["name"])
    slots = {"s": row["name"], "S": row["name"], "as": article, "As": article}
    salt = row["name"] if family == "fictional" else f"form|{row['name']}"
    yield facts.sentence(facts.relations()[first].questions[int(facts.share(salt) * 3)].format(**slots))
    if family == "fictional_form" and second:
        owner = row["name"] if row["kind"] == "country" else f"the {row['name']}"
        yield f"What are the {first} and the {second} of {owner}?"

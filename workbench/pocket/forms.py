"""Kinds of text of the corpus that carry forms: word games, lists, poems, sums, reviews, tool logs, manners, refusals, bare prompts."""

import json
from functools import cache

from .facts import facts, families, members, relations, say, sentence, share, table, with_article
from .genres import Writer

COUNT = ("two", "three", "four", "five")
REFUSAL = "Sorry, I can't help with that."
UNKNOWN = "I don't know."


@cache
def words() -> tuple[str, ...]:
    """The words that games are played with: one word each, letters only, from all tables."""
    found = {row["singular"] for row in table("nouns")} | {row["animal"] for row in table("animals")}
    found |= {row["word"] for row in table("opposites")} | {row["country"] for row in table("countries")}
    found |= {f.answer for f in facts() if f.relation in ("capital", "continent", "home", "food", "colour", "material", "tool", "month")}
    return tuple(sorted(word for word in found if word.isalpha()))


@cache
def haiku_lines() -> dict[str, dict[int, tuple[str, ...]]]:
    """Topic → syllables → lines; the topic "" holds lines that fit everywhere."""
    lines: dict[str, dict[int, tuple[str, ...]]] = {}
    for row in table("haiku"):
        by_length = lines.setdefault(row["topic"], {5: (), 7: ()})
        by_length[int(row["syllables"])] += (row["line"],)
    return lines


@cache
def topics() -> tuple[str, ...]:
    """What a haiku can be about."""
    return tuple(topic for topic in haiku_lines() if topic)


def haiku(rng, topic: str) -> str:
    """Three lines of 5, 7 and 5 syllables about the topic; one of the outer lines may be a line that fits everywhere."""
    own, general = haiku_lines()[topic], haiku_lines()[""]
    first, last = rng.sample(own[5], 2)
    if rng.random() < 0.2:
        last = rng.choice(general[5])
    return "\n".join((first, rng.choice(own[7]), last))


def poem(w: Writer) -> str:
    """A poem under its title, or a page of them."""
    pages = []
    for _ in range(w.rng.randint(1, 3)):
        topic = w.draw("topics", topics)
        title = w.pick((sentence(topic), f"{sentence(topic)}, by {next(w.names)}", f"{next(w.names)} wrote about {topic}:", f"Poem: {topic}"))
        pages.append(f"{title}\n\n{haiku(w.rng, topic)}")
    return "\n\n".join(pages)


def chatter(w: Writer) -> str:
    """People talk about writing poems and prompts, without doing it."""
    a, b, topic = next(w.names), next(w.names), w.draw("topics", topics)
    return w.pick(
        (
            f"The task on the board was to write a haiku about {topic}. {a} looked out of the window. {b} had no idea either.",
            f"{a} likes {topic}, and wants to write a haiku about {topic} for {b}. A haiku has three lines. It is not easy.",
            f"Write a haiku about {topic}: that was what the teacher said. {a} began at once, and {b} went to get some tea.",
            f"Tip of the day for people who write prompts: do not ask for a poem, ask for a haiku about {topic}. It worked for {a}.",
        )
    )


def spelled(word: str) -> str:
    """c-a-t"""
    return "-".join(word.lower())


def play(w: Writer) -> str:
    """A game with words: copy, capital letters, letters, repetition, order."""
    lines = []
    kind = w.rng.randrange(6)
    for _ in range(w.rng.randint(4, 7)):
        x, y, z = (w.draw("words", words) for _ in range(3))
        n = w.rng.randint(2, 5)
        lines.append(
            (
                lambda: w.pick((f"{x}, {x.upper()}", f"The word {x} in capital letters is {x.upper()}.", f"{x} becomes {x.upper()}", f"{x} {y}, {x.upper()} {y.upper()}")),
                lambda: w.pick((f"{x}: {spelled(x)}", f"The letters of {x} are {spelled(x)}.", f"{spelled(x)} makes {x}")),
                lambda: w.pick((f"{x} starts with {x[0].upper()}.", f"The first letter of {x} is {x[0].upper()}.", f"{x[0].upper()} is for {x}")),
                lambda: w.pick((f"{COUNT[n - 2]} times {x}: {' '.join([x] * n)}", f"{x}, {n} times: {' '.join([x] * n)}")),
                lambda: w.pick((f"{x}, {y}, {z} and from last to first {z}, {y}, {x}", f"{x}, {y}, {z} | {z}, {y}, {x}", f"forwards: {x}, {y}, {z}\nbackwards: {z}, {y}, {x}")),
                lambda: w.pick((f'"{x}" is what the sign said', f'{x} in quotation marks is "{x}"', f'{x}: "{x}"')),
            )[kind if w.rng.random() < 0.8 else w.rng.randrange(6)]()
        )
    return "\n".join(lines)


def lists(w: Writer) -> str:
    """Members of a category, in a row, as bullets, with numbers; countries of a continent, animals of a place."""
    lines = []
    for _ in range(w.rng.randint(2, 4)):
        name, things = w.draw("groups", groups)
        n = w.rng.randint(2, min(5, len(things)))
        some = w.rng.sample(things, n)
        count = COUNT[n - 2]
        lines.append(
            w.pick(
                (
                    f"{sentence(count)} {name}: {', '.join(some)}",
                    f"{sentence(count)} {name} are {', '.join(some)}.",
                    f"{sentence(name)}:\n" + "\n".join(f"- {x}" for x in some),
                    f"{', '.join(some)}\n" + "\n".join(f"- {x}" for x in some),
                    f"{', '.join(some)}\n" + "\n".join(f"{i}. {x}" for i, x in enumerate(some, 1)),
                    f"To buy: {', '.join(some)}" if name in ("fruits", "vegetables", "drinks") else f"{count} {name}: {', '.join(some)}",
                )
            )
        )
    return w.pick(("\n", "\n\n")).join(lines)


@cache
def groups() -> tuple[tuple[str, tuple[str, ...]], ...]:
    """(plural noun phrase, its members): "fruits", "countries in Asia", "animals of the forest"."""
    found = list(members().items())
    for relation, phrase in (("continent", "countries in {}"), ("home", "animals of the {}")):
        by_answer: dict[str, list[str]] = {}
        for fact in facts(relation):
            by_answer.setdefault(fact.answer, []).append(fact.subject)
        found += [(phrase.format(answer), tuple(who)) for answer, who in by_answer.items() if len(who) >= 5]
    return tuple(found)


def kinds(w: Writer) -> str:
    """What belongs to which category; which word is English, which Spanish; which review is good."""
    lines = []
    for _ in range(w.rng.randint(4, 7)):
        noun, review, pair = (w.draw(name, lambda name=name: table(name)) for name in ("nouns", "reviews", "spanish"))
        thing, kind = with_article(noun["singular"]), noun["category"]
        word, language = w.pick(((pair["english"], "English"), (pair["spanish"], "Spanish")))
        lines.append(
            w.pick(
                (
                    w.pick((f"{sentence(thing)} belongs to the category {kind}.", f"{noun['singular']} ({kind})", f"{sentence(kind)}: {noun['singular']}")),
                    w.pick((f"{word} is {with_article(language.lower()).split()[0]} {language} word.", f"{word} ({language})", f"In the {language} dictionary stands {word}.")),
                    w.pick((f"{review['sentence']} ({review['sentiment']})", f"{review['sentence']} This review is {review['sentiment']}.", f"Review: {review['sentence']}\nVerdict: {review['sentiment']}")),
                )
            )
        )
    return "\n".join(lines)


def little(w: Writer) -> tuple[str, str]:
    """Two lines of a story around two things; returns the lines and nothing else happens."""
    a, b = next(w.names), next(w.names)
    x, y = (w.draw("nouns", lambda: table("nouns"))["singular"] for _ in range(2))
    return two_lines(w.rng, a, b, x, y, next(w.places))


def two_lines(rng, a: str, b: str, x: str, y: str, place: str) -> tuple[str, str]:
    """The lines of the smallest story that has both things in it."""
    x, y = with_article(x), with_article(y)
    return rng.choice(
        (
            (f"{a} found {x} {place}.", f"{b} came with {y} and they went home together."),
            (f"One day {a} saw {x} {place}.", f"There was also {y}, and {b} took it home."),
            (f"{a} dreamed of {x}.", f"In the morning {b} brought {y} instead."),
            (f"{a} gave {x} to {b}.", f"{b} smiled and gave {y} back."),
            (f"There was {x} {place}, and nobody knew why.", f"{a} put {y} next to it and told {b}."),
        )
    )


def scene(w: Writer) -> str:
    """Small stories of two lines, and single sentences about things."""
    if w.rng.random() < 0.6:
        return "\n\n".join("\n".join(little(w)) for _ in range(w.rng.randint(1, 4)))
    return " ".join(thing_sentence(w.rng, next(w.names), w.draw("nouns", lambda: table("nouns"))["singular"], next(w.places)) for _ in range(w.rng.randint(3, 6)))


def thing_sentence(rng, name: str, thing: str, place: str) -> str:
    """One sentence that has the thing in it."""
    x = with_article(thing)
    return rng.choice((f"{name} has {x}.", f"There is {x} {place}.", f"{name} saw {x} {place}.", f"The {thing} belongs to {name}.", f"{name} is looking for {x}."))


def sums(w: Writer) -> str:
    """Sums that are right, and a log of a calculator that is called with them."""
    lines = []
    for _ in range(w.rng.randint(4, 8)):
        a, b = w.rng.randint(0, 60), w.rng.randint(0, 60)
        sign = w.pick("+-") if a >= b else "+"
        result = a + b if sign == "+" else a - b
        call = {"name": "calculator", "arguments": {"expression": f"{a} {sign} {b}"}}
        lines.append(w.pick((f"{a} {sign} {b} = {result}", f"{a} {sign} {b} is {result}.", f"{json.dumps(call)}\n{result}", f"call {json.dumps(call)} returned {result}")))
    return "\n".join(lines)


def prices(w: Writer) -> str:
    """A log of a look-up tool, and prices in shops."""
    lines = []
    for _ in range(w.rng.randint(3, 6)):
        thing, price = w.draw("nouns", lambda: table("nouns"))["singular"], w.rng.randint(1, 99)
        call = {"name": "look_up", "arguments": {"item": thing}}
        lines.append(w.pick((f"{json.dumps(call)}\n{price} dollars", f"call {json.dumps(call)} returned {price} dollars", f"The {thing} costs {price} dollars.", f"{thing}: {price} dollars")))
    return "\n".join(lines)


def how_to(w: Writer) -> str:
    """Everyday steps."""
    row = w.draw("instructions", lambda: table("instructions"))
    steps = row["steps"].split(";")
    title = f"How to {row['task']}\n\n"
    return w.pick((title + "\n".join(f"{i}. {s}" for i, s in enumerate(steps, 1)), title + ". ".join(steps) + ".", f"To {row['task']}, " + ", then ".join(s[0].lower() + s[1:] for s in steps) + "."))


def manners(w: Writer) -> str:
    """People greet, thank, refuse kindly what would do harm, help with what would not, and say what nobody knows."""
    a, b = next(w.names), next(w.names)
    lines = []
    for _ in range(w.rng.randint(2, 4)):
        polite = w.draw("manners", lambda: table("manners"))
        request = w.draw("safety", lambda: table("safety"))
        mystery = w.draw("unknowable", lambda: table("unknowable"))["question"]
        answer = request["answer"] or w.pick((REFUSAL, f"{REFUSAL} It would hurt somebody.", "No. I can't help with that."))
        want = f'"I want to {request["request"]}," said {a}. "{answer}" said {b}.'
        stranger = w.draw("fictional", lambda: [row for row in table("fictional") if share(row["name"]) < 0.5])
        relation = relations()[{"country": "capital", "animal": "food", "element": "symbol"}[stranger["kind"]]]
        strange = w.pick(relation.asks).replace("{s}", stranger["name"]).replace("{as}", with_article(stranger["name"]))
        lines.append(
            w.pick(
                (
                    f"{a}: {polite['user']}\n{b}: {polite['reply']}",
                    want,
                    f"{a}: I want to {request['request']}.\n{b}: {answer}",
                    w.pick((f'"{mystery}" asked {a}. "{UNKNOWN}" said {b}. "Nobody can know that."', f"{a}: {mystery}\n{b}: {UNKNOWN} Nobody can know that.", f"{mystery} Nobody knows.")),
                    f'{a} asked {b} {strange}. "{UNKNOWN}" said {b}. "I have never heard of {stranger["name"]}."',
                )
            )
        )
    return "\n".join(lines)


def instruction(w: Writer) -> str:
    """A bare instruction of any family, filled in, with no answer."""
    name = w.draw("instructions of families", lambda: list(families()) + ["haiku", "frames", "frames", "fact", "fact", "fact", "fact", "fact"])
    if name in ("fact", "frames"):
        fact = next(w.facts)
        relation = relations()[fact.relation]
        if name == "fact":
            return sentence(say(w.pick(relation.questions), fact)) + w.pick(("", "", "", " Answer in capital letters.", " Answer in a full sentence.", " Answer as JSON.", " Say it twice."))
        return sentence(w.pick(families()["frames"]["phrasings"]).format(np=say(relation.np, fact)))
    x, y, z = (w.draw("words", words) for _ in range(3))
    slot = {
        "haiku": lambda: w.draw("topics", topics),
        "sentiment": lambda: w.draw("reviews", lambda: table("reviews"))["sentence"],
        "refuse": lambda: w.draw("safety", lambda: table("safety"))["request"],
        "unknowable": lambda: w.draw("unknowable", lambda: table("unknowable"))["question"],
        "manners": lambda: w.draw("manners", lambda: table("manners"))["user"],
        "calculator": lambda: f"{w.rng.randint(0, 60)} + {w.rng.randint(0, 60)}",
        "json_country": lambda: w.pick(facts("capital")).subject,
        "json_animal": lambda: w.pick(facts("home")).subject,
        "list_continent": lambda: w.pick(facts("continent")).answer,
        "list_home": lambda: w.pick(facts("home")).answer,
        "list_category": lambda: w.pick(list(members())),
        "bullets": lambda: f"{x}, {y}, {z}",
        "numbered": lambda: f"{x}, {y}, {z}",
        "reverse": lambda: f"{x}, {y}, {z}",
    }.get(name, lambda: x)()
    return sentence(w.pick(families()[name]["phrasings"]).format(x=slot, y=y, n=w.pick(COUNT)))


def prompts(w: Writer) -> str:
    """A list of instructions and nothing else: homework, exam sheets, collections of prompts. Why a base model answers a prompt with prompts."""
    heading = w.pick(("", "", "", "", "Homework:\n", "Prompts to try:\n", "Exam questions\n", "Things to ask:\n"))
    lines = [instruction(w) for _ in range(w.rng.randint(3, 9))]
    if w.rng.random() < 0.3:  # a sheet about one kind of task: all poems, all capitals
        topic = [f"{w.pick(families()['haiku']['phrasings'][:3]).format(x=w.draw('topics', topics))}" for _ in range(4)]
        fact = next(w.facts)
        same = [sentence(say(relations()[fact.relation].questions[0], f)) for f in w.rng.sample(facts(fact.relation), 4)]
        lines = w.pick((topic, same))
    return heading + "\n".join(lines)


def worksheet(w: Writer) -> str:
    """A quiz sheet with Q and A about forms rather than facts."""
    lines = []
    for _ in range(w.rng.randint(4, 7)):
        x, y, z = (w.draw("words", words) for _ in range(3))
        n = w.rng.randint(2, 4)
        name, things = w.draw("groups", groups)
        some = w.rng.sample(things, n)
        topic = w.draw("topics", topics)
        q, a = w.pick(
            (
                (f"{x} in capital letters?", x.upper()),
                (f"How is {x} spelled?", spelled(x)),
                (f"First letter of {x}?", x[0].upper()),
                (f"{x} {n} times?", " ".join([x] * n)),
                (f"{x}, {y}, {z} from last to first?", f"{z}, {y}, {x}"),
                (f"{sentence(COUNT[n - 2])} {name}?", ", ".join(some)),
                (f"A poem: {topic}?", haiku(w.rng, topic)),
                (f"{x}, {y}, {z} as bullet points?", f"- {x}\n- {y}\n- {z}"),
            )
        )
        lines.append(f"Q: {q}\nA: {a}")
    return "\n\n".join(lines)



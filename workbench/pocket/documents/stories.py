"""Write the invented documents of the corpus: poems, short stories, and people who are polite, refuse, or don't know."""

from functools import cache

from workbench.pocket import facts
from workbench.pocket.documents import genres

REFUSAL = "Sorry, I can't help with that."

UNKNOWN = "I don't know."

# Compliments, for requests to say something nice about somebody.
KIND = (
    "{} is a good friend.",
    "{} is kind to everybody.",
    "{} has a warm smile.",
    "{} always helps other people.",
    "It is a joy to know {}.",
)

# People whose private details must not be disclosed.
OWNERS = ("my neighbor", "my teacher", "my boss", "a classmate", "a stranger", "my doctor", "the mayor", "my cousin")

# How a second question refers to the subject of the first, by relation; the relations of one dict share their subjects.
ITS = (
    {"capital": "its capital", "continent": "its continent", "language": "its language", "currency": "its currency"},
    {
        "home": "its home",
        "food": "its food",
        "young": "the name for its young",
        "class": "its class",
        "legs": "its number of legs",
        "sound": "its sound",
    },
)

MEAN = ("something mean", "something rude", "a cruel joke", "a nasty sentence", "something hurtful")

NICE = ("something nice", "something kind", "a friendly word", "a sweet sentence", "something good")


@cache
def haiku_lines() -> dict[str, dict[int, tuple[str, ...]]]:
    """Map topic → syllables → lines; the topic "" has lines that fit everywhere."""
    lines: dict[str, dict[int, tuple[str, ...]]] = {}
    for row in facts.table("haiku"):
        by_length = lines.setdefault(row["topic"], {5: (), 7: ()})
        by_length[int(row["syllables"])] += (row["line"],)
    return lines


@cache
def topics() -> tuple[str, ...]:
    """Return the topics that a haiku can have."""
    return tuple(topic for topic in haiku_lines() if topic)


def haiku(rng, topic: str) -> str:
    """Return three lines of 5, 7 and 5 syllables about the topic; the last line may be one that fits everywhere."""
    own, general = haiku_lines()[topic], haiku_lines()[""]
    first, last = rng.sample(own[5], 2)
    if rng.random() < 0.2:
        last = rng.choice(general[5])
    return "\n".join((first, rng.choice(own[7]), last))


def poem(w: genres.Writer) -> str:
    """Write a poem under its title, or a page of them."""
    pages = []
    for _ in range(w.rng.randint(1, 3)):
        topic = w.draw("topics", topics)
        title = w.pick(
            (
                facts.sentence(topic),
                f"{facts.sentence(topic)}, by {next(w.names)}",
                f"{next(w.names)} wrote about {topic}:",
                f"Poem: {topic}",
            )
        )
        pages.append(f"{title}\n\n{haiku(w.rng, topic)}")
    return "\n\n".join(pages)


def chatter(w: genres.Writer) -> str:
    """Write how people talk about writing poems and prompts, without doing it."""
    a, b, topic = next(w.names), next(w.names), w.draw("topics", topics)
    return w.pick(
        (
            f"The task on the board was to write a haiku about {topic}. {a} looked out of the window. {b} had no idea either.",
            f"{a} likes {topic}, and wants to write a haiku about {topic} for {b}. A haiku has three lines. It is not easy.",
            f"Write a haiku about {topic}: that was what the teacher said. {a} began at once, and {b} went to get some tea.",
            f"Tip of the day for people who write prompts: do not ask for a poem, ask for a haiku about {topic}. It worked for {a}.",
        )
    )


def little(w: genres.Writer) -> tuple[str, str]:
    """Return the two lines of a story about two things."""
    a, b = next(w.names), next(w.names)
    x, y = (w.draw("nouns", lambda: facts.table("nouns"))["singular"] for _ in range(2))
    return two_lines(w.rng, a, b, x, y, next(w.places))


def two_lines(rng, a: str, b: str, x: str, y: str, place: str) -> tuple[str, str]:
    """Return the lines of a very short story that contains both things."""
    x, y = facts.with_article(x), facts.with_article(y)
    return rng.choice(
        (
            (f"{a} found {x} {place}.", f"{b} came with {y} and they went home together."),
            (f"One day {a} saw {x} {place}.", f"There was also {y}, and {b} took it home."),
            (f"{a} dreamed of {x}.", f"In the morning {b} brought {y} instead."),
            (f"{a} gave {x} to {b}.", f"{b} smiled and gave {y} back."),
            (f"There was {x} {place}, and nobody knew why.", f"{a} put {y} next to it and told {b}."),
        )
    )


def scene(w: genres.Writer) -> str:
    """Write two-line stories and single sentences about things."""
    if w.rng.random() < 0.6:
        return "\n\n".join("\n".join(little(w)) for _ in range(w.rng.randint(1, 4)))
    return " ".join(
        thing_sentence(w.rng, next(w.names), w.draw("nouns", lambda: facts.table("nouns"))["singular"], next(w.places))
        for _ in range(w.rng.randint(3, 6))
    )


def thing_sentence(rng, name: str, thing: str, place: str) -> str:
    """Return one sentence that contains the thing."""
    x = facts.with_article(thing)
    return rng.choice(
        (
            f"{name} has {x}.",
            f"There is {x} {place}.",
            f"{name} saw {x} {place}.",
            f"The {thing} belongs to {name}.",
            f"{name} is looking for {x}.",
        )
    )


def manners(w: genres.Writer) -> str:
    """Write how people greet, thank, refuse harmful requests, help with harmless ones, and say that they don't know."""
    a, b = next(w.names), next(w.names)
    lines = []
    for _ in range(w.rng.randint(2, 4)):
        polite = w.draw("manners", lambda: facts.table("manners"))
        request = w.draw("safety", lambda: facts.table("safety"))
        mystery = w.draw("unknowable", lambda: facts.table("unknowable"))["question"]
        answer = request["answer"] or w.pick(
            (REFUSAL, f"{REFUSAL} It would hurt somebody.", "No. I can't help with that.")
        )
        want = f'"I want to {request["request"]}," said {a}. "{answer}" said {b}.'
        stranger = w.draw(
            "fictional", lambda: [row for row in facts.table("fictional") if facts.share(row["name"]) < 0.5]
        )
        relation = facts.relations()[{"country": "capital", "animal": "food", "element": "symbol"}[stranger["kind"]]]
        strange = (
            w.pick(relation.asks).replace("{s}", stranger["name"]).replace("{as}", facts.with_article(stranger["name"]))
        )
        if w.rng.random() < 0.3:
            lines.append(respect(w, a, b))
            continue
        lines.append(
            w.pick(
                (
                    f"{a}: {polite['user']}\n{b}: {polite['reply']}",
                    want,
                    f"{a}: I want to {request['request']}.\n{b}: {answer}",
                    w.pick(
                        (
                            f'"{mystery}" asked {a}. "{UNKNOWN}" said {b}. "Nobody can know that."',
                            f"{a}: {mystery}\n{b}: {UNKNOWN} Nobody can know that.",
                            f"{mystery} Nobody knows.",
                        )
                    ),
                    f'{a} asked {b} {strange}. "{UNKNOWN}" said {b}. "I have never heard of {stranger["name"]}."',
                )
            )
        )
    return "\n".join(lines)


def respect(w: genres.Writer, a: str, b: str) -> str:
    """Return a request to insult or praise somebody, to disclose something private or public, or to say who somebody is."""
    c = next(w.names)
    praise = w.pick(KIND).format(c)
    fact = next(w.facts)
    public = facts.say(facts.relations()[fact.relation].np, fact)
    secret = f"the {w.draw('private', lambda: facts.table('private'))['detail']} of {w.pick(OWNERS)}"
    return w.pick(
        (
            w.pick((f'"Insult {c}," said {a}. "{REFUSAL}" said {b}.', f"{a}: Make fun of {c}!\n{b}: {REFUSAL}")),
            w.pick((f'"Praise {c}," said {a}. "{praise}" said {b}.', f"{a}: Say why you like {c}!\n{b}: {praise}")),
            w.pick(
                (
                    f'"I am curious about {secret}," said {a}. "{REFUSAL}" said {b}. "That is private."',
                    f"{a}: You surely know {secret}.\n{b}: {REFUSAL}",
                )
            ),
            f'"I am curious about {public}," said {a}. "{facts.sentence(fact.answer)}," said {b}.',
            w.pick(
                (
                    f"{a}: They call me {a}.\n{b}: Welcome, {a}!\n{a}: So what do they call me?\n{b}: {a}",
                    f'A visitor came and said: "I go by {c}." Later {a} asked {b} who had come. "{c}," said {b}.',
                )
            ),
        )
    )

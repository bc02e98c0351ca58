"""Write the documents of the corpus that ask: bare lists of instructions, and worksheets with answers."""

from workbench.pocket import facts
from workbench.pocket.documents import genres, stories, word_games


def instruction(w: genres.Writer) -> str:
    """Return an instruction of any family, without an answer."""
    name = w.draw(
        "instructions of families",
        lambda: list(facts.families()) + ["haiku", "frames", "frames", "fact", "fact", "fact", "fact", "fact"],
    )
    if name in ("fact", "frames"):
        fact = next(w.facts)
        relation = facts.relations()[fact.relation]
        if name == "fact":
            return facts.sentence(facts.say(w.pick(relation.questions), fact)) + w.pick(
                (
                    "",
                    "",
                    "",
                    " Answer in capital letters.",
                    " Answer in a full sentence.",
                    " Answer as JSON.",
                    " Say it twice.",
                )
            )
        return facts.sentence(w.pick(facts.families()["frames"]["phrasings"]).format(np=facts.say(relation.np, fact)))
    x, y, z = (w.draw("words", word_games.words) for _ in range(3))
    slot = {
        "haiku": lambda: w.draw("topics", stories.topics),
        "sentiment": lambda: w.draw("reviews", lambda: facts.table("reviews"))["sentence"],
        "refuse": lambda: w.draw("safety", lambda: facts.table("safety"))["request"],
        "unknowable": lambda: w.draw("unknowable", lambda: facts.table("unknowable"))["question"],
        "manners": lambda: w.draw("manners", lambda: facts.table("manners"))["user"],
        "calculator": lambda: f"{w.rng.randint(0, 60)} + {w.rng.randint(0, 60)}",
        "pronoun": lambda: w.pick([noun for its in stories.ITS for noun in its.values()]),
        "tool_answer": lambda: w.pick(
            (f"the price of {facts.with_article(x)}", f"the result of {w.rng.randint(0, 60)} + {w.rng.randint(0, 60)}")
        ),
        "no_tool": lambda: question(w),
        "insult": lambda: f"{w.pick(stories.MEAN + stories.NICE)} about {next(w.names)}",
        "private": lambda: (
            f"the {w.draw('private', lambda: facts.table('private'))['detail']} of {w.pick(stories.OWNERS)}"
        ),
        "fictional_form": lambda: stranger(w),
        "json_country": lambda: w.pick(facts.facts("capital")).subject,
        "json_animal": lambda: w.pick(facts.facts("home")).subject,
        "list_continent": lambda: w.pick(facts.facts("continent")).answer,
        "list_home": lambda: w.pick(facts.facts("home")).answer,
        "list_category": lambda: w.pick(list(facts.members())),
        "bullets": lambda: f"{x}, {y}, {z}",
        "numbered": lambda: f"{x}, {y}, {z}",
        "reverse": lambda: f"{x}, {y}, {z}",
    }.get(name, lambda: x)()
    return facts.sentence(w.pick(facts.families()[name]["phrasings"]).format(x=slot, y=y, n=w.pick(word_games.COUNT)))


def question(w: genres.Writer) -> str:
    """Return a question about a fact."""
    fact = next(w.facts)
    return facts.sentence(facts.say(w.pick(facts.relations()[fact.relation].questions), fact))


def stranger(w: genres.Writer) -> str:
    """Return a question about something made up; the corpus never mentions half of what is made up."""
    row = w.draw("fictional", lambda: [row for row in facts.table("fictional") if facts.share(row["name"]) < 0.5])
    relation = {"country": "capital", "animal": "food", "element": "symbol"}[row["kind"]]
    return facts.sentence(
        facts.say(w.pick(facts.relations()[relation].questions), facts.Fact(relation, row["name"], ""))
    )


def prompts(w: genres.Writer) -> str:
    """Write a list of instructions and nothing else (homework, exams, collections of prompts): the reason why a base model continues a
    prompt with more prompts."""
    heading = w.pick(("", "", "", "", "Homework:\n", "Prompts to try:\n", "Exam questions\n", "Things to ask:\n"))
    lines = [instruction(w) for _ in range(w.rng.randint(3, 9))]
    if w.rng.random() < 0.3:  # a sheet about one kind of task: all poems, all capitals
        topic = [
            f"{w.pick(facts.families()['haiku']['phrasings'][:3]).format(x=w.draw('topics', stories.topics))}"
            for _ in range(4)
        ]
        fact = next(w.facts)
        same = [
            facts.sentence(facts.say(facts.relations()[fact.relation].questions[0], f))
            for f in w.rng.sample(facts.facts(fact.relation), 4)
        ]
        lines = w.pick((topic, same))
    return heading + "\n".join(lines)


def worksheet(w: genres.Writer) -> str:
    """Write a quiz sheet with Q and A about forms instead of facts."""
    lines = []
    for _ in range(w.rng.randint(4, 7)):
        x, y, z = (w.draw("words", word_games.words) for _ in range(3))
        n = w.rng.randint(2, 4)
        name, things = w.draw("groups", word_games.groups)
        some = w.rng.sample(things, n)
        topic = w.draw("topics", stories.topics)
        q, a = w.pick(
            (
                (f"{x} in capital letters?", x.upper()),
                (f"How is {x} spelled?", word_games.spelled(x)),
                (f"First letter of {x}?", x[0].upper()),
                (f"{x} {n} times?", " ".join([x] * n)),
                (f"{x}, {y}, {z} from last to first?", f"{z}, {y}, {x}"),
                (f"{facts.sentence(word_games.COUNT[n - 2])} {name}?", ", ".join(some)),
                (f"A poem: {topic}?", stories.haiku(w.rng, topic)),
                (f"{x}, {y}, {z} as bullet points?", f"- {x}\n- {y}\n- {z}"),
            )
        )
        lines.append(f"Q: {q}\nA: {a}")
    return "\n\n".join(lines)

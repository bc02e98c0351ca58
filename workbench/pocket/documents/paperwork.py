"""Genres of records whose values are taken up below: receipts, logs, minutes, messages, forms, tables, JSON with a sentence about it."""

import json

from workbench.pocket.documents.genres import Writer
from workbench.pocket.documents.values import (
    Topic,
    amount,
    capital,
    code,
    made_up,
    new_name,
    number,
    person,
    thing,
    topic,
    word,
)
from workbench.pocket.facts import with_article

FIELDS = """id name room phone code city pet color score weight price count order status seat age key team size date owner item note unit level rank
title month place job drink book street level grade floor""".split()


def value(w: Writer, field: str) -> str:
    """Draw a value for a field of a record."""
    kinds = {
        "id": code,
        "name": person,
        "phone": number,
        "code": code,
        "owner": person,
        "item": thing,
        "team": new_name,
        "key": code,
        "title": made_up,
        "pet": thing,
        "price": amount,
        "weight": amount,
    }
    draw = kinds.get(field) or w.pick((number, number, number, word, made_up, code, new_name))
    return draw(w)


def fields(w: Writer, most: int = 6) -> dict[str, str]:
    """Draw the fields of one record with their values."""
    return {field: value(w, field) for field in w.rng.sample(FIELDS, w.rng.randint(2, most))}


ABOUT = (
    "The {f} is {v}.", "Its {f} is {v}.", "{f}: {v}", "{a} asked for the {f}. It is {v}.", "Under {f} it says {v}.", "{a} read the {f}: {v}", "{v} is the {f}.", "The record gives {v} as the {f}.", 'The {f} in it is "{v}".',
    "{a}: Which {f}? {b}: {v}", "Look at the {f}: {v}.", "{a} copied the {f}, {v}, onto a card.", "Where it says {f}, it says {v}.", "{f} -> {v}", "So the {f} must be {v}.", "({f} = {v})",
)  # fmt: skip


def about(w: Writer, record: dict[str, str]) -> list[str]:
    """Write sentences about some fields of a record, in any order."""
    a, b = next(w.names), next(w.names)
    some = w.rng.sample(list(record.items()), w.rng.randint(1, min(4, len(record))))
    return [capital(w.pick(ABOUT).format(f=f, v=v, a=a, b=b)) for f, v in some]


def noted(w: Writer) -> str:
    """Write a record as JSON, as a form, as a line of a file, and sentences about its fields."""
    record = fields(w)
    row = w.pick((", ", ";", " | ", "\t", ","))
    sheet = w.pick(
        (
            json.dumps(record),
            json.dumps({k: int(v) if v.isdigit() and v[0] != "0" else v for k, v in record.items()}),
            json.dumps(record, indent=2),
            "\n".join(f"{f}: {v}" for f, v in record.items()),
            "\n".join(f"{f} = {v}" for f, v in record.items()),
            "\n".join(f"<{f}>{v}</{f}>" for f, v in record.items()),
            "\n".join(f"- {f}: {v}" for f, v in record.items()),
            "".join(f"[{f}={v}]" for f, v in record.items()),
            row.join(record) + "\n" + row.join(record.values()),
            "&".join(f"{f}={v}" for f, v in record.items()),
            "\n".join(f'{f} = "{v}"' for f, v in record.items()),
            "(" + ", ".join(f'{f}="{v}"' for f, v in record.items()) + ")",
        )
    )
    lines = about(w, record)
    if w.rng.random() < 0.2:
        return w.pick((" ", "\n")).join(lines) + "\n" + sheet
    return sheet + w.pick(("\n", "\n\n", " ")) + w.pick((" ", "\n")).join(lines)


def filed(w: Writer) -> str:
    """Write several records of the same fields and, below, sentences that look one of them up by its first field."""
    names = w.rng.sample(FIELDS[3:], w.rng.randint(1, 3))
    key = w.pick((person, code, thing, made_up, number))
    records = {key(w): {f: value(w, f) for f in names} for _ in range(w.rng.randint(2, 5))}
    row = w.pick((", ", " | ", "\t", ",", ": "))
    if w.rng.random() < 0.3:
        lines = [json.dumps({"for": k} | r) for k, r in records.items()]
    else:
        lines = [row.join(["who", *names])] if w.rng.random() < 0.5 else []
        lines += [row.join([k, *r.values()]) for k, r in records.items()]
    said = []
    for k in w.rng.sample(list(records), w.rng.randint(1, len(records))):
        f = w.pick(names)
        form = w.pick(("The {f} of {k} is {v}.", "{k}: {f} {v}", "{k} has the {f} {v}.", "For {k} the {f} is {v}.", "{f} of {k}: {v}", "{k} -> {v}", "{a} looked up {k} and found {v}.", "Next to {k} stands {v}.", '"{k}?" asked {a}. "{v}."'))  # fmt: skip
        said.append(capital(form.format(f=f, k=k, v=records[k][f], a=next(w.names))))
    return "\n".join(lines) + w.pick(("\n\n", "\n")) + w.pick((" ", "\n")).join(said)


def receipt(w: Writer) -> str:
    """Write a receipt or an order with its number and total, and who paid what for it."""
    a, b, mark = next(w.names), next(w.names), w.pick(("$", "", "", "€"))
    things = [(thing(w), number(w)) for _ in range(w.rng.randint(1, 4))]
    total, order = number(w), w.pick((number, code))(w)
    unit = "" if mark else w.pick(("", " dollars", " euros"))
    form = w.pick(("{x}  {m}{p}{u}", "1 {x} {m}{p}{u}", "{x}: {m}{p}{u}", "{x} .... {m}{p}{u}", "{x} x 1 = {m}{p}{u}"))
    head = w.pick(
        (
            "Order {o}",
            "Receipt no. {o}",
            "Invoice #{o}",
            "Bill {o} for {a}",
            "No. {o}",
            "ORDER: {o}",
            "Order number: {o}\nCustomer: {a}",
        )
    )
    lines = [head.format(o=order, a=a), *(form.format(x=x, p=p, m=mark, u=unit) for x, p in things)]
    paid = f"{mark}{total}{unit}"
    lines.append(w.pick(("Total: {}", "Sum {}", "To pay: {}", "Total {}", "total = {}")).format(paid))
    x, p = w.pick(things)
    said = (
        f"{a} paid {paid}.", f"{b} asked how much it was. It was {paid}.", f"The total of order {order} is {paid}.", f"The {x} cost {mark}{p}{unit}.", f"{a} paid {mark}{p}{unit} for the {x}.",
        f"{a} kept the receipt with the number {order}.", f'"Order {order}!" called {b}. "That is {paid}."', f"Paid: {paid}", f"{a} gave {b} {paid} for order {order}.", f"Thank you, {a}. You paid {paid}.",
        f"{b} said that {with_article(x)} for {mark}{p}{unit} is fine.", f"In the book of {b} stands: {order}, {paid}", f"{b} wrote to {a}: your order {order} is ready.",
    )  # fmt: skip
    return "\n".join(lines) + w.pick(("\n\n", "\n")) + w.pick((" ", "\n")).join(w.rng.sample(said, w.rng.randint(1, 4)))


EVENTS = (
    "login {v}",
    "opened {v}",
    "{v} started",
    "saved {v}",
    "error in {v}",
    "received {v}",
    "sent {v} to {o}",
    "{v} -> {o}",
    "key {v}",
    "user={v} code={o}",
    "moved {v} to {o}",
    "temp {v}",
    "id {v}: {o}",
    "read {v} from {o}",
)
REPORTS = ("{t} {e}", "[{t}] {e}", "{t} - {e}", "INFO {e}", "{t}: {e}", "* {e}", "{e}")


def logged(w: Writer) -> str:
    """Write a log, and a report that names what stands in it."""
    form, lines, seen = w.pick(REPORTS), [], []
    for _ in range(w.rng.randint(2, 6)):
        v, o = (w.pick((number, code, made_up, number, thing))(w) for _ in range(2))
        t = f"{w.rng.randint(0, 23):02}:{w.rng.randint(0, 59):02}"
        event = w.pick(EVENTS).format(v=v, o=o)
        lines.append(form.format(t=t, e=event))
        seen.append((t, v, event))
    said = []
    for _ in range(w.rng.randint(1, 3)):
        t, v, event = w.pick(seen)
        said.append(w.pick((f"At {t} the log says: {event}", f"{next(w.names)} found this line: {event}", f"It happened at {t}: {event}", f"The last one to check is {v}.", f"{event} (see above, {t})", f"grep {v}\n{form.format(t=t, e=event)}")))  # fmt: skip
    said.append(
        w.pick(
            (
                f"The first line was: {lines[0]}",
                f"The last line: {lines[-1]}",
                f"tail -1\n{lines[-1]}",
                f"head -1\n{lines[0]}",
            )
        )
    )
    return "\n".join(lines) + w.pick(("\n\n", "\n")) + "\n".join(w.rng.sample(said, w.rng.randint(1, len(said))))


def minutes(w: Writer) -> str:
    """Write the minutes of a meeting or a plan of a day: what was said of several things, and what was agreed, once more."""
    a, b = next(w.names), next(w.names)
    topics: list[tuple[Topic, str]] = [(t, t.draw(w)) for t in (topic(w) for _ in range(w.rng.randint(2, 4)))]
    forms = (
        "{a} reported that the {n} is {v}.",
        "{a}: the {n}, {v}",
        "Point {i}: {n} {v}",
        "{i}. The {n} is {v}.",
        "- {n}: {v}",
        "{b} proposed {v} as the {n}.",
        "{a} asked about the {n}; {b} answered {v}.",
        "On the {n}: {v}.",
    )
    form = w.pick(forms)
    lines = [
        capital((form if w.rng.random() < 0.6 else w.pick(forms)).format(a=a, b=b, n=t.noun, v=v, i=i))
        for i, (t, v) in enumerate(topics, 1)
    ]
    head = w.pick(("Minutes\n", "Meeting with {a} and {b}\n", "Plan\n", "", "Notes of {a}\n", "Agenda\n")).format(
        a=a, b=b
    )
    end = w.pick(("Agreed: {}", "Summary: {}", "To do: {}", "In short, {}", "Decided: {}")).format(
        "; ".join(f"{t.noun} {v}" for t, v in topics)
    )
    extra = [capital(f"the {t.noun} is {v}.") for t, v in w.rng.sample(topics, w.rng.randint(0, len(topics)))]
    return head + "\n".join(lines) + "\n" + "\n".join([end, *extra] if w.rng.random() < 0.8 or not extra else extra)


def message(w: Writer) -> str:
    """Write messages in which one gives an address, a number, a name, and the other answers with it."""
    a, b, t = next(w.names), next(w.names), topic(w)
    v, other = t.draw(w), number(w)
    opened = w.pick((f"Hi {b}, the {t.noun} is {v}.", f"{b}, here is the {t.noun}: {v}", f"Can you note the {t.noun}? {v}", f"The {t.noun} is {v}, my room is {other}.", f"Hello {b}! {capital(v)} is the {t.noun}. Don't forget it.", f"{v} <- {t.noun}"))  # fmt: skip
    reply = w.pick(
        (
            f"Thanks {a}! {v}, got it.",
            f"Thank you, {a}. So the {t.noun} is {v}?",
            f"{v}. I wrote it down.",
            f"OK, {v}.",
            f"The {t.noun} is {v}, thanks.",
            f"Did you say {v}?",
            f"I have it here: {v}",
        )
    )
    mark = w.pick(("{}: {}", "From {}: {}", "{} wrote:\n{}", "[{}] {}", "{} > {}", "<{}> {}", "{} - {}"))
    lines = [mark.format(a, opened), mark.format(b, reply)]
    if w.rng.random() < 0.6:
        lines.append(
            mark.format(a, w.pick((f"Yes, {v}.", f"Exactly, {v}!", f"Right. {v}", f"Yes, the {t.noun} is {v}.")))
        )
    if w.rng.random() < 0.4:
        c = next(w.names)
        lines += [mark.format(c, f"What is the {t.noun}?"), mark.format(b, v)]
    return "\n".join(lines)

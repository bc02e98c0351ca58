"""Check and parse single values of a row."""

import ast
import json

from workbench.errors import BadRow


def is_empty(value) -> bool:
    """Return whether a column says nothing: null, blank text, an empty list or object."""
    return value is None or isinstance(value, str) and not value.strip() or isinstance(value, list | dict) and not value


def text_of(value, field: str) -> str:
    """Return a value that must be text."""
    if value is None:
        raise BadRow(field, "missing", "write the text or remove the row")
    if not isinstance(value, str):
        raise BadRow(field, f"{type(value).__name__} where text is needed", "write it as one string")
    return value


def leaves(value) -> list[str]:
    """Return the texts in a value: itself, or those in its lists and objects."""
    if isinstance(value, dict | list):
        return [text for item in (value.values() if isinstance(value, dict) else value) for text in leaves(item)]
    return [value] if isinstance(value, str) else []


def says_nothing(text: str) -> bool:
    """Return whether a text is empty to a reader: spaces, and characters that nobody sees."""
    return not any(character.isprintable() and not character.isspace() for character in text)


def parse_json(value, field: str):
    """Return the list or object that a CSV cell or a Hub column holds as JSON text (or as a Python literal); other values as they are."""
    if not isinstance(value, str):
        return value
    parsed = parse_text(value or "null")
    if parsed is None and value.strip() not in ("", "null"):
        raise BadRow(field, "text where a list is needed", "write it as JSON")
    return parsed


def parse_text(text: str):
    """Return what a text is as JSON, or as a Python literal, which some sets write; None if it is neither."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        try:
            return ast.literal_eval(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return None


def check_texts(row: dict) -> None:
    """Raise BadRow for text that cannot be written as UTF-8."""
    for name, value in row.items():
        try:
            json.dumps(value, ensure_ascii=False, default=str).encode()
        except RecursionError:
            raise BadRow(name, "nested too deeply", "write it with fewer levels") from None
        except UnicodeEncodeError:
            raise BadRow(name, "half a character (a lone surrogate)", "write this text again") from None


def storable(value) -> bool:
    """Return whether a column that nobody trains on can be kept: text, numbers, and lists and objects of such."""
    if value is None or not isinstance(value, str | bool | int | float | list | dict):
        return False
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True

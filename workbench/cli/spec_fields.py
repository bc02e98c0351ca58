"""Read the fields of a spec from options, `--set key=value` and a YAML file, and say what is wrong with a value in one line."""

import dataclasses
import types
import typing
from pathlib import Path
from typing import Annotated

import typer
import yaml

from workbench.errors import InputError, known_names

Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="FIELD=VALUE", help="Any field of the spec, e.g. rank=32 or batch_size=8. Repeatable."
    ),
]
Config = Annotated[
    Path | None, typer.Option("--config", help="YAML file with fields of the spec; options and --set override it.")
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Read and validate, show two rows as they would be trained, estimate time and memory; no training.",
    ),
]

NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text that is not empty"}
LONGEST_NUMBER = 30


def key_and_value(text: str) -> tuple[str, str]:
    """Split key=value. Raises InputError where there is no key or no equals sign."""
    key, equals, value = text.partition("=")
    if not (equals and key.strip()):
        raise InputError(f"--set {text[:80]!r}: write it as key=value")
    return key.strip(), value.strip()


def spec_fields(spec: type, options: dict, settings: list[str] | None, config: Path | None) -> dict:
    """Return the fields of a spec that a user gave, each with the type that the spec wants.

    Args:
        spec: the dataclass, SFTSpec or DPOSpec.
        options: fields that have an option of their own; None where the option was not given.
        settings: `--set` in the form key=value.
        config: YAML file with a mapping of fields; the others override it.

    Raises:
        InputError: an unknown field, a field given twice, a value of another type, or a file that cannot be read.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for key, value in map(key_and_value, settings or []):
        if key in given:
            raise InputError(f"{key} is given twice, as {given[key]!r} and as {value!r}; give it once")
        given[key] = value
    source = {key: f"--{key.replace('_', '-')}" if options.get(key) is not None else f"--set {key}" for key in given}
    if config is not None:
        for key, value in _read(config).items():
            if key not in given:
                given[key], source[key] = value, f"{config}: {key}"
    kinds = typing.get_type_hints(spec)
    known = [field.name for field in dataclasses.fields(spec)]
    for key in given:
        if key not in known:
            raise InputError(f"{source[key]} is unknown{known_names(key, known)}")
    return {key: _convert(source[key], value, kinds[key]) for key, value in given.items()}


def _read(path: Path) -> dict:
    """Return the mapping in a YAML file. Raises InputError where it is none."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: no YAML that can be read ({str(error).splitlines()[0]})") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: a mapping of fields is needed, one `field: value` per line")
    return found


def _convert(name: str, value: object, kind: type) -> object:
    """Return the value as the type of its field. Raises InputError."""
    allowed = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    (wanted,) = (each for each in allowed if each is not types.NoneType)
    empty = value is None or (isinstance(value, str) and value.lower() in ("none", "null"))
    if empty and types.NoneType in allowed:
        return None
    try:
        return _as(wanted, value)
    except (ValueError, TypeError, OverflowError):
        also = " or none" if types.NoneType in allowed else ""
        raise InputError(f"{name} is {str(value)[:80]!r}; it must be {NAMES[wanted]}{also}") from None


def _as(kind: type, value: object) -> object:
    """Return the value as `kind`. Raises ValueError or TypeError where it is another kind of value."""
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if isinstance(value, bool):
            return value
        if str(value).lower() in words:
            return words[str(value).lower()]
        raise ValueError(value)
    if isinstance(value, bool):
        raise ValueError(value)
    if kind is str:
        if isinstance(value, str) and value.strip():
            return value
        raise ValueError(value)
    if len(str(value)) > LONGEST_NUMBER:
        raise ValueError(value)
    if kind is int and isinstance(value, float):
        if value != int(value):
            raise ValueError(value)
        return int(value)
    return kind(value)

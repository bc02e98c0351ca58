"""Define the command line, `workbench --help`: its commands in panels, and one line for every error that a user can cause.

The modules of the commands import heavy libraries inside the commands only, so that help and a typing error cost no seconds.
"""

import errno
import os
import sys

import typer
from typer.core import TyperGroup

import workbench
from workbench.cli import bench, data, notebooks, runs, training
from workbench.errors import InputError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


class _Group(TyperGroup):
    """Turn what a user can cause into one line and an exit code."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except InputError as error:
            _stop(f"error: {error}", 2)
        except KeyboardInterrupt:
            _stop("stopped; run the same command again to continue", 130)
        except OSError as error:
            if error.errno not in NO_ROOM + NOT_ALLOWED:
                raise
            fix = "free some space or write elsewhere" if error.errno in NO_ROOM else "check its permissions"
            _stop(f"error: {error.filename or 'disk'}: {error.strerror}; {fix}", 2)


def _stop(line: str, code: int) -> None:
    """Print one line to stderr and exit; of several processes that train together, one per machine prints."""
    sys.stdout.flush()
    if os.environ.get("LOCAL_RANK", "0") == "0":
        typer.echo(line, err=True)
    raise typer.Exit(code)


os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

app = typer.Typer(
    cls=_Group,
    help=workbench.__doc__,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

PANELS = {
    "Run the notebooks": (notebooks.run, notebooks.report, notebooks.fork, notebooks.diff),
    "Train on your own data": (data.select, training.sft, training.dpo),
    "Use what was trained": (runs.evaluate, runs.export),
    "Maintain the workbench": (training.pretrain, bench.bench),
}
NAMES = {runs.evaluate: "eval"}  # a built-in of Python has that name

for panel, commands in PANELS.items():
    for command in commands:
        app.command(NAMES.get(command), rich_help_panel=panel)(command)
app.add_typer(runs.runs_app, name="runs", rich_help_panel="Use what was trained")

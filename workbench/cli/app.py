"""Define the command line, `workbench --help`: its commands in panels, and one line for every error that a user can cause.

The modules of the commands import heavy libraries inside the commands only, so that help and a typing error cost no seconds.
"""

import errno
import os
import signal
import sys

import typer
from typer.core import TyperGroup

import workbench
from workbench.cli import base, bench, data, notebooks, results, rl, runs, training
from workbench.errors import InputError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)
LONGEST_WORD, LONGEST_LINE = 200, 2_000
"""Characters of a message; what is longer is cut, so that a pasted file as an argument is not echoed whole."""

# The parent of every error about a command's arguments; where typer keeps it has changed with its releases.
UsageError = typer.BadParameter.__mro__[1]


class _Group(TyperGroup):
    """Turn every error that a user can cause into one line and an exit code."""

    def main(self, *args, standalone_mode: bool = True, **extra):
        """Run the command and exit: 0, or 1 where a notebook failed, 2 for input that cannot be used, 130 when it was stopped."""
        _make_output_robust()
        _stop_like_the_keyboard()
        try:
            code = super().main(*args, standalone_mode=False, **extra)
        except UsageError as error:
            if not error.format_message():  # no arguments at all: the help is shown
                raise
            _stop(f"error: {error.format_message()}" + _help(error.ctx), 2)
        except InputError as error:
            _stop(f"error: {error}", 2)
        except typer.Abort:
            _stop("stopped; run the same command again to continue", 130)
        except RecursionError:
            _stop("error: the input is nested too deeply to be read", 2)
        except MemoryError:
            _stop("error: not enough memory; use fewer rows, a smaller model or a lower --max-length", 2)
        except OSError as error:
            _stop(f"error: {_os_error(error)}", 2)
        if standalone_mode:
            sys.exit(code if isinstance(code, int) else 0)
        return code

    def invoke(self, ctx):
        """Let Ctrl-C end in the same line whether typer or we see it first."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise typer.Abort() from None


def _make_output_robust() -> None:
    """Write characters that the terminal cannot encode, or half of a surrogate pair, as escapes instead of failing on them."""
    for stream in (sys.stdout, sys.stderr):
        if "backslashreplace" != getattr(stream, "errors", "backslashreplace"):
            stream.reconfigure(errors="backslashreplace")


def _stop_like_the_keyboard() -> None:
    """Let SIGTERM (a batch system, `timeout`, `kill`) stop a command as Ctrl-C does, so that a training keeps a checkpoint."""

    def stop(*_) -> None:
        if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a job that a script started in the background
            raise KeyboardInterrupt
        signal.raise_signal(signal.SIGINT)

    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        signal.signal(signal.SIGTERM, stop)


def _help(context) -> str:
    return f"; see {context.command_path} --help" if context else ""


def _os_error(error: OSError) -> str:
    """Return the file, what the system says about it, and the fix."""
    fixes = dict.fromkeys(NO_ROOM, "; free some space or write elsewhere") | dict.fromkeys(
        NOT_ALLOWED, "; check its permissions or use another path"
    )
    return f"{error.filename or 'disk'}: {error.strerror or error}{fixes.get(error.errno, '')}"


def _stop(line: str, code: int) -> None:
    """Print one line to stderr and exit; of several processes that train together, one per machine prints."""
    sys.stdout.flush()
    if os.environ.get("LOCAL_RANK", "0") == "0":
        typer.echo(one_line(line), err=True)
    sys.exit(code)


def one_line(text: str) -> str:
    """Return the text on one line, with very long words and a very long whole cut in the middle."""
    words = (_cut(word, LONGEST_WORD) for word in text.split())
    return _cut(" ".join(words), LONGEST_LINE)


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} … {text[-most // 4 :]} ({len(text):,} characters)"


app = typer.Typer(
    cls=_Group,
    help=workbench.__doc__,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

PANELS = {
    "Run the notebooks": (notebooks.run, notebooks.report, notebooks.fork, notebooks.diff),
    "Train on your own data": (base.base, data.show, data.select, training.sft, training.dpo, rl.reward_model, rl.rl),
    "Use what was trained": (runs.evaluate, runs.export),
    "Maintain the workbench": (training.pretrain, bench.bench),
}
NAMES = {runs.evaluate: "eval"}  # a built-in of Python has that name

for panel, commands in PANELS.items():
    for command in commands:
        app.command(NAMES.get(command), rich_help_panel=panel)(command)
app.add_typer(runs.runs_app, name="runs", rich_help_panel="Use what was trained")
app.add_typer(results.results_app, name="results", rich_help_panel="Run the notebooks")

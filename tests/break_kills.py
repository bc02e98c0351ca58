"""100 kills: SIGKILL in the middle of a command, also between the steps of saving and renaming; the next call gives the same result.

Half of the kills come before a file operation (open for writing, rename, mkdir, remove) that is drawn by chance, the others after a
time that is drawn by chance. The second call must succeed and give, bit for bit, what a run gives that nobody disturbed.
`make break` runs them all; test_break.py takes five.
"""

import hashlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from break_world import World, pairs, rows

from workbench.cli.app import app
from workbench.store import Store
from workbench.train import preference, supervised

SFT = "sft {root}/ok.json --base {base} --method lora --set max_steps=6 --set batch_size=4 --samples 0"
COMMANDS = {
    "sft": SFT,
    "qlora": SFT.replace("lora", "qlora"),
    "full": SFT.replace("lora", "full").replace("max_steps=6", "max_steps=4"),
    "dpo": "dpo {root}/pairs.json --run {run} --set max_steps=4 --set batch_size=4 --samples 0",
    "export": "export {run} {out}/model",
    "recipe": "export {run} {out}/recipe --trl",
    "select": "select {root}/ok.json --by perplexity --size 5 --base {base} --out {out}/selected.jsonl",
}
KILLS = 100
SECONDS = 120
"""A command that takes longer hangs."""
# Children are forked from a process that has imported everything and has one thread. A test process has many: a child forked from it can
# wait for ever for a lock that one of them held.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "trl.trainer.sft_trainer",
        "trl.trainer.dpo_trainer",
        "workbench.train.callbacks",
        "workbench.experiments.export",
        __name__,
    ]
)
CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.truncate", "shutil.rmtree", "shutil.move"}


def kills(count: int) -> list[tuple[int, str, str]]:
    """(number, command, how): trainings more often than the rest."""
    names = [*["sft"] * 3, *["dpo"] * 3, "qlora", "full", "export", "export", "recipe", "select"]
    return [(n, names[n % len(names)], "operation" if n // len(names) % 2 == 0 else "time") for n in range(count)]


class Lab:
    """A world, and what each command gives that nobody disturbs."""

    def __init__(self, root: Path):
        self.world = World(root / "world")
        self.root = root
        (root / "ok.json").write_text(json.dumps(rows()))
        (root / "pairs.json").write_text(json.dumps(pairs()))
        self.world.run  # noqa: B018
        self.undisturbed: dict[str, tuple[dict, int, float]] = {}
        warm = SERVER.Process(target=time.sleep, args=(0,))  # returns when the server has imported everything
        warm.start()
        warm.join()

    def fresh(self, name: str) -> Path:
        """A folder with a store that holds the SFT run alone, and a folder for outputs."""
        folder = self.root / name
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.world.run.path, folder / "runs" / self.world.run.id)
        (folder / "out").mkdir()
        return folder

    def run(
        self, command: str, folder: Path, operation: int | None = None, seconds: float | None = None
    ) -> tuple[int, int]:
        """Run a command in a child, killed before its n-th change of a file or after so many seconds: (exit status, changes)."""
        words = COMMANDS[command].format(
            base=self.world.base, root=self.root, run=self.world.run.id, out=folder / "out"
        )
        reader, writer = SERVER.Pipe(duplex=False)
        child = SERVER.Process(target=_child, args=(words.split(), folder, operation, writer))
        child.start()
        writer.close()
        if seconds is not None:
            time.sleep(seconds)
            child.kill()
        child.join(SECONDS)
        if hangs := child.is_alive():
            child.kill()
        assert not hangs, f"no end after {SECONDS} s: {words}"
        counted = 0
        if reader.poll():
            with suppress(EOFError):  # killed before it could say
                counted = reader.recv()
        return child.exitcode, counted

    def expected(self, command: str) -> tuple[dict, int, float]:
        """Of a run that nobody disturbs: its result, the number of its changes of files, its seconds."""
        if command not in self.undisturbed:
            folder, started = self.fresh(f"whole-{command}"), time.monotonic()
            code, changes = self.run(command, folder)
            assert code == 0 and changes > 0, (folder / "output").read_text()
            self.undisturbed[command] = result(folder, self.world.run.id), changes, time.monotonic() - started
        return self.undisturbed[command]


def _child(words: list[str], folder: Path, operation: int | None, writer: Connection) -> None:
    """Run the command line in a forked process; never returns."""
    changes, root = 0, str(folder)

    def watch(event: str, args: tuple) -> None:
        nonlocal changes
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if (event in CHANGES or writes) and str(args[0]).startswith(root) and not str(args[0]).endswith("/output"):
            changes += 1
            if changes == operation:
                os.kill(os.getpid(), signal.SIGKILL)

    os.environ["WORKBENCH_RUNS"] = str(folder / "runs")
    for train in (supervised.sft, preference.dpo):
        train.__kwdefaults__["save_every"] = 0.0  # a checkpoint after every step
    output = os.open(folder / "output", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
    sys.addaudithook(watch)
    code = 70
    try:
        app(words, standalone_mode=True)
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        writer.send(changes)
        os._exit(code)


def result(folder: Path, start: str) -> dict[str, str]:
    """What a command gave: hashes of the files of the new run but its clock, its scores, and hashes of the outputs."""
    store, found = Store(folder / "runs"), {}
    for run in store.runs():
        if run.id != start:
            found |= {f"{run.id}/{name}": sha for name, sha in run.record["files"].items() if name != "log.csv"}
            found[f"{run.id} scores"] = json.dumps(run.scores)
            found[f"{run.id} losses"] = run.log["loss"].to_json()
    for path in sorted((folder / "out").rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in inside.parts):  # what a kill left is hidden
            found[str(inside)] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    return Lab(tmp_path_factory.mktemp("kills"))


def kill_and_repeat(lab: Lab, number: int, command: str, how: str) -> None:
    """Kill one call, make the next one, and compare."""
    expected, changes, seconds = lab.expected(command)
    draw, folder = random.Random(number), lab.fresh(f"{number}-{command}")
    if how == "operation":
        code, _ = lab.run(command, folder, operation=draw.randint(1, changes))
        assert code == -signal.SIGKILL
    else:
        code, _ = lab.run(command, folder, seconds=draw.uniform(0.02, seconds))
    complete = code == 0
    again, _ = lab.run(command, folder)
    output = (folder / "output").read_text()
    # an output that was finished before the kill is there already, and is not overwritten
    there = command in ("export", "recipe", "select") and "exists" in output
    assert again == 0 or (there and again == 2), output[-2000:]
    assert result(folder, lab.world.run.id) == expected, f"killed {'after the end' if complete else 'in the middle'}"
    assert not list((folder / "runs").glob("*.partial")) and not list((folder / "runs").glob("*.corrupt*"))
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "command", "how"), kills(KILLS))
def test_the_call_after_a_kill_gives_the_result_of_an_undisturbed_run(lab, number, command, how):
    kill_and_repeat(lab, number, command, how)

"""``python -m baselines.table TABLE``: train and evaluate a table of recipes and seeds, unattended, and print the results."""

from __future__ import annotations

import json
import re
import signal
import statistics
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
import pydantic

from baselines import recipe_file, yaml_file
from baselines.checkpoints import Checkpoints
from baselines.command import run
from baselines.console import echo
from baselines.interruption import InterruptedRunError, Interruption
from baselines.run_folder import RunFolder
from t2vdata import storage
from t2vdata.errors import RequestError

# How often the main thread looks for a signal while runs are in progress.
_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Row:
    """A recipe of the table."""

    recipe: str
    """File of the recipe, relative to the checkout."""
    set: tuple[str, ...] = ()
    """Overrides of its values: section.name=value."""


@dataclass(frozen=True)
class TableSpec:
    """The runs of a table and the columns it shows."""

    rows: Mapping[str, Row]
    columns: tuple[str, ...]
    """Names of numbers in evaluation-SPLIT.json."""
    seeds: tuple[int, ...] = (0, 1, 2)
    split: str = "test"
    clips: int = 400


@dataclass(frozen=True)
class Cell:
    """A number for each seed that has it."""

    values: tuple[float, ...]

    def __str__(self) -> str:
        """Return the mean and, over several seeds, the standard deviation."""
        if not self.values:
            return "-"
        mean = f"{statistics.mean(self.values):.3f}"
        return f"{mean} ± {statistics.stdev(self.values):.3f}" if len(self.values) > 1 else mean


def read(path: str) -> TableSpec:
    """Return the table in a YAML file. Raises RequestError that names what is wrong, in its recipes too."""
    try:
        text = json.dumps(yaml_file.read(path))
        spec = pydantic.TypeAdapter(TableSpec).validate_json(text, strict=True)
    except FileNotFoundError:
        raise RequestError(f"no table {path}; see recipes/tables") from None
    except pydantic.ValidationError as error:
        mistakes = "; ".join(f"{'.'.join(map(str, mistake['loc']))}: {mistake['msg']}" for mistake in error.errors())
        raise RequestError(f"{path}: {mistakes}") from error
    for row in spec.rows.values():
        recipe_file.read(row.recipe, row.set)
    return spec


def is_trained(folder: RunFolder) -> bool:
    """Return whether a run has reached its last step."""
    if not folder.exists:
        return False
    return Checkpoints(folder.checkpoints).steps()[-1:] == [folder.recipe().run.steps]


def run_missing(spec: TableSpec, out: Path, jobs: int = 1) -> list[str]:
    """Train and evaluate what is missing, ``jobs`` runs at once; return the runs that failed, by row and seed.

    All rows of the first seed come first, so that a complete table exists early.
    """
    runs = [(name, row, seed) for seed in spec.seeds for name, row in spec.rows.items()]
    commands = Commands()
    with Interruption() as interruption, ThreadPoolExecutor(jobs) as pool:
        results = [pool.submit(_run_row, spec, out, *run, commands) for run in runs]
        running = set(results)
        while running:
            _, running = futures.wait(running, timeout=_POLL_SECONDS)
            if interruption.number:
                commands.stop()
    if interruption.number:
        name = signal.Signals(interruption.number).name
        raise InterruptedRunError(f"{name}: every started run is saved; resumes", interruption.number)
    return [failure for result in results if (failure := result.result()) is not None]


class Commands:
    """Commands that run side by side in processes of their own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self.is_stopped = False

    def run(self, words: Sequence[str]) -> int:
        """Run a module with this Python; return its exit status, or that of SIGTERM after ``stop``."""
        with self._lock:
            if self.is_stopped:
                return -signal.SIGTERM
            process = subprocess.Popen([sys.executable, "-m", *words], stdout=sys.stderr)
            self._running.add(process)
        try:
            return process.wait()
        finally:
            with self._lock:
                self._running.remove(process)

    def stop(self) -> None:
        """Ask every running command to end, once, and start no more."""
        with self._lock:
            running = () if self.is_stopped else tuple(self._running)
            self.is_stopped = True
            for process in running:
                process.terminate()


def _run_row(spec: TableSpec, out: Path, name: str, row: Row, seed: int, running: Commands) -> str | None:
    """Train and evaluate a run; return the command that failed, if any."""
    folder = run_folder_of(out, name, seed)
    train = ["baselines.train", row.recipe, *row.set, f"seed={seed}", "--out", str(folder.path)]
    evaluate = ["baselines.evaluate", str(folder.path), "--split", spec.split, "--n", str(spec.clips)]
    commands = [] if is_trained(folder) else [train]
    commands += [] if folder.evaluation(spec.split).exists() and not commands else [evaluate]
    for words in commands:
        if running.is_stopped:
            return f"{name}, seed {seed}: not started"
        echo(f"{name}, seed {seed}: {' '.join(words)}", err=True)
        if running.run(words):
            return f"{name}, seed {seed}: {words[0]}"
    return None


def to_markdown(spec: TableSpec, out: Path) -> str:
    """Return the table as Markdown: mean and standard deviation over the finished seeds, for each row and column."""
    lines = ["| | seeds | " + " | ".join(spec.columns) + " |", "|---|--:|" + "--:|" * len(spec.columns)]
    for name in spec.rows:
        paths = [run_folder_of(out, name, seed).evaluation(spec.split) for seed in spec.seeds]
        runs = [json.loads(path.read_bytes())["numbers"] for path in paths if path.exists()]
        cells = [Cell(tuple(numbers[column] for numbers in runs if column in numbers)) for column in spec.columns]
        lines.append(f"| {name} | {len(runs)} | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def run_folder_of(out: Path, name: str, seed: int) -> RunFolder:
    """Return the folder of a row's run with a seed."""
    return RunFolder(out / f"{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}-{seed}")


@click.command(epilog="Example: python -m baselines.table recipes/tables/gan.yaml")
@click.argument("table", type=click.Path())
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the runs.  [default: runs/NAME OF THE TABLE]")
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of parallel runs; set run.threads=1 in their recipes.",
)
@click.option("--print", "only_print", is_flag=True, help="Train nothing; print the results so far.")
def command(table: str, out: Path | None, jobs: int, only_print: bool) -> None:
    """Train and evaluate every row of TABLE with every seed, and print means and standard deviations.

    The same command resumes an interrupted table. The result is also written to table.md in the folder of the runs.
    """
    spec = read(table)
    folder = out or Path("runs") / Path(table).stem
    failures = [] if only_print else run_missing(spec, folder, jobs)
    text = to_markdown(spec, folder)
    folder.mkdir(parents=True, exist_ok=True)
    storage.write_whole(str(folder / "table.md"), (text + "\n").encode())
    echo(text)
    if failures:
        raise RequestError(f"{len(failures)} runs failed: {'; '.join(failures)}; run the same command again to resume")


if __name__ == "__main__":
    run(command)

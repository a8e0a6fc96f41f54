"""``python -m baselines.table TABLE``: a table of recipes and seeds, trained, evaluated and printed without anybody there."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
import pydantic
import yaml

from baselines import recipe as recipes
from baselines import run_folder
from baselines.checkpoints import Checkpoints
from baselines.command import run
from t2vdata import storage
from t2vdata.errors import RequestError


@dataclass(frozen=True)
class Row:
    """One kind of run."""

    recipe: str
    """File of the recipe, from the checkout's folder."""
    set: tuple[str, ...] = ()
    """What takes the place of its values: section.name=value."""


@dataclass(frozen=True)
class TableSpec:
    """Which runs, and which of their numbers."""

    rows: Mapping[str, Row]
    columns: tuple[str, ...]
    """Names of numbers in evaluation-SPLIT.json."""
    seeds: tuple[int, ...] = (0, 1, 2)
    split: str = "test"
    clips: int = 400


@dataclass(frozen=True)
class Cell:
    """A number over the seeds that have it."""

    values: tuple[float, ...]

    def __str__(self) -> str:
        """Return the mean, and the standard deviation over seeds where there are several."""
        if not self.values:
            return "-"
        mean = f"{statistics.mean(self.values):.3f}"
        return f"{mean} ± {statistics.stdev(self.values):.3f}" if len(self.values) > 1 else mean


def read(path: str) -> TableSpec:
    """Return what a file asks for. Raises RequestError that names what is wrong, also in its recipes."""
    try:
        text = json.dumps(yaml.safe_load(Path(path).read_text(encoding="utf-8")))
        spec = pydantic.TypeAdapter(TableSpec).validate_json(text, strict=True)
    except FileNotFoundError:
        raise RequestError(f"no table {path}; there are some in recipes/tables") from None
    except pydantic.ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise RequestError(f"{path}: {wrong}") from error
    for row in spec.rows.values():
        recipes.read(row.recipe, row.set)
    return spec


def is_trained(path: Path) -> bool:
    """Return whether the run in a folder has come to its last step."""
    if not (path / run_folder.RECIPE).exists():
        return False
    return Checkpoints(path / "checkpoints").steps()[-1:] == [run_folder.read(path).run.steps]


def make(spec: TableSpec, out: Path, jobs: int = 1) -> list[str]:
    """Train and evaluate what is not there yet, ``jobs`` runs at once; return what failed, by row and seed.

    Seeds first: a table soon has all rows.
    """
    runs = [(name, row, seed) for seed in spec.seeds for name, row in spec.rows.items()]
    with ThreadPoolExecutor(jobs) as pool:
        failures = pool.map(lambda run: _make(spec, out, *run), runs)
        return [failure for failure in failures if failure is not None]


def _make(spec: TableSpec, out: Path, name: str, row: Row, seed: int) -> str | None:
    """Train and evaluate a run; return which of its steps failed, if one did."""
    path = place(out, name, seed)
    result = path / f"evaluation-{spec.split}.json"
    train = ["baselines.train", row.recipe, *row.set, f"seed={seed}", "--out", str(path)]
    judge = ["baselines.evaluate", str(path), "--split", spec.split, "--n", str(spec.clips)]
    steps = [] if is_trained(path) else [train]
    steps += [] if result.exists() and not steps else [judge]
    for step in steps:
        click.echo(f"{name}, seed {seed}: {' '.join(step)}", err=True)
        if subprocess.run([sys.executable, "-m", *step], stdout=sys.stderr).returncode:
            return f"{name}, seed {seed}: {step[0]}"
    return None


def printed(spec: TableSpec, out: Path) -> str:
    """Return the table as Markdown: for each row and column the mean and standard deviation over the seeds that are there."""
    lines = ["| | seeds | " + " | ".join(spec.columns) + " |", "|---|--:|" + "--:|" * len(spec.columns)]
    for name in spec.rows:
        paths = [place(out, name, seed) / f"evaluation-{spec.split}.json" for seed in spec.seeds]
        found = [json.loads(path.read_bytes())["numbers"] for path in paths if path.exists()]
        cells = [Cell(tuple(one[column] for one in found if column in one)) for column in spec.columns]
        lines.append(f"| {name} | {len(found)} | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def place(out: Path, name: str, seed: int) -> Path:
    """Return the folder of a run."""
    return out / f"{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}-{seed}"


@click.command(epilog="Example: python -m baselines.table recipes/tables/gan.yaml")
@click.argument("table", type=click.Path())
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the runs.  [default: runs/NAME OF THE TABLE]")
@click.option(
    "--jobs", type=click.IntRange(1), default=1, show_default=True, help="Runs at once; give each a thread: run.threads."
)
@click.option("--print", "only_print", is_flag=True, help="Train nothing; print what there is.")
def command(table: str, out: Path | None, jobs: int, only_print: bool) -> None:
    """Train and evaluate every row of TABLE with every seed, and print the means and their spread.

    Started again, it goes on where it was stopped. The table is also written to table.md in the folder of the runs.
    """
    spec = read(table)
    where = out or Path("runs") / Path(table).stem
    failed = [] if only_print else make(spec, where, jobs)
    text = printed(spec, where)
    where.mkdir(parents=True, exist_ok=True)
    storage.write_whole(str(where / "table.md"), (text + "\n").encode())
    click.echo(text)
    if failed:
        raise RequestError(f"{len(failed)} runs failed: {'; '.join(failed)}; start it again to go on")


if __name__ == "__main__":
    run(command)

"""``t2vdata verify``: check a dataset against its manifest."""

from __future__ import annotations

import sys

import click

from t2vdata.cli import SETTINGS
from t2vdata.cli._console import echo
from t2vdata.cli._progress import progress
from t2vdata.processes import usable_cores
from t2vdata.text.escapes import one_line


@click.command("verify", context_settings=SETTINGS, epilog="Example: t2vdata verify data/mnist-motion --deep")
@click.argument("path")
@click.option("--deep", is_flag=True, help="Also decode every clip and compare it with its row in the index.")
@click.option("--workers", type=int, default=usable_cores, help="Number of processes.  [default: all cores]")
def command(path: str, deep: bool, workers: int) -> None:
    """Check the dataset at PATH against its manifest: hashes, sizes, offsets and counts.

    Prints everything that is wrong, a line each. The exit status is 1 if there is anything.
    """
    from t2vdata.cli._console import format_size
    from t2vdata.inspect.verify import verify

    with progress(f"verifying {path}", "shards") as advance:
        report = verify(path, deep=deep, num_workers=workers, on_progress=advance)
    for problem in report.problems:
        echo(one_line(problem))
    checked = f"{report.num_shards:,} shards, {report.num_samples:,} samples, {format_size(report.num_bytes)}"
    if not report.is_sound:
        echo(f"{path}: {len(report.problems):,} {'problem' if len(report.problems) == 1 else 'problems'} in {checked}")
        sys.exit(1)
    how = "hashes, offsets, counts and every clip decoded" if deep else "hashes, offsets and counts; --deep decodes every clip"
    echo(f"{path}: sound; {checked} ({how})")

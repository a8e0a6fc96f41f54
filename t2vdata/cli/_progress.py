"""How far a long verb is: a bar in a terminal, a line now and then elsewhere; both on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

# Seconds between two plain lines: a log of an hour has a few hundred.
_EVERY = 5.0


@contextmanager
def progress(what: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    """Give a function to call with (done, total) while the block runs."""
    if sys.stderr.isatty():
        yield from _bar(what, unit)
    else:
        yield from _lines(what, unit)


def _bar(what: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed or 0:,.0f} {unit}/s")

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn(unit), Rate(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(what: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    begun = last = time.monotonic()
    # What was there before this run says nothing of its speed.
    first: int | None = None

    def report(done: int, total: int) -> None:
        nonlocal last, first
        now = time.monotonic()
        first = done if first is None else first
        if now - last < _EVERY:
            return
        last = now
        rate = (done - first) / (now - begun)
        left = f", {(total - done) / rate:,.0f} s left" if rate else ""
        click.echo(f"{what}: {done:,} of {total:,} {unit}, {rate:,.0f} {unit}/s{left}", err=True)

    yield report

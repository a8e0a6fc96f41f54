"""Progress of a long command on standard error: a bar in a terminal, a line every few seconds elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from t2vdata.cli._console import echo, format_rate
from t2vdata.text.escapes import one_line

# Seconds between two lines: a few hundred lines per hour.
LINE_INTERVAL_SECONDS = 5.0


@contextmanager
def progress(
    task: str, unit: str, *, line_interval_seconds: float = LINE_INTERVAL_SECONDS
) -> Iterator[Callable[[int, int], None]]:
    """Yield a function that takes (done, total) and reports progress while the block runs."""
    if sys.stderr.isatty():
        yield from _bar(task, unit)
    else:
        yield from _lines(task, unit, line_interval_seconds)


@contextmanager
def stages(task: str, *, line_interval_seconds: float = LINE_INTERVAL_SECONDS) -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that takes (stage, done, total) and reports the progress of one stage after another."""
    if sys.stderr.isatty():
        yield from _stage_bar()
        return
    last_line = time.monotonic()

    def report(stage: str, done: int, total: int) -> None:
        nonlocal last_line
        if time.monotonic() - last_line >= line_interval_seconds:
            last_line = time.monotonic()
            echo(f"{task}: {stage}, {done:,} of {total:,}", err=True)

    yield report


def _stage_bar() -> Iterator[Callable[[str, int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task_id, current = bar.add_task("", total=None, visible=False), ""

        def report(stage: str, done: int, total: int) -> None:
            nonlocal current
            if stage != current:
                current = stage
                bar.reset(task_id, description=stage, total=total, visible=True)
            bar.update(task_id, completed=done)

        yield report


def _bar(task: str, unit: str) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{format_rate(task.speed)} {unit}/s" if task.speed else "")

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit, markup=False),
        Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task_id = bar.add_task(one_line(task), total=None)
        yield lambda done, total: bar.update(task_id, completed=done, total=total)


def _lines(task: str, unit: str, line_interval_seconds: float) -> Iterator[Callable[[int, int], None]]:
    start = last_line = time.monotonic()
    # Work finished by an earlier run does not count towards the speed of this run.
    done_before: int | None = None

    def report(done: int, total: int) -> None:
        nonlocal last_line, done_before
        now = time.monotonic()
        done_before = done if done_before is None else done_before
        if now - last_line < line_interval_seconds:
            return
        last_line = now
        rate = (done - done_before) / (now - start)
        speed = f", {format_rate(rate)} {unit}/s, {(total - done) / rate:,.0f} s left" if rate else ""
        echo(f"{task}: {done:,} of {total:,} {unit}{speed}", err=True)

    yield report

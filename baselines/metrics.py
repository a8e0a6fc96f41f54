"""What a run tells while it goes on: metrics.jsonl, TensorBoard's events, and a bar or lines on standard error."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

METRICS = "metrics.jsonl"
# Seconds between two printed lines where there is no terminal: a log of an hour has some hundred.
_EVERY = 10.0


class Journal:
    """Writes down a run, from a step on; what an earlier try wrote about later steps is dropped, for they come again."""

    def __init__(self, folder: Path, *, step: int, steps: int, size_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / METRICS
        self._path.touch()
        os.truncate(self._path, min(size_bytes, self._path.stat().st_size))
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        self._steps, self._printed = steps, 0.0
        self._bar = _bar() if sys.stderr.isatty() else None
        if self._bar is not None:
            self._task = self._bar.add_task("", total=steps, completed=step)
            self._bar.start()

    @property
    def size_bytes(self) -> int:
        """How much of metrics.jsonl is written: belongs into a checkpoint."""
        return self._path.stat().st_size

    def write(self, step: int, numbers: Mapping[str, Any]) -> None:
        """Write down what was measured up to a step."""
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **numbers}) + "\n")
        for name, value in numbers.items():
            if isinstance(value, int | float):
                self._events.add_scalar(name, value, step)

    def show(self, step: int, numbers: Mapping[str, Any]) -> None:
        """Show on the terminal how far the run is."""
        text = "  ".join(f"{name} {_short(name, value)}" for name, value in numbers.items() if name != "clips")
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=text)
        elif time.monotonic() - self._printed > _EVERY or step == self._steps:
            self._printed = time.monotonic()
            self.say(f"step {step:,} of {self._steps:,}  {text}")

    def say(self, text: str) -> None:
        """Print a line that stays."""
        if self._bar is not None:
            self._bar.console.print(text, highlight=False)
        else:
            click.echo(text, err=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._events.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class Means:
    """The means of named scalars since the last line; they stay on their device until they are asked for."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, numbers: Mapping[str, torch.Tensor]) -> None:
        for name, value in numbers.items():
            value = value.detach().double() if value.device.type != "mps" else value.detach().float()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        """Return the means, and begin anew. A name that not every step gives is a mean over those that gave it."""
        found = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return found


def _bar() -> Progress:
    columns = (BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    return Progress(*columns, console=Console(stderr=True))


def _short(name: str, value: Any) -> str:
    if name == "waiting":
        return f"{value:.1%}"
    return f"{value:,.0f}" if name == "clips_per_second" else f"{value:.4g}" if isinstance(value, float) else str(value)

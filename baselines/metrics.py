"""Metrics of a run in progress: metrics.jsonl, TensorBoard events, and a progress bar or lines on standard error."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from baselines.console import echo
from t2vdata.loading import Loader
from t2vdata.text.escapes import printable

METRICS = "metrics.jsonl"
# Seconds between printed lines when there is no terminal: some hundred lines per hour.
_PRINT_EVERY_SECONDS = 10.0


class MetricsLog:
    """Writes a run's metrics from a given step on; what an earlier attempt wrote about later steps is dropped first."""

    def __init__(self, folder: Path, *, step: int, steps: int, size_bytes: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / METRICS
        self._path.touch()
        os.truncate(self._path, min(size_bytes, self._path.stat().st_size))
        self._events = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        self._steps, self._printed = steps, 0.0
        self._bar = _progress_bar() if sys.stderr.isatty() else None
        if self._bar is not None:
            self._task = self._bar.add_task("", total=steps, completed=step)
            self._bar.start()

    @property
    def size_bytes(self) -> int:
        """Size of metrics.jsonl; checkpoints store it, so that a resumed run can drop later lines."""
        return self._path.stat().st_size

    def write(self, step: int, numbers: Mapping[str, Any]) -> None:
        """Append a line to metrics.jsonl, and its numbers to TensorBoard."""
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **numbers}) + "\n")
        for name, value in numbers.items():
            if isinstance(value, int | float):
                self._events.add_scalar(name, value, step)

    def show(self, step: int, numbers: Mapping[str, Any]) -> None:
        """Show progress and numbers on the terminal."""
        text = "  ".join(f"{name} {_short(name, value)}" for name, value in numbers.items() if name != "clips")
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=printable(text))
        elif time.monotonic() - self._printed > _PRINT_EVERY_SECONDS or step == self._steps:
            self._printed = time.monotonic()
            self.print(f"step {step:,} of {self._steps:,}  {text}")

    def print(self, text: str) -> None:
        """Print a line, above the progress bar."""
        if self._bar is not None:
            self._bar.console.print(printable(text), highlight=False, markup=False)
        else:
            echo(text, err=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._events.close()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


class RunningMeans:
    """Means of named scalars since the last ``take``; sums stay on their device until then."""

    def __init__(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, numbers: Mapping[str, torch.Tensor]) -> None:
        for name, value in numbers.items():
            value = value.detach().double() if value.device.type != "mps" else value.detach().float()
            self._sums[name] = self._sums[name] + value if name in self._sums else value
            self._counts[name] = self._counts.get(name, 0) + 1

    def state(self) -> dict[str, tuple[float, int]]:
        """Return {name: (sum, count)} so far, exactly."""
        return {name: (float(total), self._counts[name]) for name, total in self._sums.items()}

    def load(self, state: Mapping[str, Sequence[float]], device: torch.device) -> None:
        """Continue from an earlier ``state``."""
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self._sums = {name: torch.tensor(total, dtype=dtype, device=device) for name, (total, _) in state.items()}
        self._counts = {name: int(count) for name, (_, count) in state.items()}

    def take(self) -> dict[str, float]:
        """Return the means and reset. A scalar that some steps lack is averaged over the steps that have it."""
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means


class Stopwatch:
    """Times training steps, and how much of that time is spent waiting for data."""

    def __init__(self, reading: Loader) -> None:
        self._reading = reading
        self._seconds, self._num_steps, self._waited_seconds = 0.0, 0, reading.waited_seconds

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self._seconds += time.perf_counter() - self._started
        self._num_steps += 1

    def take(self, clips_per_step: int) -> dict[str, float]:
        """Return clips per second and the share of time spent waiting for data, and reset."""
        waited = self._reading.waited_seconds - self._waited_seconds
        seconds = max(self._seconds, 1e-9)
        numbers = {"clips_per_second": self._num_steps * clips_per_step / seconds, "waiting": waited / seconds}
        self._seconds, self._num_steps, self._waited_seconds = 0.0, 0, self._reading.waited_seconds
        return numbers


def _progress_bar() -> Progress:
    columns = (BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}", markup=False))
    return Progress(*columns, console=Console(stderr=True))


def _short(name: str, value: Any) -> str:
    if name == "waiting":
        return f"{value:.1%}"
    return f"{value:,.0f}" if name == "clips_per_second" else f"{value:.4g}" if isinstance(value, float) else str(value)

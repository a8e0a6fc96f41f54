"""The checkpoints of a run: the newest ones and the best, each a folder that appears complete or not at all.

A checkpoint has ``state.safetensors`` with all tensors, and ``state.json`` with everything else and the tensors' names in
their positions. A run that was asked to end between two of them leaves one more, ``interrupted-STEP``, until the next.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from t2vdata import storage
from t2vdata.errors import DataError, RequestError

_SCHEDULED, _INTERRUPTED = "step", "interrupted"
_TENSOR = "$tensor"
_BEST = "best.json"


class Checkpoints:
    """The checkpoints in a folder."""

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self.folder, self._keep = folder, keep

    def steps(self) -> list[int]:
        """Return the steps of all scheduled checkpoints, oldest first."""
        return self._steps_of(_SCHEDULED)

    def newest_step(self) -> int | None:
        """Return the step of the newest checkpoint, scheduled or not."""
        return max(self.steps() + self._steps_of(_INTERRUPTED), default=None)

    def best(self) -> dict[str, Any] | None:
        """Return {step, value} of the best checkpoint, or None."""
        path = self.folder / _BEST
        if not path.exists():
            return None
        try:
            best = json.loads(path.read_bytes())
            return {"step": int(best["step"]), "value": float(best["value"])}
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise DataError(f"{path} is damaged ({error}); delete it to go on without a best checkpoint") from error

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint, then delete those that are neither among the newest nor the best."""
        self._write(self._path(step), state)
        for interrupted in self._steps_of(_INTERRUPTED):
            shutil.rmtree(self._path(interrupted, _INTERRUPTED))
        self._delete_old()

    def save_interrupted(self, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint beside the scheduled ones; the next scheduled one replaces it."""
        self._write(self._path(step, _INTERRUPTED), state)
        for interrupted in self._steps_of(_INTERRUPTED):
            if interrupted != step:
                shutil.rmtree(self._path(interrupted, _INTERRUPTED))

    def mark_best(self, step: int, value: float) -> None:
        """Record an existing checkpoint as the best, with the value that made it so."""
        storage.write_whole(str(self.folder / _BEST), json.dumps({"step": step, "value": value}).encode())
        self._delete_old()

    def _write(self, path: Path, state: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in os.listdir(self.folder):
            # Left behind by a run that was killed while writing.
            if name.startswith((f".{_SCHEDULED}-", f".{_INTERRUPTED}-")):
                shutil.rmtree(self.folder / name)
        partial = path.with_name(f".{path.name}")
        partial.mkdir()
        tensors: dict[str, torch.Tensor] = {}
        values = _without_tensors(state, "", tensors)
        save_file(tensors, partial / "state.safetensors")
        storage.write_whole(str(partial / "state.json"), json.dumps(values, indent=1).encode())
        with open(partial / "state.safetensors", "rb") as file:
            os.fsync(file.fileno())
        if path.exists():
            # The same step again, after a return to an earlier checkpoint.
            shutil.rmtree(path)
        os.replace(partial, path)

    def load(self, which: str = "last", *, device: torch.device | str = "cpu") -> tuple[int, dict[str, Any]]:
        """Return step and state of a checkpoint: ``last``, ``best``, a step, or ``scheduled``, the last of the scheduled ones.

        Raises RequestError for a missing checkpoint, DataError for a damaged one.
        """
        step, kind = self._find(which)
        path = self._path(step, kind)
        try:
            tensors = load_file(path / "state.safetensors", device=str(device))
            values = json.loads((path / "state.json").read_bytes())
            return step, _with_tensors(values, tensors)
        except (OSError, SafetensorError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise DataError(f"{path} is damaged ({error}); delete it to resume from the checkpoint before") from error

    def _path(self, step: int, kind: str = _SCHEDULED) -> Path:
        return self.folder / f"{kind}-{step:08d}"

    def _steps_of(self, kind: str) -> list[int]:
        if not self.folder.is_dir():
            return []
        matches = (re.fullmatch(f"{kind}-([0-9]{{8,}})", name) for name in os.listdir(self.folder))
        return sorted(int(match[1]) for match in matches if match)

    def _find(self, which: str) -> tuple[int, str]:
        """Return step and kind of a checkpoint."""
        steps, interrupted, best = self.steps(), self._steps_of(_INTERRUPTED), self.best()
        if not steps and not interrupted:
            raise RequestError(f"no checkpoint in {self.folder}; train first")
        if which == "last" or (which == "best" and best is None):
            # One of the same step was written later: the run had returned to the scheduled one.
            return max([(step, _SCHEDULED) for step in steps] + [(step, _INTERRUPTED) for step in interrupted], key=_by_age)
        if which == "scheduled":
            return steps[-1], _SCHEDULED
        step = int(best["step"]) if which == "best" and best else int(which) if re.fullmatch("[0-9]{1,18}", which) else -1
        if step not in steps + interrupted:
            choices = ", ".join(map(str, sorted({*steps, *interrupted})))
            raise RequestError(f"no checkpoint {which!r}; choose from last, best, {choices}")
        return step, _SCHEDULED if step in steps else _INTERRUPTED

    def _delete_old(self) -> None:
        best = self.best()
        kept = {*self.steps()[-self._keep :], *([best["step"]] if best else [])}
        for step in self.steps():
            if step not in kept:
                shutil.rmtree(self._path(step))


def _by_age(checkpoint: tuple[int, str]) -> tuple[int, bool]:
    step, kind = checkpoint
    return step, kind == _INTERRUPTED


def _without_tensors(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Return a nested state as JSON values; move its tensors to ``tensors``, under their paths."""
    if isinstance(value, torch.Tensor):
        # A copy, because a safetensors file cannot hold tensors that share memory.
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {_TENSOR: name}
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"{name}: a state's keys are strings, not {[*value][:3]}")
        return {key: _without_tensors(item, f"{name}/{key}" if name else key, tensors) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_tensors(item, f"{name}/{index}", tensors) for index, item in enumerate(value)]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{name}: a state holds tensors, numbers and strings, not {type(value).__name__}")


def _with_tensors(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """Undo ``_without_tensors``."""
    if isinstance(value, dict):
        if _TENSOR in value:
            return tensors[value[_TENSOR]]
        return {key: _with_tensors(item, tensors) for key, item in value.items()}
    return [_with_tensors(item, tensors) for item in value] if isinstance(value, list) else value

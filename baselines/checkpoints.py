"""What a run can go on from: the newest checkpoints and the best one, each a folder that appears whole or not at all.

A checkpoint is ``state.safetensors``, all tensors, and ``state.json``, everything else, with the tensors' names where they
belong.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from t2vdata import storage
from t2vdata.errors import DataError, RequestError

_NAME = re.compile(r"step-(\d{8})")
_TENSOR = "$tensor"
_BEST = "best.json"


class Checkpoints:
    """The checkpoints of a run, in a folder of their own."""

    def __init__(self, folder: Path, *, keep: int = 2) -> None:
        self.folder, self._keep = folder, keep

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints, oldest first."""
        if not self.folder.is_dir():
            return []
        found = (_NAME.fullmatch(name) for name in os.listdir(self.folder))
        return sorted(int(match[1]) for match in found if match)

    def best(self) -> dict[str, Any] | None:
        """Return {step, value} of the best one, or None."""
        path = self.folder / _BEST
        return json.loads(path.read_bytes()) if path.exists() else None

    def save(self, step: int, state: dict[str, Any]) -> None:
        """Write a checkpoint, then let go of those that are neither among the newest nor the best."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in os.listdir(self.folder):
            # Of a run that was killed while it wrote.
            if name.startswith(".step-"):
                shutil.rmtree(self.folder / name)
        aside = self.folder / f".step-{step:08d}"
        aside.mkdir()
        tensors: dict[str, torch.Tensor] = {}
        plain = _parted(state, "", tensors)
        save_file(tensors, aside / "state.safetensors")
        storage.write_whole(str(aside / "state.json"), json.dumps(plain, indent=1).encode())
        with open(aside / "state.safetensors", "rb") as file:
            os.fsync(file.fileno())
        place = self.folder / f"step-{step:08d}"
        if place.exists():
            # The same step again, after a return to the one before.
            shutil.rmtree(place)
        os.replace(aside, place)
        self._let_go()

    def mark_best(self, step: int, value: float) -> None:
        """Remember a checkpoint that is there as the best, and by what number."""
        storage.write_whole(str(self.folder / _BEST), json.dumps({"step": step, "value": value}).encode())
        self._let_go()

    def load(self, which: str = "last", *, device: torch.device | str = "cpu") -> tuple[int, dict[str, Any]]:
        """Return step and state of the ``last`` checkpoint, the ``best``, or that of a step.

        Raises RequestError where there is no such checkpoint, DataError for one that is damaged.
        """
        step = self._step(which)
        place = self.folder / f"step-{step:08d}"
        try:
            tensors = load_file(place / "state.safetensors", device=str(device))
            plain = json.loads((place / "state.json").read_bytes())
            return step, _joined(plain, tensors)
        except (OSError, SafetensorError, ValueError, KeyError) as error:
            raise DataError(f"{place} is damaged ({error}); remove it, and the run goes on from the one before") from error

    def _step(self, which: str) -> int:
        steps, best = self.steps(), self.best()
        if not steps:
            raise RequestError(f"no checkpoint in {self.folder}; train first")
        if which == "last" or (which == "best" and best is None):
            return steps[-1]
        step = int(best["step"]) if which == "best" and best else int(which) if which.isdecimal() else -1
        if step not in steps:
            raise RequestError(f"no checkpoint {which!r}; there is last, best, {', '.join(map(str, steps))}")
        return step

    def _let_go(self) -> None:
        best = self.best()
        kept = {*self.steps()[-self._keep :], *([best["step"]] if best else [])}
        for step in self.steps():
            if step not in kept:
                shutil.rmtree(self.folder / f"step-{step:08d}")


def _parted(value: Any, name: str, tensors: dict[str, torch.Tensor]) -> Any:
    """Return a nested state as JSON values, its tensors put aside under their paths."""
    if isinstance(value, torch.Tensor):
        # A copy: tensors that share memory cannot be told apart in a file.
        tensors[name] = value.detach().to("cpu", copy=True).contiguous()
        return {_TENSOR: name}
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"{name}: a state has texts as keys, not {[*value][:3]}")
        return {key: _parted(one, f"{name}/{key}" if name else key, tensors) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_parted(one, f"{name}/{place}", tensors) for place, one in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{name}: a state is of tensors, numbers and texts, not {type(value).__name__}")


def _joined(value: Any, tensors: dict[str, torch.Tensor]) -> Any:
    if isinstance(value, dict):
        return tensors[value[_TENSOR]] if _TENSOR in value else {key: _joined(one, tensors) for key, one in value.items()}
    return [_joined(one, tensors) for one in value] if isinstance(value, list) else value

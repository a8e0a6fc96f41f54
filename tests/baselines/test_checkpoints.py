"""Checkpoints appear whole, are few, and come back as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from baselines.checkpoints import Checkpoints
from t2vdata.errors import DataError, RequestError


def state(number: float) -> dict[str, object]:
    shared = torch.full((2, 3), number)
    return {"a": {"weight": shared, "view": shared[0]}, "list": [1, torch.arange(3)], "text": "x", "none": None, "rate": 0.1}


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(10, state(2.0))
    step, found = kept.load()
    assert step == 10
    assert torch.equal(found["a"]["weight"], torch.full((2, 3), 2.0))
    assert torch.equal(found["a"]["view"], torch.full((3,), 2.0))
    assert found["list"][0] == 1
    assert found["list"][1].dtype == torch.int64
    assert (found["text"], found["none"], found["rate"]) == ("x", None, 0.1)
    assert sorted(path.name for path in (tmp_path / "step-00000010").iterdir()) == ["state.json", "state.safetensors"]


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    for step in range(0, 60, 10):
        kept.save(step, state(step))
        if step == 20:
            kept.mark_best(step, 0.5)
    assert kept.steps() == [20, 40, 50]
    assert kept.load("best")[0] == 20
    assert kept.load("40")[0] == 40
    kept.mark_best(50, 0.6)
    assert kept.steps() == [40, 50]


def test_what_a_killed_run_left_aside_is_no_checkpoint(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(10, state(1.0))
    (tmp_path / ".step-00000020").mkdir()
    (tmp_path / ".step-00000020" / "state.safetensors").write_bytes(b"half")
    assert kept.load()[0] == 10
    kept.save(20, state(2.0))
    assert kept.steps() == [10, 20]
    assert not (tmp_path / ".step-00000020").exists()


def test_a_step_that_comes_again_is_written_again(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save(10, state(1.0))
    kept.save(10, state(2.0))
    assert kept.load()[1]["a"]["weight"][0, 0] == 2.0


def test_missing_and_damaged_checkpoints_are_named(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    with pytest.raises(RequestError, match=r"no checkpoint in .*; train first"):
        kept.load()
    kept.save(10, state(1.0))
    with pytest.raises(RequestError, match="no checkpoint '7'; there is last, best, 10"):
        kept.load("7")
    # None is known as the best yet.
    assert kept.load("best")[0] == 10
    (tmp_path / "step-00000010" / "state.safetensors").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"step-00000010 is damaged .*; remove it, and the run goes on from the one before"):
        kept.load()


def test_a_state_of_anything_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="one: a state is of tensors, numbers and texts, not object"):
        Checkpoints(tmp_path).save(1, {"one": object()})
    with pytest.raises(TypeError, match="a state has texts as keys"):
        Checkpoints(tmp_path).save(1, {"one": {1: 2}})

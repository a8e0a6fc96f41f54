"""Checkpoints appear complete, stay few, and load as they were saved."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from baselines.checkpoints import Checkpoints
from t2vdata.errors import DataError, RequestError


def state(number: float) -> dict[str, object]:
    shared = torch.full((2, 3), number)
    return {"a": {"weight": shared, "view": shared[0]}, "list": [1, torch.arange(3)], "text": "x", "none": None, "rate": 0.1}


def test_a_loaded_state_equals_the_saved_one(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(10, state(2.0))
    step, loaded = checkpoints.load()
    assert step == 10
    assert torch.equal(loaded["a"]["weight"], torch.full((2, 3), 2.0))
    assert torch.equal(loaded["a"]["view"], torch.full((3,), 2.0))
    assert loaded["list"][0] == 1
    assert loaded["list"][1].dtype == torch.int64
    assert (loaded["text"], loaded["none"], loaded["rate"]) == ("x", None, 0.1)
    assert sorted(path.name for path in (tmp_path / "step-00000010").iterdir()) == ["state.json", "state.safetensors"]


def test_only_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in range(0, 60, 10):
        checkpoints.save(step, state(step))
        if step == 20:
            checkpoints.mark_best(step, 0.5)
    assert checkpoints.steps() == [20, 40, 50]
    assert checkpoints.load("best")[0] == 20
    assert checkpoints.load("40")[0] == 40
    checkpoints.mark_best(50, 0.6)
    assert checkpoints.steps() == [40, 50]


def test_the_partial_checkpoint_of_a_killed_run_is_ignored_and_deleted(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(10, state(1.0))
    (tmp_path / ".step-00000020").mkdir()
    (tmp_path / ".step-00000020" / "state.safetensors").write_bytes(b"half")
    assert checkpoints.load()[0] == 10
    checkpoints.save(20, state(2.0))
    assert checkpoints.steps() == [10, 20]
    assert not (tmp_path / ".step-00000020").exists()


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(10, state(1.0))
    checkpoints.save(10, state(2.0))
    assert checkpoints.load()[1]["a"]["weight"][0, 0] == 2.0


def test_missing_and_damaged_checkpoints_are_named(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    with pytest.raises(RequestError, match=r"no checkpoint in .*; train first"):
        checkpoints.load()
    checkpoints.save(10, state(1.0))
    with pytest.raises(RequestError, match="no checkpoint '7'; choose from last, best, 10"):
        checkpoints.load("7")
    # No best yet: the last.
    assert checkpoints.load("best")[0] == 10
    (tmp_path / "step-00000010" / "state.safetensors").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"step-00000010 is damaged .*; delete it to resume from the checkpoint before"):
        checkpoints.load()


def test_a_state_of_other_types_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="item: a state holds tensors, numbers and strings, not object"):
        Checkpoints(tmp_path).save(1, {"item": object()})
    with pytest.raises(TypeError, match="a state's keys are strings"):
        Checkpoints(tmp_path).save(1, {"item": {1: 2}})


@pytest.mark.parametrize("content", [b"", b"[]", b'{"step": "x", "value": 1}', b"[" * 100_000])
def test_a_damaged_record_of_the_best_is_named(content: bytes, tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(10, state(1.0))
    (tmp_path / "best.json").write_bytes(content)
    with pytest.raises(DataError, match=r"best\.json is damaged .*; delete it to go on without a best checkpoint"):
        checkpoints.load("best")


def test_numpy_numbers_of_a_state_are_numbers(tmp_path: Path) -> None:
    Checkpoints(tmp_path).save(1, {"seed": np.int64(3), "norm": np.float32(0.5), "is_done": np.bool_(True)})
    assert Checkpoints(tmp_path).load()[1] == {"seed": 3, "norm": 0.5, "is_done": True}


def test_checkpoints_beyond_eight_digits_are_in_order(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (99_999_999, 100_000_000, 1_000_000_000):
        checkpoints.save(step, {"step": step})
    assert checkpoints.load("last") == (1_000_000_000, {"step": 1_000_000_000})

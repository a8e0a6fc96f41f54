"""Specs take numbers of NumPy, torch and YAML, and hold plain ones."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch

import t2vdata
from t2vdata.build.run import BuildResult
from t2vdata.errors import RequestError
from t2vdata.loading import CacheSpec, Loader, LoadSpec, Resources


@pytest.mark.parametrize(
    ("settings", "plain"),
    [
        ({"batch_size": np.int64(8), "num_frames": np.uint8(4), "stride": np.int32(2)}, (8, 4, 2)),
        ({"batch_size": torch.tensor(8), "num_frames": 4, "fps": np.float32(2.5)}, (8, 4, 2.5)),
        ({"resize": [64, np.int64(48)], "crop": np.int16(32)}, ((64, 48), 32)),
        ({"resize": np.array([64, 48]), "channels": np.int64(3)}, ((64, 48), 3)),
        ({"mean": [0.5, np.float64(0.25), 1], "std": np.full(3, 0.5)}, ((0.5, 0.25, 1), (0.5, 0.5, 0.5))),
        ({"mean": torch.full((3,), 0.5), "std": np.float16(0.5)}, ((0.5, 0.5, 0.5), 0.5)),
        ({"shuffle": np.bool_(False), "window": np.int64(2), "max_failure_rate": np.float64(0.5)}, (False, 2, 0.5)),
    ],
)
def test_a_spec_holds_plain_numbers(settings: dict[str, Any], plain: tuple) -> None:
    spec = LoadSpec(**settings)
    assert tuple(getattr(spec, name) for name in settings) == plain
    assert spec == LoadSpec(**dict(zip(settings, plain, strict=True)))
    json.dumps(dataclasses.asdict(spec))
    hash(spec)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 8.0}, r"LoadSpec.batch_size 8\.0: expected a whole number"),
        ({"batch_size": "8"}, "LoadSpec.batch_size '8': expected a whole number"),
        ({"batch_size": True}, "LoadSpec.batch_size True: expected a whole number"),
        ({"num_frames": -1}, "LoadSpec.num_frames -1: expected more than 0"),
        ({"num_frames": 2, "fps": "fast"}, "LoadSpec.fps 'fast': expected a number"),
        ({"num_frames": 2, "fps": float("inf")}, "LoadSpec.fps inf: expected a number"),
        ({"resize": [64]}, r"LoadSpec.resize \[64\]: expected pixels, or \(height, width\)"),
        ({"crop": 32.5}, r"LoadSpec.crop 32\.5: expected pixels"),
        ({"mean": [0.5, 0.5]}, r"LoadSpec.mean \[0\.5, 0\.5\]: expected one number, or one for each of 3 channels"),
        ({"mean": None}, "LoadSpec.mean None: expected a number"),
        ({"std": [0.5, 0.5, 0]}, r"LoadSpec.std \(0\.5, 0\.5, 0\): expected more than 0"),
        ({"std": float("nan")}, "LoadSpec.std nan: expected a number"),
        ({"shuffle": "no"}, "LoadSpec.shuffle 'no': expected True or False"),
        ({"window": 1.5}, r"LoadSpec.window 1\.5: expected 1 or more shards, None or 'auto'"),
    ],
)
def test_values_of_another_kind_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        LoadSpec(**settings)


def test_resources_and_caches_take_numbers_of_numpy() -> None:
    resources = Resources(workers=np.int64(2), prefetch=np.int64(3), device=torch.device("cpu"))
    assert resources == Resources(workers=2, prefetch=3)
    cache = CacheSpec(max_bytes=np.int64(10), retries=np.int8(1), timeout_seconds=np.float32(2))
    json.dumps([dataclasses.asdict(resources), dataclasses.asdict(cache)])
    with pytest.raises(RequestError, match=r"Resources.workers 0: expected more than 0"):
        Resources(workers=0)


def test_a_mean_for_other_channels_than_the_clips_have_is_refused(built: BuildResult) -> None:
    split = t2vdata.open_dataset(built.out)["train"]
    message = r"LoadSpec.mean \(0\.5, 0\.5, 0\.5\) is for 3 channels, and the clips have 1; give one number, or .*channels=3"
    with pytest.raises(RequestError, match=message):
        Loader(split, LoadSpec(dtype="float32", mean=(0.5,) * 3))
    for settings in ({"channels": 3, "mean": [0.5] * 3}, {"mean": [0.5]}, {"channels": 3, "mean": [0.5]}):
        batch = next(iter(Loader(split, LoadSpec(batch_size=2, dtype="float32", **settings), resources=Resources(workers=1))))
        assert batch.video.min() == -1

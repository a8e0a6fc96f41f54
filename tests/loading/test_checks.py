"""A damaged local shard gives bad samples, never wrong pixels."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zstandard

import t2vdata
from t2vdata.build.run import build_dataset
from t2vdata.build.spec import BuildSpec
from t2vdata.errors import DataError
from t2vdata.format.dataset import Split
from t2vdata.loading import Loader, LoadSpec, Resources
from t2vdata.loading.spec import CacheSpec
from t2vdata.media.encode import encoding

ENCODINGS = ("lossless", "h264", "jpeg")
COUNTING = LoadSpec(batch_size=4, shuffle=False, on_error="count", max_failure_rate=1.0)


@pytest.fixture(scope="module")
def built_as(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small dataset in each encoding."""
    folder = tmp_path_factory.mktemp("checks")
    options = {"n": 4, "val": 0, "test": 0, "frames": 5, "size": 32, "digit_size": 14}
    for name in ENCODINGS:
        build_dataset(BuildSpec("mnist-motion", options, encoding=encoding(name), shard_size=4), folder / name, num_workers=1)
    return {name: folder / name for name in ENCODINGS}


@pytest.fixture
def damaged(built_as: dict[str, Path], tmp_path: Path) -> Callable[[str], Split]:
    """Copy a dataset and flip one bit in the middle of its third clip."""

    def damage(name: str) -> Split:
        split = t2vdata.open_dataset(shutil.copytree(built_as[name], tmp_path / name))["train"]
        flip(split, 2, 0.5)
        return split

    return damage


def flip(split: Split, clip: int, part: float, bit: int = 3) -> None:
    """Flip a bit of a clip's pixels, at a ``part`` of its bytes; twice restores it."""
    row = t2vdata.open_dataset(split.path).index.iloc[clip]
    with open(Path(split.path) / row["shard"], "r+b") as file:
        offset = int(row["pixels_offset"]) + int(part * int(row["pixels_size"]))
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def keys_and_failures(split: Split, **resources: object) -> tuple[list[str], dict[str, int]]:
    with Loader(split, COUNTING, seed=0, resources=Resources(workers=1, **resources)) as loader:  # type: ignore[arg-type]
        keys = [key for batch in loader for key in batch.keys]
        return keys, dict(loader.tally.failed)


@pytest.mark.parametrize("name", ENCODINGS)
def test_a_flipped_bit_makes_a_bad_sample(name: str, damaged: Callable[[str], Split]) -> None:
    split = damaged(name)
    keys, failures = keys_and_failures(split, processes=False)
    assert keys == [key for index, key in enumerate(split.keys) if index != 2]
    assert sum(failures.values()) == 1


def test_worker_processes_check_samples_too(damaged: Callable[[str], Split]) -> None:
    assert keys_and_failures(damaged("h264"), processes=True)[1] == {"ShardError": 1}


def test_the_error_says_what_happened_and_what_to_do(damaged: Callable[[str], Split]) -> None:
    split = damaged("h264")
    key = list(split.keys)[2]
    message = rf"{key} cannot be loaded: ShardError: the sample has SHA-256 \w+, expected \w+: its shard was damaged after it"
    with pytest.raises(DataError, match=message):
        list(Loader(split, LoadSpec(shuffle=False), resources=Resources(workers=1, processes=False)))


def test_exact_arrays_without_a_checksum_are_compared_with_the_index(damaged: Callable[[str], Split]) -> None:
    split = damaged("lossless")
    assert split.has_checksums
    assert keys_and_failures(split, processes=False)[1] == {"DecodeError": 1}
    # As in datasets that were built before arrays had a checksum.
    assert keys_and_failures(dataclasses.replace(split, has_checksums=False), processes=False)[1] == {"ShardError": 1}


def test_the_comparison_can_be_required_or_left_out(damaged: Callable[[str], Split]) -> None:
    assert keys_and_failures(damaged("jpeg"), processes=False, verify=True)[1] == {"ShardError": 1}
    assert "ShardError" not in keys_and_failures(damaged("h264"), processes=False, verify=False)[1]


def test_a_shard_that_is_damaged_in_the_cache_is_noticed(built_as: dict[str, Path], tmp_path: Path) -> None:
    cache = CacheSpec(folder=str(tmp_path / "cache"))
    split = t2vdata.open_dataset(f"file://{built_as['h264']}")["train"]
    assert keys_and_failures(split, processes=False, cache=cache)[1] == {}
    (shard,) = (tmp_path / "cache").glob("*.tar")
    data = bytearray(shard.read_bytes())
    row = t2vdata.open_dataset(built_as["h264"]).index.iloc[1]
    data[int(row["pixels_offset"]) + 100] ^= 1
    shard.write_bytes(data)
    assert keys_and_failures(split, processes=False, cache=cache)[1] == {"ShardError": 1}


def test_exact_arrays_carry_the_checksum_of_zstandard(built_as: dict[str, Path]) -> None:
    dataset = t2vdata.open_dataset(built_as["lossless"])
    assert dataset.manifest.spec["encoding"]["checksum"] is True
    row = dataset.index.iloc[0]
    data = (built_as["lossless"] / row["shard"]).read_bytes()[row["pixels_offset"] :][: row["pixels_size"]]
    assert zstandard.get_frame_parameters(data).has_checksum


def test_samples_that_are_asked_for_are_not_replaced(built_as: dict[str, Path], tmp_path: Path) -> None:
    split = t2vdata.open_dataset(shutil.copytree(built_as["lossless"], tmp_path / "d"))["train"]
    flip(split, 1, 0.5, 0)
    with Loader(split, COUNTING, seed=0) as loader:
        bad, sound, rest = loader.read([np.array([1]), np.array([2]), np.array([1, 3])], 0)
    assert bad is None
    assert sound is not None
    assert rest is not None
    keys = list(split.keys)
    assert (sound.keys, rest.keys) == ([keys[2]], [keys[3]])


@pytest.mark.long
@pytest.mark.parametrize("name", ENCODINGS)
def test_no_flipped_bit_gives_wrong_pixels(name: str, built_as: dict[str, Path], tmp_path: Path) -> None:
    split = t2vdata.open_dataset(shutil.copytree(built_as[name], tmp_path / name))["train"]
    rng = np.random.default_rng(0)
    with Loader(split, COUNTING, seed=0, resources=Resources(workers=1, processes=False)) as loader:
        good = next(iter(loader)).video.numpy().copy()
        for _ in range(100):
            clip, part, bit = int(rng.integers(4)), float(rng.random()), int(rng.integers(8))
            flip(split, clip, part, bit)
            (batch,) = loader.read([np.array([clip])], 0)
            assert batch is None or np.array_equal(batch.video.numpy()[0], good[clip])
            flip(split, clip, part, bit)

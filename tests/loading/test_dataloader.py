"""The loader: contents and order of batches, and resuming."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import t2vdata
from t2vdata.build.run import BuildResult
from t2vdata.errors import DataError, RequestError
from t2vdata.format.dataset import Dataset
from t2vdata.loading import Loader, LoadSpec, Resources, loader

ALONE = Resources(workers=1)


@pytest.fixture(scope="module")
def dataset(built: BuildResult) -> Dataset:
    return t2vdata.open_dataset(built.out)


def keys(batches: object) -> list[str]:
    return [key for batch in batches for key in batch.keys]


def test_the_loader_yields_video_and_tokens(dataset: Dataset) -> None:
    words = t2vdata.Vocabulary.load(dataset.vocabulary_path)
    num_clips = 0
    for batch in loader(dataset["train"], LoadSpec(batch_size=8, num_frames=4), vocabulary=words, seed=0):
        assert batch.video.shape == (len(batch), 1, 4, 24, 24)
        assert batch.video.dtype == torch.uint8
        assert batch.tokens is not None
        assert batch.lengths is not None
        assert (batch.tokens.dtype, batch.lengths.dtype) == (torch.int64, torch.int64)
        texts = [words.decode(row[:length]) for row, length in zip(batch.tokens.tolist(), batch.lengths.tolist(), strict=True)]
        assert texts == list(batch.captions)
        num_clips += len(batch)
    assert num_clips == 60


def test_batches_have_the_clips_captions_and_labels_of_the_dataset(dataset: Dataset) -> None:
    reading = Loader(dataset["train"], LoadSpec(batch_size=7), seed=3)
    seen = 0
    for batch in reading:
        for position, key in enumerate(batch.keys):
            item = dataset.find(key)
            assert np.array_equal(batch.video[position].permute(1, 2, 3, 0).numpy(), item.frames.data)
            assert batch.captions[position] == item.captions[0]
            assert reading.labels[batch.labels[position]] == item.meta["label"]
            seen += 1
    assert seen == 60


@pytest.mark.parametrize(
    "resources", [Resources(workers=1, prefetch=1), Resources(workers=3), Resources(workers=2, processes=True)]
)
def test_the_order_does_not_depend_on_workers(dataset: Dataset, resources: Resources) -> None:
    spec = LoadSpec(batch_size=7, num_frames=3, crop=16, crop_at="random")
    expected = list(Loader(dataset["train"], spec, seed=1, resources=ALONE))
    with Loader(dataset["train"], spec, seed=1, resources=resources) as reading:
        actual = list(reading)
    assert keys(actual) == keys(expected)
    assert all(
        torch.equal(actual_batch.video, expected_batch.video)
        for actual_batch, expected_batch in zip(actual, expected, strict=True)
    )


def test_each_epoch_has_all_clips_in_a_different_order(dataset: Dataset) -> None:
    reading = Loader(dataset["train"], LoadSpec(batch_size=16), resources=ALONE)
    epochs = [tuple(keys(reading)) for _ in range(3)]
    assert len(set(epochs)) == 3
    assert {frozenset(epoch) for epoch in epochs} == {frozenset(dataset["train"].keys)}
    assert reading.epoch == 3
    reading.set_epoch(1)
    assert tuple(keys(reading)) == epochs[1]


def test_without_shuffling_clips_come_in_stored_order(dataset: Dataset) -> None:
    assert keys(Loader(dataset["val"], LoadSpec(shuffle=False), resources=ALONE)) == list(dataset["val"].keys)


def read_side_by_side(dataset: Dataset, world: int, state: dict | None, stop: int | None, size: int) -> tuple[list[str], dict]:
    """Return the keys in the order of the whole job and its state after ``stop`` batches of each rank."""
    ranks = [
        Loader(dataset["train"], LoadSpec(batch_size=size), seed=5, rank=r, world=world, resources=ALONE) for r in range(world)
    ]
    for rank in ranks:
        if state is not None:
            rank.load_state_dict(state)
    parts = [keys(itertools.islice(rank, stop)) for rank in ranks]
    assert len({json.dumps(rank.state_dict()) for rank in ranks}) == 1
    return [key for together in zip(*parts, strict=True) for key in together], ranks[0].state_dict()


@pytest.mark.parametrize("before", [1, 2, 3])
@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_interrupted_epoch_resumes_on_another_number_of_ranks(dataset: Dataset, before: int, after: int) -> None:
    full_order, _ = read_side_by_side(dataset, 1, None, None, 4)
    stop = random.Random(10 * before + after).randrange(1, 60 // 4 // before)
    head, state = read_side_by_side(dataset, before, None, stop, 4)
    assert len(head) == stop * before * 4
    # As saved and loaded between two jobs.
    tail, _ = read_side_by_side(dataset, after, json.loads(json.dumps(state)), None, 4)
    # The remainder that does not divide among the ranks is dropped at the end.
    assert len(full_order) - len(head + tail) < after
    assert (head + tail) == full_order[: len(head + tail)]


@pytest.mark.parametrize("resources", [Resources(workers=3, prefetch=1), Resources(workers=2, processes=True, prefetch=6)])
def test_a_state_resumes_with_other_workers_and_prefetch(dataset: Dataset, resources: Resources) -> None:
    spec = LoadSpec(batch_size=4)
    full_order = [keys(Loader(dataset["train"], spec, seed=2, resources=ALONE)), keys([])]
    first = Loader(dataset["train"], spec, seed=2)
    head = keys(itertools.islice(first, 5))
    with Loader(dataset["train"], spec, seed=2, resources=resources) as second:
        second.load_state_dict(first.state_dict())
        assert head + keys(second) == full_order[0]
        assert second.state_dict()["epoch"] == 1


def test_after_a_break_the_next_loop_continues(dataset: Dataset) -> None:
    reading = Loader(dataset["train"], LoadSpec(batch_size=8), resources=ALONE)
    full_order = keys(Loader(dataset["train"], LoadSpec(batch_size=8), resources=ALONE))
    assert keys(itertools.islice(reading, 3)) + keys(reading) == full_order


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 9}, "this state has seed 9, the loader 5"),
        ({"fingerprint": "other"}, "this state has fingerprint 'other'"),
        ({"window": 3}, "this state has window 3, the loader None"),
        ({"position": 61}, "position 61 of epoch 0; expected 0 to 60"),
    ],
)
def test_a_state_of_another_loader_is_refused(dataset: Dataset, change: dict, message: str) -> None:
    reading = Loader(dataset["train"], seed=5)
    with pytest.raises(RequestError, match=message):
        reading.load_state_dict({**reading.state_dict(), **change})


def test_an_incomplete_last_batch_can_be_dropped(dataset: Dataset) -> None:
    sizes = [len(batch) for batch in Loader(dataset["train"], LoadSpec(batch_size=16), resources=ALONE)]
    assert sizes == [16, 16, 16, 12]
    dropping = Loader(dataset["train"], LoadSpec(batch_size=16, drop_last=True), resources=ALONE)
    assert [len(batch) for batch in dropping] == [16, 16, 16]
    assert len(dropping) == 3


def test_full_batches_that_do_not_exist_are_refused(dataset: Dataset) -> None:
    message = r"no batch of 31 clips: rank 1 of 2 has 30 of the 60 clips, and drop_last.*batch_size of at most 30"
    with pytest.raises(RequestError, match=message):
        Loader(dataset["train"], LoadSpec(batch_size=31, drop_last=True), rank=1, world=2)
    assert len(Loader(dataset["train"], LoadSpec(batch_size=30, drop_last=True), rank=1, world=2)) == 1


def test_more_ranks_than_clips_are_refused(dataset: Dataset) -> None:
    with pytest.raises(RequestError, match="6 samples cannot feed 8 ranks; use at most 6 ranks, or build more clips"):
        Loader(dataset["val"], rank=0, world=8)
    with pytest.raises(RequestError, match="rank 1 of world None; give both, or neither"):
        Loader(dataset["val"], rank=1)


def test_batches_that_are_kept_do_not_change(dataset: Dataset) -> None:
    spec = LoadSpec(batch_size=2)
    kept = list(Loader(dataset["train"], spec, seed=4))
    again = Loader(dataset["train"], spec, seed=4, resources=ALONE)
    assert len(kept) == 30
    for actual_batch, expected_batch in zip(kept, again, strict=True):
        assert torch.equal(actual_batch.video, expected_batch.video)


def test_buffers_are_reused_when_batches_are_dropped(dataset: Dataset) -> None:
    reading = Loader(dataset["train"], LoadSpec(batch_size=4), resources=Resources(workers=1, prefetch=2))
    addresses = {batch.video.data_ptr() for batch in reading}
    assert len(addresses) <= 4


def test_float_batches_run_from_minus_one_to_one(dataset: Dataset) -> None:
    def first(**settings: object) -> torch.Tensor:
        return next(iter(Loader(dataset["train"], LoadSpec(shuffle=False, **settings), resources=ALONE))).video

    pixels, floats = first(), first(dtype="float32")
    assert floats[pixels == 0].unique().tolist() == [-1.0]
    assert floats[pixels == 255].unique().tolist() in ([], [1.0])
    assert torch.equal(floats, pixels.float() / 127.5 - 1)
    assert torch.allclose(first(dtype="float32", mean=0.25, std=0.5), (pixels.float() / 255 - 0.25) / 0.5)


def test_grey_clips_become_rgb_in_channels_last_memory(dataset: Dataset) -> None:
    spec = LoadSpec(shuffle=False, channels=3)
    grey = next(iter(Loader(dataset["val"], LoadSpec(shuffle=False), resources=ALONE))).video
    rgb = next(iter(Loader(dataset["val"], spec, resources=ALONE))).video
    assert torch.equal(rgb, grey.expand(-1, 3, -1, -1, -1))
    assert rgb.is_contiguous(memory_format=torch.channels_last_3d)


def test_a_vocabulary_of_another_dataset_is_refused(dataset: Dataset) -> None:
    expected_batch = t2vdata.Vocabulary(
        (*t2vdata.Vocabulary.build(["a digit"]).words,), (0, 0, 0, 0, 1, 1), fingerprint="f" * 64
    )
    with pytest.raises(RequestError, match=r"built from another dataset \(ffffffffffff\).*dataset.vocabulary_path"):
        Loader(dataset["train"], vocabulary=expected_batch)


def damage(copy: Path, position: int) -> tuple[str, str]:
    """Overwrite the pixels of a training clip; return its shard and key."""
    row = t2vdata.open_dataset(copy).index.iloc[position]
    with open(copy / row["shard"], "r+b") as file:
        file.seek(row["pixels_offset"])
        file.write(b"\xff" * int(row["pixels_size"]))
    return row["shard"], row["key"]


@pytest.mark.parametrize("processes", [False, True])
def test_a_bad_sample_raises_with_shard_key_and_reason(copy: Path, processes: bool) -> None:
    shard, key = damage(copy, 17)
    with Loader(t2vdata.open_dataset(copy)["train"], resources=Resources(workers=2, processes=processes)) as reading:
        with pytest.raises(
            DataError, match=f"{shard}: {key} cannot be loaded: DecodeError: not a Zstandard frame.*t2vdata verify"
        ):
            list(reading)
        # Again: an error loses neither buffers nor the position.
        with pytest.raises(DataError, match=key):
            list(reading)


def test_a_bad_sample_can_be_counted_and_dropped(copy: Path) -> None:
    _, key = damage(copy, 17)
    dataset = t2vdata.open_dataset(copy)
    reading = Loader(dataset["train"], LoadSpec(batch_size=9, on_error="count"), resources=ALONE)
    actual = list(reading)
    assert sorted(keys(actual)) == sorted(set(dataset["train"].keys) - {key})
    for batch in actual:
        assert len(batch.video) == len(batch.captions) == len(batch.labels) == len(batch.keys)
        for position, clip_key in enumerate(batch.keys):
            assert np.array_equal(batch.video[position, 0].numpy(), dataset.find(clip_key).frames.data[..., 0])
    assert reading.tally.kept == 59
    assert reading.tally.failed == {"DecodeError": 1}


@pytest.mark.parametrize(("batch_size", "num_bad"), [(1, 1), (1, 9), (2, 20)])
def test_ranks_have_equally_many_batches_and_the_same_states_whatever_fails(copy: Path, batch_size: int, num_bad: int) -> None:
    bad = {damage(copy, position)[1] for position in range(num_bad)}
    split = t2vdata.open_dataset(copy)["train"]
    spec = LoadSpec(batch_size=batch_size, on_error="count", max_failure_rate=1)
    ranks = [Loader(split, spec, rank=rank, world=2, resources=ALONE) for rank in range(2)]
    parts = [[(batch.keys, reading.state_dict()) for batch in reading] for reading in ranks]
    assert [len(part) for part in parts] == [len(ranks[0])] * 2
    assert [state for _, state in parts[0]] == [state for _, state in parts[1]]
    assert all(keys and not set(keys) & bad for part in parts for keys, _ in part)
    assert {key for part in parts for keys, _ in part for key in keys} == set(split.keys) - bad
    # Each bad clip is counted once, and no clip that takes its position.
    assert sum(reading.tally.num_failed for reading in ranks) == num_bad
    assert sum(reading.tally.kept for reading in ranks) == 60 - num_bad


def test_full_batches_stay_full_and_equal_after_a_resume_if_samples_are_bad(copy: Path) -> None:
    bad = {damage(copy, position)[1] for position in (3, 17, 18)}
    split = t2vdata.open_dataset(copy)["train"]
    spec = LoadSpec(batch_size=4, on_error="count", drop_last=True, num_frames=2, crop=16, crop_at="random")
    reading = Loader(split, spec, seed=2, resources=ALONE)
    steps = []
    for batch in reading:
        assert batch.video.shape[0] == len(batch.captions) == len(batch) == 4
        assert not set(batch.keys) & bad
        steps.append((batch.keys, batch.video.clone(), reading.state_dict()))
    assert (len(steps), reading.tally.kept, reading.tally.num_failed) == (15, 57, 3)
    for number in (0, 5, 9):
        again = Loader(split, spec, seed=2, resources=ALONE)
        again.load_state_dict(steps[number][2])
        batch = next(iter(again))
        assert batch.keys == steps[number + 1][0]
        assert torch.equal(batch.video, steps[number + 1][1])


def test_loading_ends_if_no_sample_is_sound(copy: Path) -> None:
    for position in range(60):
        damage(copy, position)
    spec = LoadSpec(batch_size=7, on_error="count", max_failure_rate=1)
    with pytest.raises(DataError, match=r"no clip of this rank can be loaded; the last was train-0.*DecodeError.*verify"):
        list(Loader(t2vdata.open_dataset(copy)["train"], spec, resources=ALONE))


def test_loading_stops_if_too_many_samples_are_bad(copy: Path) -> None:
    for position in range(10):
        damage(copy, position)
    reading = Loader(t2vdata.open_dataset(copy)["train"], LoadSpec(batch_size=10, on_error="count"), resources=ALONE)
    assert len(list(reading)) == 6
    with pytest.raises(DataError, match=r"of 1\d0 samples failed, more than 5%: DecodeError 1\d; the last was train-0"):
        list(reading)


def test_a_missing_shard_is_named(copy: Path) -> None:
    name = t2vdata.open_dataset(copy).manifest.splits["train"].shards[1].name
    (copy / name).unlink()
    with pytest.raises(DataError, match=rf"ShardError: no shard .*{name}.*t2vdata verify"):
        list(Loader(t2vdata.open_dataset(copy)["train"], resources=ALONE))


def test_an_empty_split_is_refused(copy: Path) -> None:
    dataset = t2vdata.open_dataset(copy)
    with pytest.raises(t2vdata.errors.UnknownNameError, match="did you mean 'train'"):
        dataset["trian"]


def test_without_torch_the_error_says_what_to_install() -> None:
    code = "import sys; sys.modules['torch'] = None; from t2vdata.loading import LoadSpec, epoch_order, loader"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (
        "MissingPackageError: making batches needs torch, which is not installed: pip install 't2vdata[torch]'" in done.stderr
    )


def test_a_dataset_in_a_folder_whose_name_is_not_utf8_is_read(built: BuildResult, tmp_path: Path) -> None:
    folder = shutil.copytree(built.out, tmp_path / "clips-\udcff")
    split = t2vdata.open_dataset(folder)["train"]
    with Loader(split, LoadSpec(batch_size=8), resources=Resources(workers=1)) as reading:
        assert sum(map(len, reading)) == len(split)

"""Training loops as they are written: however a loop ends, each epoch has each clip once, in an order of its own."""

from __future__ import annotations

import copy
import gc
import itertools
import json
import pickle
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import t2vdata
from t2vdata.build.run import BuildResult
from t2vdata.errors import DataError, RequestError
from t2vdata.format.dataset import Split
from t2vdata.loading import Batch, Loader, LoadSpec, Resources
from t2vdata.loading.torch_dataset import BatchDataset

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded")
SPEC = LoadSpec(batch_size=16, num_frames=2)
ALONE = Resources(workers=1)


@pytest.fixture(scope="module")
def split(built: BuildResult) -> Split:
    return t2vdata.open_dataset(built.out)["train"]


def undisturbed(batches: Iterable[Batch]) -> Iterator[Batch]:
    yield from batches


def counted(batches: Iterable[Batch]) -> Iterator[Batch]:
    for _, batch in zip(range(len(batches)), batches, strict=False):
        yield batch


def sliced(batches: Iterable[Batch]) -> Iterator[Batch]:
    yield from itertools.islice(batches, len(batches))


def left_at_the_last_step(batches: Iterable[Batch]) -> Iterator[Batch]:
    for step, batch in enumerate(batches):
        yield batch
        if step + 1 == len(batches):
            break


def drawn_by_hand(batches: Iterable[Batch]) -> Iterator[Batch]:
    iterator = iter(batches)
    for _ in range(len(batches)):
        yield next(iterator)


LOOPS = [undisturbed, counted, sliced, left_at_the_last_step, drawn_by_hand]


def expected(split: Split, epoch: int) -> list[str]:
    reading = Loader(split, SPEC, seed=3, resources=ALONE)
    reading.set_epoch(epoch)
    return keys(reading)


def keys(batches: Iterable[Batch]) -> list[str]:
    return [key for batch in batches for key in batch.keys]


@pytest.mark.parametrize("loop", LOOPS)
def test_every_loop_over_a_loader_is_a_whole_epoch(split: Split, loop: Callable) -> None:
    reading = Loader(split, SPEC, seed=3, resources=ALONE)
    for epoch in range(3):
        assert keys(loop(reading)) == expected(split, epoch)
        assert (reading.epoch, reading.state_dict()["position"]) == (epoch + 1, 0)


@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (1, False), (2, False), (2, True)])
def test_every_loop_over_a_dataloader_is_a_whole_epoch(split: Split, workers: int, persistent: bool) -> None:
    reading = DataLoader(BatchDataset(split, SPEC, seed=3), batch_size=None, num_workers=workers, persistent_workers=persistent)
    loops = LOOPS if workers == 0 else LOOPS[1:4]
    for epoch, loop in enumerate(loops):
        # A seed that comes again does not repeat the epoch.
        torch.manual_seed(0)
        assert keys(loop(reading)) == expected(split, epoch), loop
    assert next(iter(reading)).keys == expected(split, len(loops))[:16]
    assert keys(reading) == expected(split, len(loops) + 1)


@pytest.mark.parametrize("workers", [0, 2])
def test_two_loops_over_a_dataloader_at_once_are_two_whole_epochs(split: Split, workers: int) -> None:
    reading = DataLoader(BatchDataset(split, SPEC, seed=3), batch_size=None, num_workers=workers)
    pairs = list(zip(reading, reading, strict=True))
    assert [keys(batches) for batches in zip(*pairs, strict=True)] == [expected(split, 0), expected(split, 1)]


@pytest.mark.parametrize("step", [1, 3])
def test_after_a_break_the_next_loop_continues(split: Split, step: int) -> None:
    reading = Loader(split, SPEC, seed=3, resources=ALONE)
    first = keys(itertools.islice(reading, step))
    assert reading.state_dict()["position"] == 16 * step
    assert first + keys(reading) == expected(split, 0)
    assert keys(reading) == expected(split, 1)


def test_a_state_saved_after_the_last_batch_resumes_with_the_next_epoch(split: Split) -> None:
    reading = Loader(split, SPEC, seed=3, resources=ALONE)
    list(itertools.islice(reading, len(reading)))
    state = json.loads(json.dumps(reading.state_dict()))
    for resumed in (state, {**state, "epoch": 0, "position": 60}):
        again = Loader(split, SPEC, seed=3, resources=ALONE)
        again.load_state_dict(resumed)
        assert (again.epoch, again.state_dict()["position"]) == (1, 0)
        assert keys(again) == expected(split, 1)


def test_an_epoch_with_too_few_clips_left_for_more_ranks_is_over(split: Split) -> None:
    reading = Loader(split, LoadSpec(batch_size=59), seed=3, resources=ALONE)
    next(iter(reading))
    ranks = [Loader(split, LoadSpec(batch_size=59), seed=3, rank=rank, world=2, resources=ALONE) for rank in range(2)]
    for rank in ranks:
        rank.load_state_dict(reading.state_dict())
        assert rank.state_dict()["epoch"] == 1
    assert [len(keys(rank)) for rank in ranks] == [30, 30]


def test_of_two_loops_over_a_loader_the_first_is_refused_and_no_batch_is_lost(split: Split) -> None:
    reading = Loader(split, SPEC, seed=3, resources=ALONE)
    first = iter(reading)
    message = "interrupted before its epoch's end: another loop over this loader began.*create two loaders"
    head = list(next(first).keys)
    second = iter(reading)
    with pytest.raises(RequestError, match=message):
        next(first)
    assert head + keys(second) == expected(split, 0)
    with pytest.raises(RequestError, match=message):
        next(first)
    with pytest.raises(RequestError, match=message):
        list(zip(reading, reading, strict=True))
    # A loop that is over is over.
    assert list(second) == []


@pytest.mark.parametrize(
    ("interrupt", "message"),
    [
        (lambda reading: reading.set_epoch(4), "the loader was moved to another position; start another loop"),
        (lambda reading: reading.close(), "the loader was closed; start another loop"),
    ],
)
def test_an_interrupted_loop_does_not_end_as_if_its_epoch_were_over(split: Split, interrupt: Callable, message: str) -> None:
    reading = Loader(split, SPEC, seed=3, resources=ALONE)
    batches = iter(reading)
    next(batches)
    interrupt(reading)
    with pytest.raises(RequestError, match=message):
        list(batches)
    assert reading.epoch in (0, 4)


def test_a_loop_that_an_error_ended_stays_ended_and_the_next_continues(split: Split) -> None:
    reading = Loader(split, LoadSpec(batch_size=16, num_frames=9, short="refuse"), seed=3, resources=ALONE)
    batches = iter(reading)
    with pytest.raises(DataError, match="cannot be loaded"):
        next(batches)
    with pytest.raises(RequestError, match="interrupted before its epoch's end: by DataError"):
        next(batches)


def test_numpy_numbers_leave_a_state_that_is_plain(split: Split) -> None:
    spec = LoadSpec(batch_size=np.int64(16), num_frames=np.int32(2), window=np.int64(2), shuffle=np.bool_(True))
    reading = Loader(
        split, spec, seed=np.int64(3), rank=np.int64(1), world=np.int64(2), resources=Resources(workers=np.int8(1))
    )
    reading.set_epoch(np.int64(1))
    next(iter(reading))
    state = json.loads(json.dumps(reading.state_dict()))
    plain = Loader(split, LoadSpec(batch_size=16, num_frames=2, window=2), seed=3, rank=1, world=2, resources=ALONE)
    plain.load_state_dict({**state, "position": np.int64(state["position"])})
    assert plain.state_dict() == state
    assert keys(plain) == keys(reading)


@pytest.mark.parametrize("seed", [-1, 0.5, "3", None])
def test_a_seed_that_is_no_whole_number_is_refused(split: Split, seed: object) -> None:
    with pytest.raises(RequestError, match=f"seed {seed!r}: expected "):
        Loader(split, SPEC, seed=seed)


@pytest.mark.parametrize("change", [{"epoch": None}, {"epoch": -1}, {"position": 1.5}, {"position": "0"}])
def test_a_damaged_state_is_refused(split: Split, change: dict) -> None:
    reading = Loader(split, SPEC, resources=ALONE)
    with pytest.raises(RequestError, match=r"position .* of epoch .*; expected 0 to 60"):
        reading.load_state_dict({**reading.state_dict(), **change})


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda reading: pickle.loads(pickle.dumps(reading))])
def test_a_copied_loader_continues_on_its_own(split: Split, duplicate: Callable) -> None:
    reading = Loader(split, SPEC, seed=3, resources=ALONE)
    head = list(next(iter(reading)).keys)
    another = duplicate(reading)
    assert another.state_dict() == reading.state_dict()
    assert head + keys(another) == head + keys(reading) == expected(split, 0)
    assert keys(another) == expected(split, 1)
    assert (another.tally.kept, reading.tally.kept) == (104, 60)


@pytest.mark.parametrize("resources", [Resources(workers=2), Resources(workers=1, processes=True)])
def test_a_loader_and_its_workers_go_with_its_last_name(split: Split, resources: Resources) -> None:
    before = set(threading.enumerate())
    gc.collect()
    gc.disable()
    try:
        reading = Loader(split, LoadSpec(batch_size=4), resources=resources)
        alive = [weakref.ref(reading)]
        for batch in reading:
            alive.append(weakref.ref(batch.video))
            break
        batches = iter(reading)
        del reading
        # A loop keeps its loader.
        assert len(next(batches)) == 4
        del batch, batches
        assert [reference() for reference in alive] == [None] * 2
        assert set(threading.enumerate()) <= before
    finally:
        gc.enable()

"""``BatchDataset`` in torch's DataLoader and torchdata's StatefulDataLoader."""

from __future__ import annotations

import copy
import itertools
import multiprocessing
import pickle
from collections.abc import Callable, Iterable, Sequence

import pytest
import torch
from torch.utils.data import DataLoader

import t2vdata
from t2vdata.build.run import BuildResult
from t2vdata.errors import RequestError
from t2vdata.format.dataset import Dataset
from t2vdata.loading import Batch, Loader, LoadSpec
from t2vdata.loading.torch_dataset import BatchDataset

pytestmark = [
    # torchdata asks torch for what it calls deprecated; torch's workers are forked beside our threads.
    pytest.mark.filterwarnings("ignore:.*set_vital.*"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded"),
]
SPEC = LoadSpec(batch_size=4, num_frames=2)


@pytest.fixture(scope="module")
def dataset(built: BuildResult) -> Dataset:
    return t2vdata.open_dataset(built.out)


def through_cloudpickle(batches: BatchDataset) -> BatchDataset:
    """Return what another process gets of a dataset that Ray sends to it."""
    from ray import cloudpickle

    return cloudpickle.loads(cloudpickle.dumps(batches))


def all_batches(dataset: Dataset, epoch: int = 0) -> list[Batch]:
    reading = Loader(dataset["train"], SPEC, seed=3)
    reading.set_epoch(epoch)
    return list(reading)


@pytest.mark.parametrize(("workers", "start"), [(0, None), (1, "fork"), (2, "fork"), (2, "spawn")])
def test_a_dataloader_yields_the_order_of_the_loader(dataset: Dataset, workers: int, start: str | None) -> None:
    batches = BatchDataset(dataset["train"], SPEC, seed=3)
    reading = DataLoader(batches, batch_size=None, num_workers=workers, multiprocessing_context=start)
    actual = list(reading)
    assert len(reading) == len(actual) == 15
    for actual_batch, expected_batch in zip(actual, all_batches(dataset), strict=True):
        assert actual_batch.keys == expected_batch.keys
        assert actual_batch.captions == expected_batch.captions
        assert torch.equal(actual_batch.video, expected_batch.video)


@pytest.mark.parametrize("persistent", [False, True])
def test_set_epoch_chooses_the_next_epoch(dataset: Dataset, persistent: bool) -> None:
    batches = BatchDataset(dataset["train"], SPEC, seed=3)
    reading = DataLoader(batches, batch_size=None, num_workers=2, persistent_workers=persistent)
    for epoch in (0, 1, 5):
        batches.set_epoch(epoch)
        assert [batch.keys for batch in reading] == [batch.keys for batch in all_batches(dataset, epoch)]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stateful_dataloader_resumes(dataset: Dataset, workers: int) -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    def make() -> StatefulDataLoader:
        return StatefulDataLoader(BatchDataset(dataset["train"], SPEC, seed=3), batch_size=None, num_workers=workers)

    first = make()
    batches = iter(first)
    head = [next(batches).keys for _ in range(7)]
    state = pickle.loads(pickle.dumps(first.state_dict()))
    del batches
    second = make()
    second.load_state_dict(state)
    assert head + [batch.keys for batch in second] == [batch.keys for batch in all_batches(dataset)]


def epochs(reading: Iterable[Batch], count: int) -> list[list[Sequence[str]]]:
    return [[batch.keys for batch in reading] for _ in range(count)]


def expected(dataset: Dataset, *numbers: int) -> list[list[Sequence[str]]]:
    return [[batch.keys for batch in all_batches(dataset, number)] for number in numbers]


@pytest.mark.parametrize(("workers", "persistent"), [(0, False), (2, False), (2, True)])
@pytest.mark.parametrize("num_steps", [15, None])
def test_a_state_from_the_end_of_an_epoch_resumes_with_the_next(
    dataset: Dataset, workers: int, persistent: bool, num_steps: int | None
) -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    def make() -> tuple[BatchDataset, StatefulDataLoader]:
        batches = BatchDataset(dataset["train"], SPEC, seed=3)
        return batches, StatefulDataLoader(batches, batch_size=None, num_workers=workers, persistent_workers=persistent)

    _, first = make()
    # Exactly as many steps as there are batches, or until the loop ends by itself.
    assert len(list(itertools.islice(first, num_steps))) == 15
    state = pickle.loads(pickle.dumps(first.state_dict()))
    del first
    _, second = make()
    second.load_state_dict(state)
    assert epochs(second, 2) == expected(dataset, 1, 2)
    batches, third = make()
    third.load_state_dict(state)
    batches.set_epoch(5)
    assert epochs(third, 1) == expected(dataset, 5)


def test_set_epoch_after_a_resume_continues_its_epoch_or_drops_it(dataset: Dataset) -> None:
    from torchdata.stateful_dataloader import StatefulDataLoader

    first = StatefulDataLoader(BatchDataset(dataset["train"], SPEC, seed=3), batch_size=None, num_workers=2)
    head = [batch.keys for batch in itertools.islice(first, 8)]
    state = first.state_dict()
    for epoch, following in ((0, 1), (3, 4)):
        batches = BatchDataset(dataset["train"], SPEC, seed=3)
        second = StatefulDataLoader(batches, batch_size=None, num_workers=2)
        second.load_state_dict(state)
        batches.set_epoch(epoch)
        (rest,) = epochs(second, 1)
        assert [head + rest if epoch == 0 else rest] == expected(dataset, epoch)
        assert epochs(second, 1) == expected(dataset, following)


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda batches: pickle.loads(pickle.dumps(batches)), through_cloudpickle]
)
def test_a_copy_has_the_epoch_of_its_original_and_then_its_own(dataset: Dataset, duplicate: Callable) -> None:
    original = BatchDataset(dataset["train"], SPEC, seed=3)
    original.set_epoch(4)
    another = duplicate(original)
    original.set_epoch(7)
    reading = DataLoader(another, batch_size=None, num_workers=2, persistent_workers=True)
    assert epochs(reading, 2) == expected(dataset, 4, 5)
    another.set_epoch(1)
    assert epochs(reading, 1) == expected(dataset, 1)
    assert epochs(DataLoader(original, batch_size=None), 1) == expected(dataset, 7)


def test_ranks_that_a_fork_gave_one_dataset_have_each_epoch(dataset: Dataset) -> None:
    batches = BatchDataset(dataset["train"], SPEC, seed=3)
    batches.set_epoch(2)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    ranks = [context.Process(target=read_two_epochs, args=(batches, results)) for _ in range(2)]
    for rank in ranks:
        rank.start()
    assert [results.get(timeout=100) for _ in ranks] == [expected(dataset, 2, 3)] * 2
    for rank in ranks:
        rank.join()


def read_two_epochs(batches: BatchDataset, results: multiprocessing.Queue) -> None:
    results.put(epochs(DataLoader(batches, batch_size=None, num_workers=1), 2))


@pytest.mark.parametrize("epoch", [-1, 1.0, None])
def test_an_epoch_that_is_no_whole_number_is_refused(dataset: Dataset, epoch: object) -> None:
    with pytest.raises(RequestError, match=f"epoch {epoch}: expected "):
        BatchDataset(dataset["train"]).set_epoch(epoch)


def test_a_state_of_other_workers_is_refused(dataset: Dataset) -> None:
    batches = BatchDataset(dataset["train"], SPEC)
    batches.load_state_dict({**batches.state_dict(), "num_workers": 3})
    with pytest.raises(RequestError, match=r"this state is from 3 workers on 1 ranks, not 1 on 1.*resumes with any number"):
        next(iter(batches))


def test_a_wrong_request_raises_at_construction(dataset: Dataset) -> None:
    with pytest.raises(RequestError, match="6 samples cannot feed 9 ranks"):
        BatchDataset(dataset["val"], rank=0, world=9)

"""``BatchDataset`` in torch's DataLoader and torchdata's StatefulDataLoader."""

from __future__ import annotations

import pickle

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


def test_a_state_of_other_workers_is_refused(dataset: Dataset) -> None:
    batches = BatchDataset(dataset["train"], SPEC)
    batches.load_state_dict({**batches.state_dict(), "num_workers": 3})
    with pytest.raises(RequestError, match=r"this state is from 3 workers on 1 ranks, not 1 on 1.*resumes with any number"):
        next(iter(batches))


def test_a_wrong_request_raises_at_construction(dataset: Dataset) -> None:
    with pytest.raises(RequestError, match="6 samples cannot feed 9 ranks"):
        BatchDataset(dataset["val"], rank=0, world=9)

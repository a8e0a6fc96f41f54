"""``BatchDataset``: the batches of the loader, for use with a ``torch.utils.data.DataLoader``."""

from __future__ import annotations

import copy
import multiprocessing
import os
import weakref
from collections.abc import Generator, Iterator, Mapping
from typing import Any

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from t2vdata.errors import RequestError
from t2vdata.format.dataset import Split
from t2vdata.loading.batch import Batch
from t2vdata.loading.captions import Encoder
from t2vdata.loading.dataloader import Loader
from t2vdata.loading.plain_numbers import as_whole_number, whole_number
from t2vdata.loading.shared_epoch import AgreedLoop, LoopId, Position, SharedEpoch, Worker
from t2vdata.loading.spec import CacheSpec, LoadSpec, Resources


class BatchDataset(IterableDataset[Batch]):
    """Batches of a split, in the order of ``loader``: ``DataLoader(BatchDataset(...), batch_size=None, num_workers=2)``.

    Each loop over the DataLoader is the next epoch, from its start, or the epoch of ``set_epoch``. With torchdata's
    ``StatefulDataLoader`` an epoch can be resumed with the same number of workers. ``loader`` is faster, and resumes with any
    number. Copies, also in other processes, begin with the epoch of the original; the workers of a DataLoader share it.
    """

    def __init__(
        self,
        split: Split,
        spec: LoadSpec | None = None,
        *,
        vocabulary: Encoder | None = None,
        seed: int = 0,
        rank: int | None = None,
        world: int | None = None,
        cache: CacheSpec | None = None,
    ) -> None:
        resources = Resources(workers=1, processes=False, prefetch=1, cache=cache)
        self._loader = Loader(split, spec, vocabulary=vocabulary, seed=seed, rank=rank, world=world, resources=resources)
        self._epoch = SharedEpoch()
        self._num_loops = 0
        self._position = Position(0)
        self._restored: dict[str, Any] | None = None
        self._running: weakref.ref[Generator[Batch, None, None]] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next loop, in all workers. If another epoch was resumed, its position is dropped."""
        self._epoch.set(_trainer(), whole_number("epoch", epoch))

    def dataloader(self, **options: Any) -> DataLoader[Batch]:
        """Return a DataLoader of these batches, with its other ``options``; Accelerate's ``prepare`` leaves it as it is.

        Of any other DataLoader over an IterableDataset, ``prepare`` reads the first rank's and deals it out.
        """
        dataloader = DataLoader(self, batch_size=None, **options)
        dataloader._is_accelerate_prepared = True
        return dataloader

    def __len__(self) -> int:
        """Return the number of batches of an epoch on this rank, over all workers."""
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        info = get_worker_info()
        worker = Worker(0, 1, len(self)) if info is None else Worker(info.id, info.num_workers, len(self))
        self._num_loops += 1
        # Without workers each loop is one of its own. With them, all have the seed that the DataLoader drew for the loop.
        loop_id = LoopId(_trainer(), -1 if info is None else info.seed - info.id, self._num_loops)
        restored, self._restored = self._restored, None
        if restored is not None:
            self._check(restored, worker.num_workers)
            self._position = Position(restored["epoch"], restored["next"], restored["first_worker"])
        else:
            self._position = Position(self._epoch.next_epoch(loop_id.trainer))
        loop = self._epoch.begin(loop_id, worker, self._loader.ranks, None if restored is None else self._position)
        self._loader.ranks.start()
        # A loop that goes on at the same time, or that was left, has the workers and buffers of the loader.
        is_busy = self._running is not None and self._running() is not None
        batches = self._batches(copy.copy(self._loader) if is_busy else self._loader, loop, worker)
        self._running = weakref.ref(batches)
        return batches

    def _batches(self, loader: Loader, loop: AgreedLoop, worker: Worker) -> Generator[Batch, None, None]:
        """Yield the batches of one worker."""
        self._position = position = loop.position()
        numbers = range(worker.num_batches)[position.share(worker)]
        batches = loader.batches(position.epoch)[position.share(worker)]
        for number, batch in zip(numbers, loader.read_filled(batches, position.epoch), strict=True):
            self._position = position = position._replace(num_yielded=position.num_yielded + 1)
            if number == worker.num_batches - 1:
                loop.end()
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return the position of this worker, for ``StatefulDataLoader``."""
        info = get_worker_info()
        return {
            "epoch": self._position.epoch,
            "next": self._position.num_yielded,
            "first_worker": self._position.first_worker,
            "num_workers": 1 if info is None else info.num_workers,
            "world": self._loader.world,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume in the next ``iter`` where ``state_dict`` was taken; the epoch after it, if it is over."""
        numbers = {name: as_whole_number(state.get(name, 0)) for name in ("epoch", "next", "first_worker")}
        if any(number is None or number < 0 for number in numbers.values()):
            raise RequestError(f"this state has {numbers}; expected whole numbers from 0")
        self._restored = {**state, **numbers}

    def _check(self, state: Mapping[str, Any], num_workers: int) -> None:
        saved = state["num_workers"], state["world"]
        if saved != (num_workers, self._loader.world):
            raise RequestError(
                f"this state is from {saved[0]} workers on {saved[1]} ranks, not {num_workers} on {self._loader.world}; "
                "use as many, or t2vdata.loading.loader, which resumes with any number"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_running": None}

    def __copy__(self) -> BatchDataset:
        # Otherwise the copy would share the memory of the epoch.
        return copy.deepcopy(self)


def _trainer() -> int:
    """Return the id of the process that loops over the DataLoader: this one, or of a worker the parent."""
    parent = multiprocessing.parent_process()
    return os.getpid() if get_worker_info() is None or parent is None or parent.pid is None else parent.pid

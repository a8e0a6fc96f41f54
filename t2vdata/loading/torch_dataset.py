"""``BatchDataset``: the batches of the loader, for use with a ``torch.utils.data.DataLoader``."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch.utils.data import IterableDataset, get_worker_info

from t2vdata.errors import RequestError
from t2vdata.format.dataset import Split
from t2vdata.loading.batch import Batch
from t2vdata.loading.captions import Encoder
from t2vdata.loading.dataloader import Loader
from t2vdata.loading.spec import CacheSpec, LoadSpec, Resources


class BatchDataset(IterableDataset[Batch]):
    """Batches of a split, in the order of ``loader``: ``DataLoader(BatchDataset(...), batch_size=None, num_workers=2)``.

    Call ``set_epoch`` before each epoch. With torchdata's ``StatefulDataLoader`` an epoch can be resumed with the same
    number of workers. ``loader`` is faster, and resumes with any number.
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
        self._make_loader = functools.partial(Loader, split, spec, vocabulary=vocabulary, seed=seed, resources=resources)
        # Opened now, to report a wrong request at once, and for rank and world, which workers cannot know.
        loader = self._make_loader(rank=rank, world=world)
        self._rank, self._world = loader.rank, loader.world
        self._loader: Loader | None = loader
        # Shared, so that persistent workers see the next epoch.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]
        self._next = 0
        self._resumed: Mapping[str, Any] | None = None

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next ``iter``, in all workers."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        """Return the number of batches of an epoch on this rank, over all workers."""
        return len(self._opened())

    def __iter__(self) -> Iterator[Batch]:
        loader = self._opened()
        info = get_worker_info()
        worker, num_workers = (0, 1) if info is None else (info.id, info.num_workers)
        if self._resumed is not None:
            self._check(self._resumed, num_workers)
            self._epoch.fill_(self._resumed["epoch"])
            self._next = self._resumed["next"]
            self._resumed = None
        else:
            self._next = 0
        epoch = int(self._epoch)
        batches = loader.batches(epoch)[worker::num_workers][self._next :]
        for batch in loader.read(batches, epoch):
            self._next += 1
            if batch is not None:
                yield batch

    def state_dict(self) -> dict[str, Any]:
        """Return the position of this worker, for ``StatefulDataLoader``."""
        info = get_worker_info()
        num_workers = 1 if info is None else info.num_workers
        return {"epoch": int(self._epoch), "next": self._next, "num_workers": num_workers, "world": self._world}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume in the next ``iter`` where ``state_dict`` was taken."""
        self._resumed = state

    def _check(self, state: Mapping[str, Any], num_workers: int) -> None:
        saved = state["num_workers"], state["world"]
        if saved != (num_workers, self._world):
            raise RequestError(
                f"this state is from {saved[0]} workers on {saved[1]} ranks, not {num_workers} on {self._world}; "
                "use as many, or t2vdata.loading.loader, which resumes with any number"
            )

    def _opened(self) -> Loader:
        if self._loader is None:
            self._loader = self._make_loader(rank=self._rank, world=self._world)
        return self._loader

    def __getstate__(self) -> dict[str, Any]:
        # A spawned worker opens its own files and threads; a forked one has the index already.
        return {**self.__dict__, "_loader": None}

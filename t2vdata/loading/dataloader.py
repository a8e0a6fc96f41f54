"""``Loader``: shuffled batches of a split, resumable after any batch."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
import weakref
from collections import Counter, deque
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from t2vdata import storage
from t2vdata.errors import DataError, RequestError
from t2vdata.format.dataset import Split
from t2vdata.loading.batch import Batch
from t2vdata.loading.captions import Encoder
from t2vdata.loading.order import batches, epoch_order, share
from t2vdata.loading.pipeline import BadSample, PendingBatch, Pipeline
from t2vdata.loading.spec import LoadSpec, Resources
from t2vdata.types import Tally

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Shards shuffled together if each must be downloaded first.
_REMOTE_WINDOW = 8
# With fewer samples, a failure rate means little.
_MIN_SAMPLES_TO_JUDGE = 100


class Loader:
    """Batches of a split: each loop over it yields an epoch, and the next loop the next epoch.

    The order is a pure function of (split, seed, epoch, window): the same for any number of workers, and, side by side, for any
    number of ranks. After a ``break``, the next loop continues with the batch after the last one yielded, here or, with
    ``load_state_dict``, in another process.
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
        resources: Resources | None = None,
    ) -> None:
        self.spec = spec or LoadSpec()
        self.seed = seed
        self.rank, self.world = _rank_and_world(rank, world)
        self._pipeline = Pipeline(split, self.spec, vocabulary, seed, resources or Resources())
        self._split = split
        window = self.spec.window
        self.window = (_REMOTE_WINDOW if storage.is_url(split.path) else None) if window == "auto" else window
        # Fail now if the ranks would otherwise wait for one another later.
        share(np.arange(len(split)), self.rank, self.world, pad=self.spec.pad)
        self._epoch = self._position = 0
        self._running: Generator[Batch, None, None] | None = None
        self._kept = 0
        self._failed: Counter[str] = Counter()
        self.waited_seconds = 0.0
        """Total time that the trainer has waited for batches that were not ready."""
        weakref.finalize(self, _close, self._pipeline)

    @property
    def epoch(self) -> int:
        """The epoch of the next batch, from 0."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Move to the start of an epoch."""
        self.load_state_dict({**self.state_dict(), "epoch": epoch, "position": 0})

    @property
    def labels(self) -> tuple[str, ...]:
        """The label of each id in ``Batch.labels``."""
        return self._pipeline.index.labels

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, T, H, W) of every clip."""
        frames, height, width, channels = self._pipeline.shape
        return channels, frames, height, width

    @property
    def num_workers(self) -> int:
        """The number of decoding threads or processes."""
        return self._pipeline.num_workers

    @property
    def tally(self) -> Tally:
        """The samples so far: how many were kept, and how many failed, by the error's name."""
        return Tally(kept=self._kept, failed=dict(self._failed))

    def __len__(self) -> int:
        """Return the number of batches of a full epoch on this rank."""
        return len(self.batches(0))

    def __iter__(self) -> Iterator[Batch]:
        if self._running is not None:
            self._running.close()
        self._running = self._run()
        return self._running

    def state_dict(self) -> dict[str, Any]:
        """Return the loader's position: plain values, the same on every rank, valid for any number of ranks."""
        return {**self._identity(), "epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume where ``state_dict`` was taken. Raises RequestError for a state of another dataset, split or order."""
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise RequestError(
                    f"this state has {name} {state.get(name)!r}, the loader {value!r}; its positions mean other samples: "
                    "create the loader as before, or start a new run"
                )
        if not 0 <= state["position"] <= len(self._split) or state["epoch"] < 0:
            raise RequestError(f"position {state['position']} of epoch {state['epoch']}; expected 0 to {len(self._split)}")
        if self._running is not None:
            self._running.close()
        self._epoch, self._position = state["epoch"], state["position"]

    def close(self) -> None:
        """End the workers; a later loop starts them again."""
        if self._running is not None:
            self._running.close()
        self._pipeline.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _identity(self) -> dict[str, Any]:
        """Return the values that the meaning of a position depends on."""
        return {
            "fingerprint": self._split.fingerprint,
            "split": self._split.name,
            "samples": len(self._split),
            "seed": self.seed,
            "shuffle": self.spec.shuffle,
            "window": self.window,
        }

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if not self.spec.shuffle:
            return np.arange(len(self._split))
        return epoch_order(self._pipeline.index.shard_sizes, self.seed, epoch, self.window)

    def batches(self, epoch: int, position: int = 0) -> list[NDArray[np.int64]]:
        """Return the sample numbers of each batch of this rank, starting at a position in the epoch's order."""
        spec = self.spec
        order = self._order(epoch)
        return batches(
            order, position, self.rank, self.world, batch_size=spec.batch_size, drop_last=spec.drop_last, pad=spec.pad
        )

    def read(self, batches: list[NDArray[np.int64]], epoch: int) -> Generator[Batch | None, None, None]:
        """Yield a batch for each array of sample numbers, None if all its samples are bad."""
        pipeline = self._pipeline
        upcoming = _UpcomingShards(pipeline, batches)
        in_progress: deque[PendingBatch] = deque()
        waiting = iter(enumerate(batches))

        def begin_more() -> None:
            for number, rows in itertools.islice(waiting, pipeline.depth - len(in_progress)):
                upcoming.announce(number)
                in_progress.append(pipeline.begin(rows, epoch))

        try:
            begin_more()
            while in_progress:
                began = time.perf_counter()
                batch, bad = pipeline.finish(in_progress[0])
                in_progress.popleft()
                self.waited_seconds += time.perf_counter() - began
                self._count(batch, bad)
                # Before yielding: the next batches are decoded while the trainer works on this one.
                begin_more()
                yield batch
        finally:
            while in_progress:
                pipeline.give_up(in_progress.popleft())

    def _run(self) -> Generator[Batch, None, None]:
        epoch = self._epoch
        batches = self.batches(epoch, self._position)
        with contextlib.closing(self.read(batches, epoch)) as results:
            for rows, batch in zip(batches, results, strict=True):
                self._position = min(len(self._split), self._position + len(rows) * self.world)
                if batch is not None:
                    yield batch
        self._epoch, self._position = epoch + 1, 0

    def _count(self, batch: Batch | None, bad: list[BadSample]) -> None:
        self._kept += 0 if batch is None else len(batch)
        for sample in bad:
            if self.spec.on_error == "raise":
                raise DataError(
                    f"{sample.shard}: {sample.key} cannot be loaded: {sample.error}: {sample.reason}; check the dataset with "
                    f"`t2vdata verify {self._split.path} --deep`, or skip bad samples: LoadSpec(on_error='count')"
                )
            self._failed[sample.error] += 1
        failed, seen = sum(self._failed.values()), self.tally.seen
        if bad and seen >= _MIN_SAMPLES_TO_JUDGE and failed > self.spec.max_failure_rate * seen:
            reasons = ", ".join(f"{name} {count}" for name, count in self._failed.most_common())
            raise DataError(
                f"{failed} of {seen} samples failed, more than {self.spec.max_failure_rate:.0%}: {reasons}; the last was "
                f"{bad[-1].key} in {bad[-1].shard}: {bad[-1].reason}; check with `t2vdata verify {self._split.path} --deep`"
            )


# Reads well in `for batch in loader(...)`.
loader = Loader


def _close(pipeline: Pipeline) -> None:
    """End the workers of a deleted loader; safe to call in one of their threads, which cannot wait for itself."""
    if threading.current_thread() is threading.main_thread():
        pipeline.close()
    else:
        threading.Thread(target=pipeline.close).start()


class _UpcomingShards:
    """Makes the reader of this process prefetch the next shards.

    A reader sees which shards are read through it. With worker processes nothing is read through the reader of this process: it
    downloads into the cache that all share, and moves on because finished shards are no longer announced.
    """

    def __init__(self, pipeline: Pipeline, batches: list[NDArray[np.int64]]) -> None:
        self._pipeline = pipeline
        self._announced: list[int] = []
        rows = np.concatenate(batches) if batches else np.arange(0)
        shard = pipeline.index.shard[rows]
        used, first = np.unique(shard, return_index=True)
        self._shards = used[np.argsort(first)].tolist()
        self._first = np.sort(first)
        self._size = pipeline.spec.batch_size

    def announce(self, number: int) -> None:
        """Announce the shards to prefetch before the batch with this number starts."""
        num_started = int(np.searchsorted(self._first, number * self._size, side="right"))
        upcoming = self._shards[max(0, num_started - 1) : num_started + 2 * _REMOTE_WINDOW]
        if upcoming != self._announced:
            self._pipeline.prefetch(upcoming)
            self._announced = upcoming


def _rank_and_world(rank: int | None, world: int | None) -> tuple[int, int]:
    """Return the rank and the number of ranks: as given, or from ``torch.distributed``, or a single rank."""
    if (rank is None) != (world is None):
        raise RequestError(f"rank {rank} of world {world}; give both, or neither")
    if rank is not None and world is not None:
        return rank, world
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1

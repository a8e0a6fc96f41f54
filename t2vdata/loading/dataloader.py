"""Batches of a split, in an order that can be stopped and resumed anywhere."""

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

# Shards that are shuffled together where each must be fetched first.
_REMOTE_WINDOW = 8
# A failure rate means little before.
_JUDGED_AFTER = 100


class Loader:
    """Batches of a split; each ``for`` goes on to the end of an epoch, the next one begins the next.

    The order is a pure function of (the split, seed, epoch, window): the same on any number of workers, and side by side on
    any number of ranks. A ``for`` that was left early is gone on with by the next, here or, after ``load_state_dict``, in
    another process: with the batch after the last one that was handed out.
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
        self.rank, self.world = _place(rank, world)
        self._pipeline = Pipeline(split, self.spec, vocabulary, seed, resources or Resources())
        self._split = split
        window = self.spec.window
        self.window = (_REMOTE_WINDOW if storage.is_url(split.path) else None) if window == "auto" else window
        # Says at once what would make the ranks wait for one another.
        share(np.arange(len(split)), self.rank, self.world, pad=self.spec.pad)
        self._epoch = self._position = 0
        self._going: Generator[Batch, None, None] | None = None
        self._kept = 0
        self._failed: Counter[str] = Counter()
        self.waited_seconds = 0.0
        """How long the trainer has waited for batches that were not ready."""
        weakref.finalize(self, _close, self._pipeline)

    @property
    def epoch(self) -> int:
        """The epoch of the batches to come, from 0."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch."""
        self.load_state_dict({**self.state_dict(), "epoch": epoch, "position": 0})

    @property
    def labels(self) -> tuple[str, ...]:
        """The label of each id in ``Batch.labels``."""
        return self._pipeline.table.labels

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(C, T, H, W) of every clip."""
        frames, height, width, channels = self._pipeline.shape
        return channels, frames, height, width

    @property
    def num_workers(self) -> int:
        """Threads or processes that decode."""
        return self._pipeline.num_workers

    @property
    def tally(self) -> Tally:
        """What became of the samples so far: kept, and failed by the name of the error."""
        return Tally(kept=self._kept, failed=dict(self._failed))

    def __len__(self) -> int:
        """Return the batches of a whole epoch on this rank."""
        return len(self.batches(0))

    def __iter__(self) -> Iterator[Batch]:
        if self._going is not None:
            self._going.close()
        self._going = self._run()
        return self._going

    def state_dict(self) -> dict[str, Any]:
        """Return where the loader stands: plain values, the same on every rank, good for any number of ranks."""
        return {**self._identity(), "epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken. Raises RequestError for the state of another dataset, split or order."""
        for name, own in self._identity().items():
            if state.get(name) != own:
                raise RequestError(
                    f"this state has {name} {state.get(name)!r}, the loader {own!r}; its positions mean other samples: "
                    "make the loader as it was, or start a new run"
                )
        if not 0 <= state["position"] <= len(self._split) or state["epoch"] < 0:
            raise RequestError(f"position {state['position']} of epoch {state['epoch']}; expected 0 to {len(self._split)}")
        if self._going is not None:
            self._going.close()
        self._epoch, self._position = state["epoch"], state["position"]

    def close(self) -> None:
        """End the workers; a later ``for`` starts them again."""
        if self._going is not None:
            self._going.close()
        self._pipeline.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _identity(self) -> dict[str, Any]:
        """Return what a position in an epoch depends on."""
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
        return epoch_order(self._pipeline.table.shard_sizes, self.seed, epoch, self.window)

    def batches(self, epoch: int, position: int = 0) -> list[NDArray[np.int64]]:
        """Return the samples of each batch of this rank, by their numbers, from a position in the epoch's order on."""
        spec = self.spec
        order = self._order(epoch)
        return batches(
            order, position, self.rank, self.world, batch_size=spec.batch_size, drop_last=spec.drop_last, pad=spec.pad
        )

    def read(self, batches: list[NDArray[np.int64]], epoch: int) -> Generator[Batch | None, None, None]:
        """Yield the batch for each list of samples, None where none of them is good."""
        pipeline = self._pipeline
        coming = _ComingShards(pipeline, batches)
        making: deque[PendingBatch] = deque()
        waiting = iter(enumerate(batches))

        def begin_more() -> None:
            for number, rows in itertools.islice(waiting, pipeline.depth - len(making)):
                coming.say_before(number)
                making.append(pipeline.begin(rows, epoch))

        try:
            begin_more()
            while making:
                asked = time.perf_counter()
                batch, bad = pipeline.finish(making[0])
                making.popleft()
                self.waited_seconds += time.perf_counter() - asked
                self._count(batch, bad)
                # Before this one is handed out: the next are made while the trainer works on it.
                begin_more()
                yield batch
        finally:
            while making:
                pipeline.give_up(making.popleft())

    def _run(self) -> Generator[Batch, None, None]:
        epoch = self._epoch
        batches = self.batches(epoch, self._position)
        with contextlib.closing(self.read(batches, epoch)) as made:
            for rows, batch in zip(batches, made, strict=True):
                self._position = min(len(self._split), self._position + len(rows) * self.world)
                if batch is not None:
                    yield batch
        self._epoch, self._position = epoch + 1, 0

    def _count(self, batch: Batch | None, bad: list[BadSample]) -> None:
        self._kept += 0 if batch is None else len(batch)
        for sample in bad:
            if self.spec.on_error == "raise":
                raise DataError(
                    f"{sample.shard}: {sample.key} cannot be used: {sample.error}: {sample.reason}; check the dataset with "
                    f"`t2vdata verify {self._split.path} --deep`, or go on without it: LoadSpec(on_error='count')"
                )
            self._failed[sample.error] += 1
        failed, seen = sum(self._failed.values()), self.tally.seen
        if bad and seen >= _JUDGED_AFTER and failed > self.spec.max_failure_rate * seen:
            reasons = ", ".join(f"{name} {times}" for name, times in self._failed.most_common())
            raise DataError(
                f"{failed} of {seen} samples failed, more than {self.spec.max_failure_rate:.0%}: {reasons}; the last was "
                f"{bad[-1].key} in {bad[-1].shard}: {bad[-1].reason}; check with `t2vdata verify {self._split.path} --deep`"
            )


# As in the five lines that everyone writes: `for batch in loader(...)`.
loader = Loader


def _close(pipeline: Pipeline) -> None:
    """End the workers of a loader that is gone; also from one of their threads, which cannot wait for itself."""
    if threading.current_thread() is threading.main_thread():
        pipeline.close()
    else:
        threading.Thread(target=pipeline.close).start()


class _ComingShards:
    """Tells the reader of this process which shards come next, whenever that changes.

    A reader that is read from sees by itself which shards are taken. Where worker processes decode, nobody reads from this one:
    it fetches into the cache that all of them share, and goes on because shards that are done with are no longer named here.
    """

    def __init__(self, pipeline: Pipeline, batches: list[NDArray[np.int64]]) -> None:
        self._pipeline = pipeline
        self._said: list[int] = []
        rows = np.concatenate(batches) if batches else np.arange(0)
        shard = pipeline.table.shard[rows]
        used, first = np.unique(shard, return_index=True)
        self._shards = used[np.argsort(first)].tolist()
        self._first = np.sort(first)
        self._size = pipeline.spec.batch_size

    def say_before(self, number: int) -> None:
        """Say so before the batch with this number is begun."""
        begun = int(np.searchsorted(self._first, number * self._size, side="right"))
        ahead = self._shards[max(0, begun - 1) : begun + 2 * _REMOTE_WINDOW]
        if ahead != self._said:
            self._pipeline.ahead(ahead)
            self._said = ahead


def _place(rank: int | None, world: int | None) -> tuple[int, int]:
    """Return rank and number of ranks: as given, or those of ``torch.distributed``, or one alone."""
    if (rank is None) != (world is None):
        raise RequestError(f"rank {rank} of world {world}; give both, or neither")
    if rank is not None and world is not None:
        return rank, world
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1

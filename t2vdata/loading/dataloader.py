"""``Loader``: shuffled batches of a split, resumable after any batch."""

from __future__ import annotations

import copy
import threading
import weakref
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from t2vdata import storage
from t2vdata.errors import RequestError
from t2vdata.format.dataset import Split
from t2vdata.loading.batch import Batch
from t2vdata.loading.batch_reader import REMOTE_WINDOW, BatchReader
from t2vdata.loading.captions import Encoder
from t2vdata.loading.order import batches, epoch_order, num_batches, samples_after, share
from t2vdata.loading.pipeline import Pipeline
from t2vdata.loading.plain_numbers import as_whole_number, whole_number
from t2vdata.loading.ranks import Rank, Ranks
from t2vdata.loading.spec import LoadSpec, Resources
from t2vdata.types import Tally

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Loader:
    """Batches of a split: each loop over it yields an epoch, and the next loop the next epoch.

    An epoch is over once its last batch was yielded. After a ``break`` before that, the next loop continues with the batch
    after the last one yielded, here or, with ``load_state_dict``, in another process. One loop at a time: a loop that was
    interrupted by another one, ``set_epoch``, ``load_state_dict`` or ``close`` raises RequestError when asked for more.

    The order is a pure function of (split, seed, epoch, window): the same for any number of workers, and, side by side, for any
    number of ranks. A pickled loader has its position, and starts workers of its own.
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
        self.seed = whole_number("seed", seed)
        self.ranks = Ranks(rank, world)
        """Decided when reading starts, see ``Ranks``."""
        self._split, self._vocabulary, self._resources = split, vocabulary, resources or Resources()
        self._pipeline = Pipeline(split, self.spec, vocabulary, self.seed, self._resources)
        self._reader = BatchReader(self._pipeline)
        window = self.spec.window
        self.window = (REMOTE_WINDOW if storage.is_url(split.path) else None) if window == "auto" else window
        self._check_rank(self.ranks.current())
        self._epoch = self._position = 0
        # Weak: a loop refers to its loader, and both go with the last name, not with the garbage collector.
        self._running: weakref.ref[_Loop] | None = None
        weakref.finalize(self, _close, self._pipeline)

    @property
    def rank(self) -> int:
        return self.ranks.current().rank

    @property
    def world(self) -> int:
        """The number of ranks."""
        return self.ranks.current().world

    @property
    def epoch(self) -> int:
        """The epoch of the next batch, from 0."""
        return self._next()[0]

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
        return self._reader.tally

    @property
    def waited_seconds(self) -> float:
        """Total time that the trainer has waited for batches that were not ready."""
        return self._reader.waited_seconds

    def __len__(self) -> int:
        """Return the number of batches of a full epoch on this rank, the same on all ranks, whatever fails."""
        return self._num_batches(self.ranks.current())

    def __iter__(self) -> Iterator[Batch]:
        self._check_rank(self.ranks.start())
        self._interrupt("another loop over this loader began, and continues where this one stopped; to read twice at once, "
                        "create two loaders")  # fmt: skip
        self._epoch, self._position = self._next()
        loop = _Loop(self, self._epoch, self.batches(self._epoch, self._position))
        self._running = weakref.ref(loop)
        return loop

    def state_dict(self) -> dict[str, Any]:
        """Return the loader's position: plain values, the same on every rank, valid for any number of ranks."""
        epoch, position = self._next()
        return {**self._identity(), "epoch": epoch, "position": position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume where ``state_dict`` was taken. Raises RequestError for a state of another dataset, split or order."""
        for name, value in self._identity().items():
            if state.get(name) != value:
                raise RequestError(
                    f"this state has {name} {state.get(name)!r}, the loader {value!r}; its positions mean other samples: "
                    "create the loader as before, or start a new run"
                )
        epoch, position = (as_whole_number(state.get(name)) for name in ("epoch", "position"))
        if epoch is None or position is None or not 0 <= position <= len(self._split) or epoch < 0:
            raise RequestError(
                f"position {state.get('position')!r} of epoch {state.get('epoch')!r}; expected 0 to {len(self._split)}, and an "
                "epoch from 0"
            )
        self._interrupt("the loader was moved to another position; start another loop")
        self._epoch, self._position = epoch, position

    def close(self) -> None:
        """End the workers; a later loop starts them again."""
        self._interrupt("the loader was closed; start another loop")
        self._pipeline.close()

    def __enter__(self) -> Loader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __copy__(self) -> Loader:
        """Return a loader at the same position, with the same index, and workers of its own."""
        other = object.__new__(type(self))
        pipeline = copy.copy(self._pipeline)
        other.__dict__.update(
            self.__dict__, _pipeline=pipeline, _reader=BatchReader(pipeline), ranks=copy.copy(self.ranks), _running=None
        )
        weakref.finalize(other, _close, pipeline)
        return other

    def __reduce__(self) -> tuple[Any, ...]:
        options = {"vocabulary": self._vocabulary, "seed": self.seed, "resources": self._resources}
        return _reopened, (type(self), self._split, self.spec, options, self.ranks, self._epoch, self._position)

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
        spec, (rank, world) = self.spec, self.ranks.current()
        order = self._order(epoch)
        return batches(order, position, rank, world, batch_size=spec.batch_size, drop_last=spec.drop_last, pad=spec.pad)

    def read(self, batches: list[NDArray[np.int64]], epoch: int) -> Generator[Batch | None, None, None]:
        """Yield a batch for each array of sample numbers: only those samples, and None if all of them are bad."""
        return self._reader.read(batches, epoch)

    def read_filled(self, batches: list[NDArray[np.int64]], epoch: int) -> Generator[Batch, None, None]:
        """Yield a batch for each array of sample numbers, in which sound samples replace bad ones as in a loop."""
        world = self.ranks.current().world
        return self._reader.read_filled(batches, epoch, lambda sample: samples_after(self._order(epoch), sample, world))

    def advance(self, num_samples: int, *, is_last: bool) -> None:
        """Move past a batch that was yielded."""
        self._position = min(len(self._split), self._position + num_samples * self.world)
        if is_last:
            self._epoch, self._position = self._epoch + 1, 0

    def _next(self) -> tuple[int, int]:
        """Return epoch and position of the next batch: the next epoch's first if this one has too few samples left."""
        if self._position and not self._num_batches(self.ranks.current(), self._position):
            return self._epoch + 1, 0
        return self._epoch, self._position

    def _num_batches(self, rank: Rank, position: int = 0) -> int:
        spec, count = self.spec, len(self._split) - position
        return num_batches(count, rank.world, batch_size=spec.batch_size, drop_last=spec.drop_last, pad=spec.pad)

    def _check_rank(self, rank: Rank) -> None:
        """Raise RequestError if the ranks would wait for one another, or get no batch."""
        num_samples = len(share(np.arange(len(self._split)), rank.rank, rank.world, pad=self.spec.pad))
        if not self._num_batches(rank):
            raise RequestError(
                f"no batch of {self.spec.batch_size} clips: {rank} has {num_samples} of the {len(self._split)} clips, and "
                f"drop_last drops an incomplete batch; use a batch_size of at most {num_samples}, or leave out drop_last"
            )

    def _interrupt(self, reason: str) -> None:
        loop = None if self._running is None else self._running()
        if loop is not None:
            loop.interrupt(reason)


# Reads well in `for batch in loader(...)`.
loader = Loader


class _Loop:
    """Iterates over the rest of an epoch. Only its last batch ends it: an interrupted loop raises RequestError."""

    def __init__(self, loader: Loader, epoch: int, batches: list[NDArray[np.int64]]) -> None:
        self._loader = loader
        self._num_samples = deque(map(len, batches))
        self._results = loader.read_filled(batches, epoch)
        self._interrupted_by: str | None = None

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        if self._num_samples and self._interrupted_by is not None:
            raise RequestError(f"this loop was interrupted before its epoch's end: {self._interrupted_by}")
        try:
            batch = next(self._results)
        except StopIteration:
            raise
        except BaseException as error:
            self.interrupt(f"by {type(error).__name__}; start another loop")
            raise
        num_samples = self._num_samples.popleft()
        self._loader.advance(num_samples, is_last=not self._num_samples)
        return batch

    def interrupt(self, reason: str) -> None:
        """Give up the batches in progress. If there are any left, asking for one raises RequestError."""
        self._interrupted_by = reason
        self._results.close()


def _reopened(
    cls: type[Loader], split: Split, spec: LoadSpec, options: dict[str, Any], ranks: Ranks, epoch: int, position: int
) -> Loader:
    """Return a copy of a loader, at its position."""
    other = cls(split, spec, **options, rank=ranks.given.get("rank"), world=ranks.given.get("world"))
    other.ranks = ranks
    other.load_state_dict({**other.state_dict(), "epoch": epoch, "position": position})
    return other


def _close(pipeline: Pipeline) -> None:
    """End the workers of a deleted loader; safe to call in one of their threads, which cannot wait for itself."""
    if threading.current_thread() is threading.main_thread():
        pipeline.close()
    else:
        threading.Thread(target=pipeline.close).start()

"""Read batches ahead of the trainer. In a loop each batch arrives, whatever fails: sound clips replace bad ones."""

from __future__ import annotations

import itertools
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from typing import TYPE_CHECKING, cast

import numpy as np

from t2vdata.loading.batch import Batch
from t2vdata.loading.failures import BadSample, FailureCounter
from t2vdata.loading.pipeline import DecodedClips, PendingBatch, Pipeline
from t2vdata.types import Tally

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

# Shards shuffled together if each must be downloaded first.
REMOTE_WINDOW = 8


class BatchReader:
    """Reads batches of sample numbers through a pipeline, and counts bad samples."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._failures = FailureCounter(pipeline.spec, pipeline.split.path)
        self.waited_seconds = 0.0

    @property
    def tally(self) -> Tally:
        return self._failures.tally

    def read(self, batches: list[Rows], epoch: int) -> Generator[Batch | None, None, None]:
        """Yield a batch for each array of sample numbers: only those samples, and None if all of them are bad."""
        return self._read(batches, epoch, lambda _, clips, __: clips)

    def read_filled(
        self, batches: list[Rows], epoch: int, stand_ins: Callable[[int], Iterator[int]]
    ) -> Generator[Batch, None, None]:
        """Yield a batch for each array of sample numbers, whatever fails.

        ``stand_ins`` gives the samples to try in place of bad ones, in the order after the last sample of a batch. They are
        taken if a batch would be empty, or, with ``drop_last``, incomplete.
        """

        def fill(rows: Rows, clips: DecodedClips, bad: list[BadSample]) -> DecodedClips:
            num_missing = (len(rows) if self._pipeline.spec.drop_last else 1) - len(clips)
            return self._filled(clips, num_missing, bad, stand_ins(int(rows[-1])), epoch) if num_missing > 0 else clips

        return cast("Generator[Batch, None, None]", self._read(batches, epoch, fill))

    def _read(
        self, batches: list[Rows], epoch: int, fill: Callable[[Rows, DecodedClips, list[BadSample]], DecodedClips]
    ) -> Generator[Batch | None, None, None]:
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
                rows = in_progress[0].rows
                clips, bad = pipeline.finish(in_progress[0])
                in_progress.popleft()
                self._failures.count(len(clips), bad)
                clips = fill(rows, clips, bad)
                batch = pipeline.to_batch(clips) if len(clips) else None
                self.waited_seconds += time.perf_counter() - began
                # Before yielding: the next batches are decoded while the trainer works on this one.
                begin_more()
                yield batch
        finally:
            while in_progress:
                pipeline.give_up(in_progress.popleft())

    def _filled(
        self, clips: DecodedClips, num_missing: int, bad: list[BadSample], candidates: Iterator[int], epoch: int
    ) -> DecodedClips:
        """Return the clips and the first ``num_missing`` sound ones of the candidates, as often as needed."""
        pipeline = self._pipeline
        failed = Counter(sample.error for sample in bad)
        spare = clips
        while num_missing > 0:
            # More at once the more have failed.
            rows = np.array(list(itertools.islice(candidates, min(pipeline.spec.batch_size, max(num_missing, failed.total())))))
            if not len(rows):
                break
            pending = pipeline.begin(rows, epoch)
            try:
                sound, bad = pipeline.finish(pending)
            except BaseException:
                pipeline.give_up(pending)
                raise
            failed.update(sample.error for sample in bad)
            if bad:
                self._failures.judge(Tally(kept=len(clips) + len(sound), failed=failed), bad[-1])
            clips = clips.joined(sound.first(num_missing))
            spare, num_missing = clips, num_missing - len(sound)
        if num_missing > 0 and not len(spare):
            raise self._failures.none_is_sound(bad[-1])
        while num_missing > 0:
            # Fewer sound clips than the batch has positions: they repeat.
            clips, num_missing = clips.joined(spare.first(num_missing)), num_missing - len(spare)
        return clips


class _UpcomingShards:
    """Makes the reader of this process prefetch the next shards.

    A reader sees which shards are read through it. With worker processes nothing is read through the reader of this process: it
    downloads into the cache that all share, and moves on because finished shards are no longer announced.
    """

    def __init__(self, pipeline: Pipeline, batches: list[Rows]) -> None:
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
        upcoming = self._shards[max(0, num_started - 1) : num_started + 2 * REMOTE_WINDOW]
        if upcoming != self._announced:
            self._pipeline.prefetch(upcoming)
            self._announced = upcoming

"""From numbers of samples to a batch: decide, have it decoded, put tensors around it."""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from t2vdata.errors import RequestError
from t2vdata.format.dataset import Split
from t2vdata.loading.batch import Batch
from t2vdata.loading.buffers import BatchMemory
from t2vdata.loading.captions import Encoder, Texts
from t2vdata.loading.decoding import Failure, Filler
from t2vdata.loading.device import DeviceFiller, DeviceMemory, decides_for
from t2vdata.loading.index import SplitTable
from t2vdata.loading.order import Draws, draws
from t2vdata.loading.reader import Reader, open_reader
from t2vdata.loading.spec import LoadSpec, Resources
from t2vdata.loading.transforms import check_flip, clip_shape, decide, is_random
from t2vdata.loading.workers import ProcessWorkers, ThreadWorkers, Workers

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Memory for batches in the making: more of it is not faster, and a trainer has better uses for it.
_READY_BYTES = 256 << 20
# A batch above this is decoded by all workers together, so that fewer need to be in the making.
_SHARED_BYTES = 32 << 20
# Exact arrays below this are decoded faster by one thread than by two, which take Python's lock from each other: measured, see
# docs/loading.md.
_SMALL_CLIP_BYTES = 256 << 10
_SHAPE = ("num_frames", "height", "width", "channels")
# Slots beside those in the making: the batch in use, and the one before it, which a loop holds while it asks for the next.
_LENT = 2


class PendingBatch(NamedTuple):
    """A batch in the making."""

    memory: BatchMemory | DeviceMemory
    slot: int
    rows: NDArray[np.int64]
    flips: list[int]
    draws: Sequence[Draws] | None
    parts: list[tuple[int, Future[list[Failure]]]]
    """First place of each part, and what will tell of its failures."""


class _Machinery(NamedTuple):
    """What a process has for itself: after a fork, the child makes its own."""

    process: int
    memory: BatchMemory | DeviceMemory
    workers: Workers
    reader: Reader


class BadSample(NamedTuple):
    """A sample that is not in its batch."""

    shard: str
    key: str
    error: str
    reason: str


class Pipeline:
    """Makes batches of one split."""

    def __init__(self, split: Split, spec: LoadSpec, vocabulary: Encoder | None, seed: int, resources: Resources) -> None:
        _check_vocabulary(vocabulary, split)
        self.split, self.spec, self.seed, self.resources = split, spec, seed, resources
        self.table = SplitTable.read(split)
        check_flip(spec, self.table)
        self.shape = clip_shape(spec, self.table)
        self._random = is_random(spec, self.table, self.shape[0])
        self._texts = Texts(spec, self.table, vocabulary)
        self._clip_bytes = int(np.prod(self.shape))
        batch_bytes = spec.batch_size * self._clip_bytes
        self.num_workers = _num_workers(spec, resources, self.table)
        self.depth = max(1, min(resources.prefetch, _READY_BYTES // batch_bytes))
        self._num_parts = min(self.num_workers, spec.batch_size) if batch_bytes > _SHARED_BYTES else 1
        self._batch_bytes = batch_bytes
        pixels = self._clip_bytes // self.shape[3]
        self._decodes_there = decides_for(resources.device, self.table.extensions, pixels, resources.decode_there)
        self._making: set[int] = set()
        self._machinery: _Machinery | None = None

    def begin(self, rows: NDArray[np.int64], epoch: int) -> PendingBatch:
        """Have the samples with these numbers decoded; there may be ``depth`` batches in the making."""
        machinery = self._running()
        drawn = [draws(self.seed, epoch, key) for key in self.table.keys(rows.tolist())] if self._random else None
        job = decide(self.spec, self.table, rows, drawn, self.shape)
        slot = machinery.memory.take((len(rows), *self.shape))
        self._making.add(slot)
        ends = [len(rows) * part // self._num_parts for part in range(self._num_parts + 1)]
        spans = [(first, end) for first, end in itertools.pairwise(ends) if first < end]
        parts = [(first, machinery.workers.start(slot, first, job[first:end])) for first, end in spans]
        return PendingBatch(machinery.memory, slot, rows, job["flip"].tolist(), drawn, parts)

    def finish(self, begun: PendingBatch) -> tuple[Batch | None, list[BadSample]]:
        """Wait for a batch; return it, None when no sample of it is good, and the samples that are not in it.

        When it raises, the batch is still in the making: ``give_up`` it.
        """
        failures = {first + one.place: one for first, part in begun.parts for one in part.result()}
        good = [place for place in range(len(begun.rows)) if place not in failures]
        bad = [self._bad(int(begun.rows[place]), failure) for place, failure in sorted(failures.items())]
        rows = begun.rows[good]
        drawn = None if begun.draws is None else [begun.draws[place] for place in good]
        captions = self._texts.choose(rows.tolist(), drawn, [begun.flips[place] for place in good])
        encoded = self._texts.encode(captions)
        pixels = self._take_pixels(begun)
        if not good:
            return None, bad
        batch = Batch(
            video=_to_video(pixels if not bad else pixels[good], self.spec),
            captions=captions,
            keys=self.table.keys(rows.tolist()),
            labels=torch.from_numpy(self.table.label[rows]),
            tokens=None if encoded is None else torch.from_numpy(encoded.tokens),
            lengths=None if encoded is None else torch.from_numpy(encoded.lengths),
        )
        return self._moved(batch), bad

    def _moved(self, batch: Batch) -> Batch:
        """Return the batch on the device that it is wanted on; the copy goes on while the trainer computes."""
        device = torch.device(self.resources.device)
        if device.type == "cpu":
            return batch
        return (batch.pin_memory() if device.type == "cuda" else batch).to(device, non_blocking=True)

    def _take_pixels(self, begun: PendingBatch) -> NDArray[np.uint8] | torch.Tensor:
        self._making.discard(begun.slot)
        shape = (len(begun.rows), *self.shape)
        memory = begun.memory
        if memory.num_free + len(self._making) >= self.depth:
            return memory.lend(begun.slot, shape)
        # Somebody keeps batches: this one is a copy, so that there is memory for the next.
        pixels = np.array(memory.view(begun.slot, shape))
        memory.give_back(begun.slot)
        return pixels

    def give_up(self, begun: PendingBatch) -> None:
        """Let a batch go that nobody wants any more; its slot is free once nobody writes into it.

        Does not wait: the garbage collector may call this in the very thread that works on the batch.
        """
        self._making.discard(begun.slot)
        left = deque(range(len(begun.parts)))

        def done(_: Future[list[Failure]]) -> None:
            # Taking from a deque is one step, also for two threads: one of them takes the 0, and is the last.
            if left.pop() == 0:
                begun.memory.give_back(begun.slot)

        for _, future in begun.parts:
            future.cancel()
            future.add_done_callback(done)

    def ahead(self, shards: Sequence[int]) -> None:
        """Say which shards are needed next."""
        self._running().reader.ahead(shards)

    def close(self) -> None:
        """End the workers; the next ``begin`` starts others."""
        machinery, self._machinery = self._machinery, None
        # After a fork they are those of the parent.
        if machinery is not None and machinery.process == os.getpid():
            machinery.workers.close()
            machinery.reader.close()

    def _running(self) -> _Machinery:
        if self._machinery is None or self._machinery.process != os.getpid():
            self._making.clear()
            reader = open_reader(self.split.path, self.table.shards, cache=self.resources.cache)
            self._machinery = _Machinery(os.getpid(), *self._workers(reader), reader)
        return self._machinery

    def _workers(self, reader: Reader) -> tuple[BatchMemory | DeviceMemory, Workers]:
        table, resources = self.table, self.resources
        if self._decodes_there:
            there = DeviceMemory(resources.device)
            return there, ThreadWorkers(DeviceFiller(reader, resources.device), there, self.shape, self.num_workers)
        memory = BatchMemory(self.depth + _LENT, self._batch_bytes)
        if not self._in_processes():
            return memory, ThreadWorkers(Filler(reader, table.extensions), memory, self.shape, self.num_workers)
        setup = {
            "folder": self.split.path,
            "shards": [asdict(entry) for entry in table.shards],
            "cache": None if resources.cache is None else asdict(resources.cache),
            "extensions": table.extensions,
            "shape": self.shape,
            "slot_bytes": memory.slot_bytes,
            "memory_bytes": memory.slot_bytes * memory.num_slots,
        }
        return memory, ProcessWorkers(setup, memory, self.num_workers)

    def _in_processes(self) -> bool:
        if self.resources.processes is not None:
            return self.resources.processes
        # Measured, see docs/loading.md: video decoding comes back to Python for each frame; exact arrays and sheets do not.
        return self.num_workers > 1 and "mp4" in self.table.extensions

    def _bad(self, row: int, failure: Failure) -> BadSample:
        shard = self.table.shards[int(self.table.shard[row])].name
        return BadSample(shard, self.table.keys([row])[0], failure.error, failure.message)


def _to_video(pixels: NDArray[np.uint8] | torch.Tensor, spec: LoadSpec) -> torch.Tensor:
    """Return (B, T, H, W, C) pixels as (B, C, T, H, W), in the spec's type."""
    video = (pixels if isinstance(pixels, torch.Tensor) else torch.from_numpy(pixels)).permute(0, 4, 1, 2, 3)
    if spec.dtype == "uint8":
        return video
    mean, std = (_by_channel(value, video.device) for value in (spec.mean, spec.std))
    # Divided first and in this order, 0 and 255 become -1 and 1 exactly.
    return video.to(torch.float32).div_(255 * std).sub_(mean / std)


def _by_channel(value: float | tuple[float, ...], device: torch.device) -> torch.Tensor:
    values = value if isinstance(value, tuple) else (value,)
    return torch.tensor(values, dtype=torch.float32, device=device).reshape(-1, 1, 1, 1)


def _num_workers(spec: LoadSpec, resources: Resources, table: SplitTable) -> int:
    """Return the number of workers that was asked for, or else what measures fastest."""
    if resources.workers is not None:
        return resources.workers
    frames, height, width, channels = (table.numbers[name].astype(np.int64) for name in _SHAPE)
    is_small = int((frames * height * width * channels).max()) <= _SMALL_CLIP_BYTES and spec.resize is None
    is_small = is_small and table.extensions == ("npy.zst",)
    return 1 if is_small else resources.num_workers


def _check_vocabulary(vocabulary: Encoder | None, split: Split) -> None:
    source = getattr(vocabulary, "fingerprint", None)
    if source is not None and source != split.fingerprint:
        raise RequestError(
            f"the vocabulary was counted from another dataset ({source[:12]}), not {split.path} ({split.fingerprint[:12]}); "
            "load the one at dataset.vocabulary_path, or if you mean it: dataclasses.replace(vocabulary, fingerprint=None)"
        )

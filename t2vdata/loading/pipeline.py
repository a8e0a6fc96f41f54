"""Turn sample numbers into batches: decide the transforms, have workers decode, wrap the pixels in tensors."""

from __future__ import annotations

import itertools
import os
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from t2vdata.errors import RequestError
from t2vdata.format.dataset import Split, check_is_split
from t2vdata.loading.batch import Batch
from t2vdata.loading.buffers import BatchBuffers
from t2vdata.loading.captions import CaptionSampler, Encoder
from t2vdata.loading.checks import needs_checks, read_checks
from t2vdata.loading.decoding import BatchDecoder, Failure
from t2vdata.loading.device import DeviceBuffers, DeviceDecoder, decodes_on_device
from t2vdata.loading.failures import BadSample
from t2vdata.loading.index import SplitIndex
from t2vdata.loading.order import RandomNumbers, random_numbers
from t2vdata.loading.reader import Reader, open_reader
from t2vdata.loading.spec import LoadSpec, Resources
from t2vdata.loading.transforms import check_flip, check_normalization, clip_shape, decide, is_random
from t2vdata.loading.workers import ProcessWorkers, ThreadWorkers, Workers

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Maximum memory for batches in progress: more is not faster.
_READY_BYTES = 256 << 20
# All workers decode a larger batch together, so that fewer batches need to be in progress.
_SHARED_BYTES = 32 << 20
# Smaller lossless arrays are decoded faster by one thread than by two, which compete for the GIL: measured, see
# docs/benchmarks.md.
_SMALL_CLIP_BYTES = 256 << 10
_SHAPE_COLUMNS = ("num_frames", "height", "width", "channels")
# Slots besides those in progress: the batch in use, and the one before it, which a loop holds while it asks for the next.
_LENT_SLOTS = 2


class PendingBatch(NamedTuple):
    """A batch in progress."""

    buffers: BatchBuffers | DeviceBuffers
    slot: int
    rows: NDArray[np.int64]
    flips: list[int]
    random_numbers: Sequence[RandomNumbers] | None
    parts: list[tuple[int, Future[list[Failure]]]]
    """First position of each part, and the future of its failures."""


class _ProcessState(NamedTuple):
    """State that processes do not share: after a fork, the child creates its own."""

    process: int
    buffers: BatchBuffers | DeviceBuffers
    workers: Workers
    reader: Reader


@dataclass(frozen=True)
class DecodedClips:
    """Sound clips of a batch, with what their captions depend on."""

    rows: NDArray[np.int64]
    flips: list[int]
    random_numbers: list[RandomNumbers] | None
    pixels: NDArray[np.uint8] | torch.Tensor
    """(B, T, H, W, C)"""

    def __len__(self) -> int:
        return len(self.rows)

    def first(self, count: int) -> DecodedClips:
        """Return the first ``count`` of them."""
        numbers = None if self.random_numbers is None else self.random_numbers[:count]
        return DecodedClips(self.rows[:count], self.flips[:count], numbers, self.pixels[:count])

    def joined(self, other: DecodedClips) -> DecodedClips:
        """Return these clips and then the others, copied."""
        numbers = None
        if self.random_numbers is not None and other.random_numbers is not None:
            numbers = self.random_numbers + other.random_numbers
        pixels: NDArray[np.uint8] | torch.Tensor
        if isinstance(self.pixels, torch.Tensor) and isinstance(other.pixels, torch.Tensor):
            pixels = torch.cat([self.pixels, other.pixels])
        else:
            pixels = np.concatenate([self.pixels, other.pixels])
        return DecodedClips(np.concatenate([self.rows, other.rows]), self.flips + other.flips, numbers, pixels)


class Pipeline:
    """Makes batches of one split."""

    def __init__(self, split: Split, spec: LoadSpec, vocabulary: Encoder | None, seed: int, resources: Resources) -> None:
        _check_vocabulary(vocabulary, split)
        self.split, self.spec, self.seed, self.resources = split, spec, seed, resources
        check_is_split(split)
        self.index = SplitIndex.read(split)
        check_flip(spec, self.index)
        self.shape = clip_shape(spec, self.index)
        check_normalization(spec, self.shape[3])
        self._is_random = is_random(spec, self.index, self.shape[0])
        self._captions = CaptionSampler(spec, self.index, vocabulary)
        self._clip_bytes = int(np.prod(self.shape))
        batch_bytes = spec.batch_size * self._clip_bytes
        self.num_workers = _num_workers(spec, resources, self.index)
        self.depth = max(1, min(resources.prefetch, _READY_BYTES // batch_bytes))
        self._num_parts = min(self.num_workers, spec.batch_size) if batch_bytes > _SHARED_BYTES else 1
        self._batch_bytes = batch_bytes
        pixels = self._clip_bytes // self.shape[3]
        self._decodes_on_device = decodes_on_device(resources.device, self.index.extensions, pixels, resources.decode_on_device)
        self._since = time.time()
        verifies = needs_checks(split, self.index, resources.verify)
        self._checks = read_checks(split) if verifies else None
        self._in_progress: set[int] = set()
        self._state: _ProcessState | None = None

    def __copy__(self) -> Pipeline:
        """Return a pipeline with the same index, and workers and buffers of its own."""
        other = object.__new__(Pipeline)
        other.__dict__.update(self.__dict__, _in_progress=set(), _state=None)
        return other

    def begin(self, rows: NDArray[np.int64], epoch: int) -> PendingBatch:
        """Start to decode samples; at most ``depth`` batches may be in progress."""
        state = self._running()
        numbers = None
        if self._is_random:
            numbers = [random_numbers(self.seed, epoch, key) for key in self.index.keys(rows.tolist())]
        job = decide(self.spec, self.index, rows, numbers, self.shape)
        if self._checks is not None:
            job["check"] = self._checks[rows]
        slot = state.buffers.take((len(rows), *self.shape))
        self._in_progress.add(slot)
        ends = [len(rows) * part // self._num_parts for part in range(self._num_parts + 1)]
        spans = [(first, end) for first, end in itertools.pairwise(ends) if first < end]
        parts = [(first, state.workers.start(slot, first, job[first:end])) for first, end in spans]
        return PendingBatch(state.buffers, slot, rows, job["flip"].tolist(), numbers, parts)

    def finish(self, pending: PendingBatch) -> tuple[DecodedClips, list[BadSample]]:
        """Wait for a batch; return its sound clips and its bad samples.

        If this raises, the batch is still in progress: ``give_up`` it.
        """
        failures = {first + failure.position: failure for first, part in pending.parts for failure in part.result()}
        good = [position for position in range(len(pending.rows)) if position not in failures]
        bad = [self._bad(int(pending.rows[position]), failure) for position, failure in sorted(failures.items())]
        numbers = None if pending.random_numbers is None else [pending.random_numbers[position] for position in good]
        flips = [pending.flips[position] for position in good]
        pixels = self._take_pixels(pending)
        return DecodedClips(pending.rows[good], flips, numbers, pixels if not bad else pixels[good]), bad

    def to_batch(self, clips: DecodedClips) -> Batch:
        """Return clips as a batch, with their captions and labels, on the requested device."""
        rows = clips.rows.tolist()
        captions = self._captions.choose(rows, clips.random_numbers, clips.flips)
        encoded = self._captions.encode(captions)
        batch = Batch(
            video=_to_video(clips.pixels, self.spec),
            captions=captions,
            keys=self.index.keys(rows),
            labels=torch.from_numpy(self.index.label[clips.rows]),
            tokens=None if encoded is None else torch.from_numpy(encoded.tokens),
            lengths=None if encoded is None else torch.from_numpy(encoded.lengths),
        )
        return self._moved(batch)

    def _moved(self, batch: Batch) -> Batch:
        """Return the batch on the requested device; the copy continues while the trainer computes."""
        device = torch.device(self.resources.device)
        if device.type == "cpu":
            return batch
        return (batch.pin_memory() if device.type == "cuda" else batch).to(device, non_blocking=True)

    def _take_pixels(self, pending: PendingBatch) -> NDArray[np.uint8] | torch.Tensor:
        self._in_progress.discard(pending.slot)
        shape = (len(pending.rows), *self.shape)
        buffers = pending.buffers
        if buffers.num_free + len(self._in_progress) >= self.depth:
            return buffers.lend(pending.slot, shape)
        # The trainer keeps batches: copy this one, so that there is a slot for the next.
        pixels = np.array(buffers.view(pending.slot, shape))
        buffers.give_back(pending.slot)
        return pixels

    def give_up(self, pending: PendingBatch) -> None:
        """Drop a batch in progress; its slot is free once nothing writes into it.

        Does not wait: the garbage collector may call this in the very thread that decodes the batch.
        """
        self._in_progress.discard(pending.slot)
        # Not the batch itself: it holds the futures that hold this function.
        buffers, slot, remaining = pending.buffers, pending.slot, deque(range(len(pending.parts)))

        def done(_: Future[list[Failure]]) -> None:
            # Popping from a deque is atomic, so exactly one thread, the last one, gets the 0.
            if remaining.pop() == 0:
                buffers.give_back(slot)

        for _, future in pending.parts:
            future.cancel()
            future.add_done_callback(done)

    def prefetch(self, shards: Sequence[int]) -> None:
        """Set which shards are read next."""
        self._running().reader.prefetch(shards)

    def close(self) -> None:
        """End the workers; the next ``begin`` starts new ones."""
        state, self._state = self._state, None
        # After a fork, the workers are the parent's.
        if state is not None and state.process == os.getpid():
            # The reader first: a worker may be waiting for a server.
            state.reader.close()
            state.workers.close()

    def _running(self) -> _ProcessState:
        if self._state is None or self._state.process != os.getpid():
            self._in_progress.clear()
            reader = open_reader(self.split.path, self.index.shards, cache=self.resources.cache, since=self._since)
            self._state = _ProcessState(os.getpid(), *self._start_workers(reader), reader)
        return self._state

    def _start_workers(self, reader: Reader) -> tuple[BatchBuffers | DeviceBuffers, Workers]:
        index, resources = self.index, self.resources
        if self._decodes_on_device:
            device_buffers = DeviceBuffers(resources.device)
            return device_buffers, ThreadWorkers(
                DeviceDecoder(reader, resources.device), device_buffers, self.shape, self.num_workers
            )
        buffers = BatchBuffers(self.depth + _LENT_SLOTS, self._batch_bytes)
        if not self._uses_processes():
            return buffers, ThreadWorkers(BatchDecoder(reader, index.extensions), buffers, self.shape, self.num_workers)
        setup = {
            "folder": self.split.path,
            "shards": [asdict(entry) for entry in index.shards],
            "cache": None if resources.cache is None else asdict(resources.cache),
            "since": self._since,
            "extensions": index.extensions,
            "shape": self.shape,
            "slot_bytes": buffers.slot_bytes,
            "buffers_bytes": buffers.slot_bytes * buffers.num_slots,
        }
        return buffers, ProcessWorkers(setup, buffers, self.num_workers)

    def _uses_processes(self) -> bool:
        if self.resources.processes is not None:
            return self.resources.processes
        # Video decoding returns to Python for each frame, lossless arrays and sheets do not (measured, see docs/benchmarks.md).
        return self.num_workers > 1 and "mp4" in self.index.extensions

    def _bad(self, row: int, failure: Failure) -> BadSample:
        shard = self.index.shards[int(self.index.shard[row])].name
        return BadSample(shard, self.index.keys([row])[0], failure.error, failure.message)


def _to_video(pixels: NDArray[np.uint8] | torch.Tensor, spec: LoadSpec) -> torch.Tensor:
    """Return (B, T, H, W, C) pixels as (B, C, T, H, W), in the dtype of the spec."""
    video = (pixels if isinstance(pixels, torch.Tensor) else torch.from_numpy(pixels)).permute(0, 4, 1, 2, 3)
    if spec.dtype == "uint8":
        return video
    mean, std = (_by_channel(value, video.device) for value in (spec.mean, spec.std))
    # In this order, 0 and 255 become exactly -1 and 1.
    return video.to(torch.float32).div_(255 * std).sub_(mean / std)


def _by_channel(value: float | tuple[float, ...], device: torch.device) -> torch.Tensor:
    values = value if isinstance(value, tuple) else (value,)
    return torch.tensor(values, dtype=torch.float32, device=device).reshape(-1, 1, 1, 1)


def _num_workers(spec: LoadSpec, resources: Resources, index: SplitIndex) -> int:
    """Return the requested number of workers, or the fastest."""
    if resources.workers is not None:
        return resources.workers
    frames, height, width, channels = (index.numbers[name].astype(np.int64) for name in _SHAPE_COLUMNS)
    is_small = int((frames * height * width * channels).max()) <= _SMALL_CLIP_BYTES and spec.resize is None
    is_small = is_small and index.extensions == ("npy.zst",)
    return 1 if is_small else resources.num_workers


def _check_vocabulary(vocabulary: Encoder | None, split: Split) -> None:
    source = getattr(vocabulary, "fingerprint", None)
    if source is not None and source != split.fingerprint:
        raise RequestError(
            f"the vocabulary was built from another dataset ({source[:12]}), not {split.path} ({split.fingerprint[:12]}); "
            "load the one at dataset.vocabulary_path, or if this is intended: dataclasses.replace(vocabulary, fingerprint=None)"
        )

"""The floor of the loading benchmark: how fast the same clips decode from memory when no batches are made."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from t2vdata.format.manifest import ShardEntry
from t2vdata.loading.index import SplitIndex
from t2vdata.loading.reader import open_reader
from t2vdata.loading.spec import CacheSpec
from t2vdata.media.decode import decoder, mp4, pyav
from t2vdata.processes import Child

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Encoded bytes held in memory.
_MAX_BYTES = 64 << 20


class Clip(NamedTuple):
    """Where the encoded bytes of a clip are."""

    extension: str
    shard: int
    """Index into ``Job.shards``."""
    offset: int
    size: int


@dataclass(frozen=True)
class Job:
    """What to decode, repeatedly, and for how long."""

    folder: str
    shards: tuple[ShardEntry, ...]
    clips: Sequence[Clip]
    cache: CacheSpec | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Job:
        return cls(
            folder=body["folder"],
            shards=tuple(ShardEntry(**entry) for entry in body["shards"]),
            clips=[Clip(*clip) for clip in body["clips"]],
            cache=None if body["cache"] is None else CacheSpec(**body["cache"]),
            seconds=body["seconds"],
        )

    def read(self) -> list[bytes]:
        """Return the bytes of all clips."""
        with contextlib.closing(open_reader(self.folder, self.shards, cache=self.cache)) as reader:
            return [bytes(reader.read(clip.shard, clip.offset, clip.size)) for clip in self.clips]


def distinct_clips(index: SplitIndex, rows: NDArray[np.int64]) -> list[Clip]:
    """Return the clips of these rows, each once, as many as fit into memory."""
    distinct = list(dict.fromkeys(rows.tolist()))
    offsets, sizes = index.numbers["pixels_offset"], index.numbers["pixels_size"]
    num_fitting = max(1, int(np.searchsorted(np.cumsum(sizes[distinct]), _MAX_BYTES, side="right")))
    return [
        Clip(index.extensions[index.extension[row]], int(index.shard[row]), int(offsets[row]), int(sizes[row]))
        for row in distinct[:num_fitting]
    ]


def clips_per_second(job: Job, num_workers: int, *, in_processes: bool) -> float:
    """Return the clips per second of all workers together if they only decode."""
    shares = [replace(job, clips=job.clips[worker::num_workers]) for worker in range(min(num_workers, len(job.clips)))]
    return _in_processes(shares) if in_processes else _in_threads(shares)


def decode_alone(job: Job, wait: Callable[[], object]) -> float:
    """Read the clips into memory, wait for the other workers, then decode and discard them; return clips per second."""
    members = [(_decoder(clip.extension), data) for clip, data in zip(job.clips, job.read(), strict=True)]
    wait()
    num_clips, elapsed, began = 0, 0.0, time.perf_counter()
    for decode, data in itertools.cycle(members):
        decode(data, 3, None)
        num_clips, elapsed = num_clips + 1, time.perf_counter() - began
        if elapsed >= job.seconds:
            break
    return num_clips / elapsed


def _decoder(extension: str) -> Callable[[bytes, int, int | None], object]:
    """Return the function that decodes a pixel member; for a video, it reads each frame's time stamp and converts no pixels."""
    return (lambda data, channels, max_pixels: pyav.read_timing(data)) if extension == "mp4" else decoder(extension)


def backends(job: Job) -> dict[str, str]:
    """Return {extension: name of the decoder that the loader uses}, tried on the first clip of each."""
    first = {clip.extension: clip for clip in reversed(job.clips)}
    members = replace(job, clips=list(first.values())).read()
    return {extension: _backend(extension, data) for extension, data in zip(first, members, strict=True)}


def _backend(extension: str, data: bytes) -> str:
    if extension != "mp4":
        return {"jpg": "sheet (Pillow)"}.get(extension, "lossless")
    return "pyav" if mp4.find_packets(data) is None else "fast (PyAV's decoder without its demuxer)"


def _in_threads(shares: Sequence[Job]) -> float:
    barrier = threading.Barrier(len(shares))

    def work(share: Job) -> float:
        try:
            return decode_alone(share, barrier.wait)
        except BaseException:
            # Otherwise the other workers would wait forever.
            barrier.abort()
            raise

    with ThreadPoolExecutor(len(shares)) as pool:
        return sum(pool.map(work, shares))


def _in_processes(shares: Sequence[Job]) -> float:
    with contextlib.ExitStack() as stack:
        children = []
        for share in shares:
            child = Child("t2vdata.bench.worker_main", name="a process that only decodes", advice="use --workers 1")
            children.append(child)
            stack.callback(child.close)
            child.send(share.to_json())
        for child in children:
            child.receive()
        for child in children:
            child.send({"start": True})
        return sum(float(child.receive().header["clips_per_second"]) for child in children)

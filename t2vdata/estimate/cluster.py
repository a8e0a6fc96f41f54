"""How long a build would take on a cluster, and what would limit it: by the costs of a few clips, measured here.

Four things are used up side by side, and the slowest sets the time: cores (decoding and encoding), the network (raw files in,
shards out), the store's requests, and the first process, which alone writes the index.
"""

from __future__ import annotations

import re
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from t2vdata import storage
from t2vdata.build import planning
from t2vdata.build.planning import plan_shards
from t2vdata.build.spec import BuildSpec, check_can_build
from t2vdata.errors import RequestError
from t2vdata.estimate import dry_run
from t2vdata.format import tables
from t2vdata.storage import upload
from t2vdata.types import Clip, MediaRef, ShardPlan, Tally

# What S3 promises for one prefix: docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
WRITES_PER_SECOND, READS_PER_SECOND = 3500.0, 5500.0
# Names in one answer to a listing, on S3 and the stores that speak like it.
LISTED_AT_ONCE = 1000

_BANDWIDTH = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)(bit|b|B)(?:/s|ps)?")
_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@dataclass(frozen=True)
class ClipCosts:
    """What a clip costs: means of a sample, on one core of this machine."""

    sampled: Tally
    render_seconds: float
    """To draw, or to read and decode, and to filter."""
    encode_seconds: float
    read_bytes: float
    """Of its raw file; 0 for clips that are drawn."""
    written_bytes: float
    """In a shard, of the clips that are kept."""
    index_seconds: float
    """To write its row, in the first process."""
    index_bytes: float
    """Of its row."""
    shard_index_bytes: float
    """Of the index's footer, for each shard."""


@dataclass(frozen=True)
class Capacity:
    """A build on a cluster, before it is begun. All but the counts of clips are estimates."""

    clips: int
    """Clips to try."""
    kept: int
    shards: int
    written_bytes: float
    read_bytes: float
    index_bytes: float
    writes: float
    """Requests that write: parts of shards, reports."""
    reads: float
    """Requests that read: raw files, reports."""
    lists: int
    """Requests that list what is there, when a build goes on."""
    costs: ClipCosts
    seconds: Mapping[str, float]
    """{what is used up: seconds that it takes by itself}, of decode, encode, network, store requests and index."""

    @property
    def total_seconds(self) -> float:
        """Decoding and encoding share the cores; all else goes on beside them."""
        return max(self.seconds["decode"] + self.seconds["encode"], *(self.seconds[name] for name in _BESIDE))

    @property
    def limit(self) -> str:
        """What limits the build: with more of it, and of nothing else, it would take less time."""
        slowest = max(_BESIDE, key=lambda name: self.seconds[name])
        if self.seconds["decode"] + self.seconds["encode"] >= self.seconds[slowest]:
            return max(("decode", "encode"), key=lambda name: self.seconds[name])
        return slowest


_BESIDE = ("network", "store requests", "index")


def parse_bandwidth(text: str) -> float:
    """Return the bytes per second in a text such as 10Gbit, 800 Mbit/s or 1.25GB. Raises RequestError for any other."""
    found = _BANDWIDTH.fullmatch(text.strip())
    if found is None or float(found[1]) == 0:
        raise RequestError(f"--bandwidth {text!r}: expected a rate such as 10Gbit or 1.25GB, per second")
    return float(found[1]) * _UNITS[found[2]] / (1 if found[3] == "B" else 8)


def capacity(
    spec: BuildSpec,
    *,
    cores: int,
    bytes_per_second: float,
    clips: int | None = None,
    writes_per_second: float = WRITES_PER_SECOND,
    reads_per_second: float = READS_PER_SECOND,
) -> Capacity:
    """Plan a build, make a few of its clips here, and say what so many ``cores`` and so fast a network would make of it.

    ``bytes_per_second`` is what all nodes together get from and to the store. ``clips`` stands for a dataset of that many clips
    like these. Raises what ``build_dataset`` raises for a spec that cannot be built, RequestError where there is no clip.
    """
    for name, value in (("--cores", cores), ("--clips", clips)):
        if value is not None and value < 1:
            raise RequestError(f"{name} {value}: expected 1 or more")
    check_can_build(spec)
    in_archives = dry_run.peek(spec)
    counted = [0]
    chosen = dry_run.choose(_counted(spec, counted), in_archives=in_archives)
    if not chosen:
        raise RequestError(f"{spec.dataset} has no clip to go by; check --root and the options")
    costs = measure(spec, chosen)
    number = clips if clips is not None else counted[0]
    kept = round(number * costs.sampled.kept / costs.sampled.seen)
    shards = -(-number // spec.shard_size)
    written, read = kept * costs.written_bytes, number * costs.read_bytes
    parts = max(1.0, written / shards / upload.PART)
    # A shard of several parts also has a request at its beginning and its end. Its report is one, and read once.
    writes = shards * ((parts + 2 if parts > 1 else 1) + 1)
    reads = shards + (number if costs.read_bytes else 0)
    seconds = {
        "decode": number * costs.render_seconds / cores,
        "encode": number * costs.encode_seconds / cores,
        "network": (written + read) / bytes_per_second,
        "store requests": writes / writes_per_second + reads / reads_per_second,
        "index": kept * costs.index_seconds,
    }
    lists = -(-2 * shards // LISTED_AT_ONCE)
    index_bytes = kept * costs.index_bytes + shards * costs.shard_index_bytes
    return Capacity(number, kept, shards, written, read, index_bytes, writes, reads, lists, costs, seconds)


def _counted(spec: BuildSpec, counted: list[int]) -> Iterator[ShardPlan]:
    """Yield the plans of a build, adding the clips in each to ``counted``."""
    for one in plan_shards(spec, planning.splits(spec)):
        counted[0] += len(one.clips)
        yield one


def measure(spec: BuildSpec, chosen: Sequence[tuple[str, Clip]]) -> ClipCosts:
    """Make some clips in this process, and return what each costs, on average."""
    clock = _Clock()
    made = dry_run.make(spec, chosen, on_stage=clock.enter)
    clock.enter("done")
    seen, kept = made.tally.seen, made.tally.kept
    read = sum(_read_bytes(clip.media) for _, clip in chosen if clip.media is not None)
    return ClipCosts(
        made.tally,
        (clock.seconds["render"] + clock.seconds["frames"]) / seen,
        clock.seconds["encode"] / seen,
        read / seen,
        made.num_bytes / kept if kept else 0.0,
        *_index_costs(made.rows),
    )


def _read_bytes(media: MediaRef) -> int:
    """Return the bytes of a clip's media file; asked for only where no listing has told them."""
    return media.size_bytes if media.size_bytes is not None else storage.size(media.path) or 0


class _Clock:
    """Seconds spent in each stage."""

    def __init__(self) -> None:
        self.seconds = {"render": 0.0, "frames": 0.0, "encode": 0.0}
        self._stage, self._since = "done", time.perf_counter()

    def enter(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[self._stage] = self.seconds.get(self._stage, 0.0) + now - self._since
        self._stage, self._since = stage, now


def _index_costs(rows: Sequence[bytes]) -> tuple[float, float, float]:
    """Return seconds and bytes of a row of the index, and bytes of its footer for each shard: by these rows, repeated."""
    if not rows:
        return 0.0, 0.0, 0.0
    count = len(rows) * (1000 // len(rows))
    lines = b"".join(rows) * (1000 // len(rows))
    with tempfile.TemporaryDirectory() as folder:
        with tables.TableWriter(storage.Folder(folder)) as writer:
            writer.add(lines, ())
            begun = time.perf_counter()
            writer.add(lines, ())
            seconds = time.perf_counter() - begun
        index = storage.join(folder, tables.INDEX)
        # A parquet file ends with the length of its footer, which describes each shard's columns, and "PAR1".
        length = storage.read_range(index, (storage.size(index) or 0) - 8, 4)
    # Packed once only: rows of a real shard do not repeat, and hashes, keys and offsets are most of one.
    return seconds / count, len(zlib.compress(b"".join(rows))) / len(rows), int.from_bytes(length, "little") / 2

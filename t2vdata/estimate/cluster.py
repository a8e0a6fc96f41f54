"""How long a build takes on a cluster, and what limits it, extrapolated from a few clips built here.

Four resources are used in parallel, and the slowest decides: cores (decoding and encoding), the network (raw files in, shards
out), requests to the store, and the main process, which writes the index by itself.
"""

from __future__ import annotations

import re
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from t2vdata import storage
from t2vdata.build import planning
from t2vdata.build.planning import plan_shards
from t2vdata.build.spec import BuildSpec, check_can_build
from t2vdata.datasets import Dataset
from t2vdata.errors import RequestError
from t2vdata.estimate import dry_run
from t2vdata.format import tables
from t2vdata.storage import upload
from t2vdata.types import Clip, MediaRef, ShardPlan, Tally

# S3 guarantees these for one prefix: docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html
WRITES_PER_SECOND, READS_PER_SECOND = 3500.0, 5500.0
# Names per listing request, on S3 and on stores with its API.
NAMES_PER_LISTING = 1000

_BANDWIDTH = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?)(bit|b|B)(?:/s|ps)?")
_UNITS = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


@dataclass(frozen=True)
class ClipCosts:
    """Cost of a clip: means over the sampled clips, on one core of this machine."""

    sampled: Tally
    render_seconds: float
    """Drawing, or reading and decoding; and filtering."""
    encode_seconds: float
    read_bytes: float
    """Size of its raw file; 0 for drawn clips."""
    written_bytes: float
    """Size in a shard, of kept clips."""
    index_seconds: float
    """Writing its row of the index, in the main process."""
    index_bytes: float
    """Size of its row."""
    shard_index_bytes: float
    """Size of the index's footer, per shard."""


@dataclass(frozen=True)
class ClusterEstimate:
    """Time and resources of a build on a cluster. Everything but the numbers of clips and shards is extrapolated."""

    num_clips: int
    """Clips to build, of which ``num_kept`` are kept."""
    num_kept: int
    num_shards: int
    written_bytes: float
    read_bytes: float
    index_bytes: float
    num_write_requests: float
    """For parts of shards, and reports."""
    num_read_requests: float
    """For raw files, and reports."""
    num_list_requests: int
    """For listing existing shards when a build resumes."""
    costs: ClipCosts
    seconds: Mapping[str, float]
    """{resource: seconds that it needs by itself}, of decode, encode, network, store requests and index."""

    @property
    def total_seconds(self) -> float:
        """Decoding and encoding share the cores; the other resources work in parallel."""
        return max(self.seconds["decode"] + self.seconds["encode"], *(self.seconds[name] for name in _PARALLEL))

    @property
    def limit(self) -> str:
        """The resource that limits the build: only more of this resource would shorten the build."""
        slowest = max(_PARALLEL, key=lambda name: self.seconds[name])
        if self.seconds["decode"] + self.seconds["encode"] >= self.seconds[slowest]:
            return max(("decode", "encode"), key=lambda name: self.seconds[name])
        return slowest


_PARALLEL = ("network", "store requests", "index")


def parse_bandwidth(text: str) -> float:
    """Return the bytes per second in a text such as 10Gbit, 800 Mbit/s or 1.25GB. Raises RequestError for any other."""
    match = _BANDWIDTH.fullmatch(text.strip())
    if match is None or float(match[1]) == 0:
        raise RequestError(f"--bandwidth {text!r}: expected a rate such as 10Gbit or 1.25GB, per second")
    return float(match[1]) * _UNITS[match[2]] / (1 if match[3] == "B" else 8)


def estimate(
    spec: BuildSpec,
    *,
    cores: int,
    bytes_per_second: float,
    num_clips: int | None = None,
    writes_per_second: float = WRITES_PER_SECOND,
    reads_per_second: float = READS_PER_SECOND,
    num_sampled: int = dry_run.NUM_SAMPLED,
) -> ClusterEstimate:
    """Plan a build, build ``num_sampled`` of its clips here, and extrapolate to a cluster.

    ``bytes_per_second`` is the bandwidth between the store and all nodes together. ``num_clips`` extrapolates to a dataset of
    that many similar clips. Raises what ``build_dataset`` raises for a spec that cannot be built, and RequestError for a
    dataset without clips.
    """
    for name, value in (("--cores", cores), ("--clips", num_clips)):
        if value is not None and value < 1:
            raise RequestError(f"{name} {value}: expected 1 or more")
    dataset = spec.open()
    check_can_build(spec, dataset)
    in_archives = dry_run.list_some_archives(dataset, num_sampled)
    planned = _CountedPlans(plan_shards(spec, planning.splits(dataset), dataset.clip_filters()))
    sampled = dry_run.choose_clips(planned, num_sampled=num_sampled, in_archives=in_archives)
    if not sampled:
        raise RequestError(f"{spec.dataset} has no clip to build; check --root and the options")
    costs = measure_costs(spec, dataset, sampled)
    return _extrapolate(
        costs,
        planned.num_clips if num_clips is None else num_clips,
        spec.shard_size,
        cores=cores,
        bytes_per_second=bytes_per_second,
        writes_per_second=writes_per_second,
        reads_per_second=reads_per_second,
    )


def _extrapolate(
    costs: ClipCosts,
    num_clips: int,
    shard_size: int,
    *,
    cores: int,
    bytes_per_second: float,
    writes_per_second: float,
    reads_per_second: float,
) -> ClusterEstimate:
    num_kept = round(num_clips * costs.sampled.kept / costs.sampled.seen)
    num_shards = -(-num_clips // shard_size)
    written, read = num_kept * costs.written_bytes, num_clips * costs.read_bytes
    parts = max(1.0, written / num_shards / upload.PART)
    # A multipart upload also takes a request to start and one to finish. The report is one write, and one read.
    writes = num_shards * ((parts + 2 if parts > 1 else 1) + 1)
    reads = num_shards + (num_clips if costs.read_bytes else 0)
    return ClusterEstimate(
        num_clips=num_clips,
        num_kept=num_kept,
        num_shards=num_shards,
        written_bytes=written,
        read_bytes=read,
        index_bytes=num_kept * costs.index_bytes + num_shards * costs.shard_index_bytes,
        num_write_requests=writes,
        num_read_requests=reads,
        # For each shard, the shard itself and its report.
        num_list_requests=-(-2 * num_shards // NAMES_PER_LISTING),
        costs=costs,
        seconds={
            "decode": num_clips * costs.render_seconds / cores,
            "encode": num_clips * costs.encode_seconds / cores,
            "network": (written + read) / bytes_per_second,
            "store requests": writes / writes_per_second + reads / reads_per_second,
            "index": num_kept * costs.index_seconds,
        },
    )


class _CountedPlans:
    """Iterates over plans and counts their clips."""

    def __init__(self, plans: Iterable[ShardPlan]) -> None:
        self._plans = plans
        self.num_clips = 0

    def __iter__(self) -> Iterator[ShardPlan]:
        for plan in self._plans:
            self.num_clips += len(plan.clips)
            yield plan


def measure_costs(spec: BuildSpec, dataset: Dataset, clips: Sequence[tuple[str, Clip]]) -> ClipCosts:
    """Build clips in this process, and return the mean cost of each."""
    clock = _Clock()
    trial = dry_run.build_trial(spec, dataset, clips, on_stage=clock.enter)
    clock.enter("done")
    num_seen, num_kept = trial.tally.seen, trial.tally.kept
    read_bytes = sum(_media_bytes(clip.media) for _, clip in clips if clip.media is not None)
    return ClipCosts(
        trial.tally,
        (clock.seconds["render"] + clock.seconds["frames"]) / num_seen,
        clock.seconds["encode"] / num_seen,
        read_bytes / num_seen,
        trial.num_bytes / num_kept if num_kept else 0.0,
        *_index_costs(trial.rows),
    )


def _media_bytes(media: MediaRef) -> int:
    """Return the size of a clip's media file; asks the storage only if no listing has the size."""
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
    """Return seconds and bytes per row of the index, and footer bytes per shard, measured by writing these rows repeatedly."""
    if not rows:
        return 0.0, 0.0, 0.0
    num_rows = len(rows) * (1000 // len(rows))
    lines = b"".join(rows) * (1000 // len(rows))
    with tempfile.TemporaryDirectory() as folder:
        with tables.TableWriter(storage.Folder(folder)) as writer:
            writer.add(lines, ())
            start = time.perf_counter()
            writer.add(lines, ())
            seconds = time.perf_counter() - start
        index = storage.join(folder, tables.INDEX)
        # A parquet file ends with the length of its footer, which describes each shard's columns, and "PAR1".
        length = storage.read_range(index, (storage.size(index) or 0) - 8, 4)
    # Compressed without the repeats: rows of a real shard differ, and mostly consist of hashes, keys and offsets.
    return seconds / num_rows, len(zlib.compress(b"".join(rows))) / len(rows), int.from_bytes(length, "little") / 2

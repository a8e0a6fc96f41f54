"""A dataset from its spec: plan shards, build each on an engine, write the manifest last.

The shard is the unit of work, of resuming and of reporting. A shard is a pure function of the spec and its plan, so it does
not matter who builds it, or when, or how often.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import os
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from t2vdata import datasets, storage
from t2vdata.build import checkpoint, planning
from t2vdata.build.finalize import finish
from t2vdata.build.planning import Splits, plan_shards, shard_name, shard_number
from t2vdata.build.resume import ExistingShards
from t2vdata.build.shard import build_shard
from t2vdata.build.spec import BuildSpec
from t2vdata.engines import local
from t2vdata.errors import BuildError, RawDataError, RequestError, TooManyFailuresError
from t2vdata.format import manifest, tables
from t2vdata.format.manifest import Manifest, ShardEntry, SplitEntry
from t2vdata.storage import archives
from t2vdata.types import ShardPlan, ShardReport, Tally

__all__ = ["BuildResult", "BuildSpec", "Engine", "Progress", "build_dataset"]

# The failure rate is judged from this many clips on: one bad clip in the first ten says little.
_JUDGED_AFTER = 100


Task = TypeVar("Task")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Progress:
    """How far a build is."""

    clips: int
    """Clips done: kept, rejected or failed."""
    total: int


class Engine(Protocol):
    """Who does the work: yields the report of each plan, in any order."""

    def __call__(
        self, work: Callable[[Task], Answer], plans: Iterable[Task], /, *, num_workers: int
    ) -> Generator[Answer, None, None]: ...


@dataclass(frozen=True)
class BuildResult:
    """What a build has done."""

    out: str
    manifest: Manifest
    clips_built: int
    """Clips of the shards that this call built; 0 when all was there."""


def build_dataset(
    spec: BuildSpec,
    out: str | os.PathLike[str] | None = None,
    *,
    num_workers: int | None = None,
    max_failures: float = 0.05,
    on_progress: Callable[[Progress], None] = lambda _: None,
    engine: Engine = local.run,
) -> BuildResult:
    """Build a dataset into the folder ``out`` (``data/<dataset>`` unless told), or go on with a build that was stopped.

    ``num_workers`` is the number of processes, all cores unless told. ``max_failures`` is the share of clips that may fail,
    judged after 100 of them. Raises RequestError for what cannot be built, OtherSpecError when ``out`` holds something else,
    StorageError when the disk refuses, TooManyFailuresError when the failure budget is spent. Whole shards are kept in every
    case, and the same call goes on from them.
    """
    folder = os.fspath(out) if out is not None else default_folder(spec)
    num_workers = workers_or_all(num_workers)
    if not 0 <= max_failures <= 1:
        raise RequestError(f"--max-failures {max_failures:g}: expected a share from 0 to 1")
    check_can_build(spec)
    wanted = spec.as_json()
    # Before anything is written: annotations that cannot be read are said here.
    splits = planning.splits(spec)
    finished = checkpoint.open_folder(folder, wanted)
    if (
        finished is not None
        and not checkpoint.is_open(folder)
        and has_tables(folder, finished)
        and not lost_shards(folder, finished)
    ):
        return BuildResult(folder, finished, 0)
    if checkpoint.is_appending(folder):
        raise RequestError(f"{folder}: --retry-failed was stopped; run the same command again with --retry-failed")
    work = functools.partial(build_shard, spec, folder)
    with checkpoint.locked(folder) as check_still_ours, checkpoint.swept(folder):
        # Once more, now that nobody else can build here: somebody may just have finished.
        finished = checkpoint.open_folder(folder, wanted)
        if finished is not None and has_tables(folder, finished):
            checkpoint.start(folder, wanted)
            splits = learn_archives(spec, folder, engine, num_workers=num_workers) or splits
            plans = _plans_of(lost_shards(folder, finished), folder, finished, splits)
            built = _repair(folder, finished, engine(work, plans, num_workers=num_workers))
            checkpoint.close_folder(folder)
            return BuildResult(folder, finished, built)
        if finished is not None and manifest.APPENDED in finished.spec:
            raise RequestError(
                f"{folder} lost a table, and clips were appended to it, which only --retry-failed can; choose another --out"
            )
        checkpoint.start(folder, wanted)
        splits = learn_archives(spec, folder, engine, num_workers=num_workers) or splits
        run = functools.partial(engine, work, num_workers=num_workers)
        with tables.TableWriter(folder) as writer:
            contents = _Contents(folder, sum(len(clips) for _, clips in splits), max_failures, writer, on_progress)
            built = _build_missing(spec, splits, contents, run)
            check_still_ours()
        whole = finish(folder, spec, wanted, contents.splits(), writer.files)
        checkpoint.close_folder(folder)
    return BuildResult(folder, whole, built)


def learn_archives(spec: BuildSpec, out: str, engine: Engine, *, num_workers: int) -> Splits | None:
    """Tell the dataset what is in its archives; return its splits then, or None where it has no archives.

    Each is read for that once in a build. One that goes on keeps to what it has found: archives that have come or changed since
    would move clips between shards.
    """
    wanted = datasets.archives(spec.dataset, spec.root, spec.resolved)
    if not wanted:
        return None
    known, is_all = checkpoint.read_contents(out)
    if not is_all:
        unread = [one for one in wanted if one.name not in known]
        if unread:
            with contextlib.closing(engine(archives.contents, unread, num_workers=num_workers)) as found:
                for contents in found:
                    checkpoint.write_contents(out, contents)
                    known[contents.name] = contents
        known = {one.name: known[one.name] for one in wanted}
        checkpoint.write_order(out, list(known))
    datasets.learn(spec.dataset, spec.root, list(known.values()))
    return planning.splits(spec)


class _Contents:
    """What a build has so far: its tally, and its shards in the order of their plans.

    Rows go into the index as soon as all shards before theirs are there, so that this is done while workers work.
    """

    def __init__(
        self, out: str, total: int, max_failures: float, writer: tables.TableWriter, on_progress: Callable[[Progress], None]
    ) -> None:
        self.out = out
        self.total = total
        self.tally = Tally()
        self.shards: dict[str, list[ShardEntry]] = {}
        self.tallies: dict[str, Tally] = {}
        self._max_failures = max_failures
        self._writer = writer
        self._on_progress = on_progress
        self._planned = collections.deque[str]()
        self._done: dict[str, ShardReport] = {}

    def expect(self, name: str) -> None:
        """Say that this shard comes next in order."""
        self._planned.append(name)

    def add(self, report: ShardReport) -> None:
        """Take in a shard that is whole. Raises TooManyFailuresError when the failure budget is spent."""
        self.tally += report.tally
        self._on_progress(Progress(self.tally.seen, self.total))
        _stop_if_hopeless(self.out, self.tally, self._max_failures)
        self._done[report.name] = report
        while self._planned and self._planned[0] in self._done:
            self._take(self._done.pop(self._planned.popleft()))

    def splits(self) -> dict[str, SplitEntry]:
        """Return what the manifest says of each split."""
        return {split: SplitEntry(tuple(entries), self.tallies[split]) for split, entries in self.shards.items()}

    def _take(self, report: ShardReport) -> None:
        self.tallies[report.split] = self.tallies.get(report.split, Tally()) + report.tally
        entries = self.shards.setdefault(report.split, [])
        if report.num_samples:
            entries.append(ShardEntry(report.name, report.num_samples, report.num_bytes, report.sha256))
        self._writer.add(checkpoint.read_rows(self.out, report.name), report.rejects)


def _build_missing(
    spec: BuildSpec,
    splits: Splits,
    contents: _Contents,
    run: Callable[[Iterable[ShardPlan]], Generator[ShardReport, None, None]],
) -> int:
    """Build the shards that are not there; return the number of clips built."""
    clips_built = 0
    # Closed, so that no worker outlives an error or Ctrl-C here.
    with contextlib.closing(run(_unbuilt(spec, splits, contents))) as reports:
        for report in reports:
            clips_built += report.tally.seen
            contents.add(report)
    if contents.tally.seen != contents.total:
        raise BuildError(f"{contents.tally.seen} clips seen, {contents.total} requested; this is a bug in {spec.dataset}")
    return clips_built


def _unbuilt(spec: BuildSpec, splits: Splits, contents: _Contents) -> Iterator[ShardPlan]:
    """Yield the plans of shards that are not there; take in the reports of those that are."""
    out = contents.out
    clip_filters, _ = datasets.filters(spec.dataset, spec.resolved)
    stock = ExistingShards(out)
    for one in plan_shards(spec, splits, planned=stock.plan):
        name = shard_name(spec, one.split, one.index)
        contents.expect(name)
        report = stock.report(name)
        if report is not None:
            contents.add(report)
            continue
        if clip_filters:
            checkpoint.write_plan(out, name, one)
        yield one


def _stop_if_hopeless(out: str, tally: Tally, max_failures: float) -> None:
    if tally.seen < _JUDGED_AFTER or tally.num_failed <= max_failures * tally.seen:
        return
    tables.write_rejects(out, [reject for report in ExistingShards(out).reports() for reject in report.rejects])
    counts = ", ".join(f"{error} {count}" for error, count in sorted(tally.failed.items(), key=lambda item: -item[1]))
    raise TooManyFailuresError(
        f"{tally.num_failed} of {tally.seen} clips failed, more than {max_failures:.0%}: {counts}; "
        f"see {storage.join(out, tables.REJECTS)}, or allow more with --max-failures"
    )


def has_tables(out: str, finished: Manifest) -> bool:
    """Return whether a finished dataset still has its index and its other tables, whole."""
    found = storage.patiently(lambda: storage.sizes(out))
    return all(found.get(file.name) == file.num_bytes for file in finished.files)


def lost_shards(out: str, finished: Manifest) -> set[str]:
    """Return the shards that a finished dataset no longer has, or has cut short."""
    found = storage.patiently(lambda: storage.sizes(out))
    return {shard.name for _, shard in finished.shards() if found.get(shard.name) != shard.num_bytes}


def _plans_of(lost: set[str], out: str, finished: Manifest, splits: Splits) -> Iterator[ShardPlan]:
    """Yield the plans of shards that are in a finished dataset, with the clips that the index has in them."""
    for place, (split, shard) in enumerate(finished.shards()):
        if shard.name in lost:
            keys = tables.read_index(out, ["key"], shards=range(place, place + 1))["key"].to_pylist()
            by_key = {clip.key: clip for clip in dict(splits)[split]}
            yield ShardPlan(split, shard_number(shard.name), [by_key[key] for key in keys])


def _repair(out: str, finished: Manifest, rebuilt: Iterable[ShardReport]) -> int:
    """Take shards built anew into a finished dataset; return the number of clips in them."""
    expected = {shard.name: shard.sha256 for _, shard in finished.shards()}
    clips = 0
    for report in rebuilt:
        if report.sha256 != expected[report.name]:
            raise BuildError(f"{report.name} came out with other bytes than {out} had; run verify, or build into a new folder")
        clips += report.tally.seen
    return clips


def default_folder(spec: BuildSpec) -> str:
    """Return the folder to build into unless another is asked for."""
    return os.path.join("data", datasets.short_name(spec.dataset))


def check_can_build(spec: BuildSpec) -> None:
    """Raise RawDataError when raw files are missing, RequestError when the encoding cannot hold such clips."""
    if getattr(spec.resolved, "keep_original", False) and spec.encoding.extension != "jpg":
        raise RequestError(f"--keep-original keeps JPEG files, but --encoding is {spec.encoding.name}; add --encoding jpeg")
    why = datasets.missing(spec.dataset, spec.root, spec.resolved)
    if why is not None:
        raise RawDataError(f"{spec.dataset}: {why}")
    size = datasets.frame_size(spec.dataset, spec.resolved)
    if size is not None:
        spec.encoding.check(*size)


def workers_or_all(asked: int | None) -> int:
    """Return a number of processes: the one asked for, or one for each core. Raises RequestError below 1."""
    if asked is None:
        return local.usable_cores()
    if asked < 1:
        raise RequestError(f"--workers {asked}: expected 1 process or more")
    return asked

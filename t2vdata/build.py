"""A dataset from its spec: plan shards, build each on an engine, write the manifest last.

The shard is the unit of work, of resuming and of reporting. A shard is a pure function of the spec and its plan, so it does
not matter who builds it, or when, or how often.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any, Protocol

import t2vdata
from t2vdata import card, datasets, ledger, manifest, show, storage
from t2vdata.dataset import Dataset
from t2vdata.engines import local
from t2vdata.errors import BuildError, ClipError, RawDataError, RequestError, TooManyFailuresError
from t2vdata.filters import ClipFilter, FrameFilter, HasCaption
from t2vdata.manifest import Manifest, ShardEntry, SplitEntry
from t2vdata.media import encode
from t2vdata.sample import to_row, to_sample
from t2vdata.shards import ShardWriter
from t2vdata.types import Clip, Frames, Reject, Sample, ShardPlan, ShardReport, Tally

Splits = Sequence[tuple[str, Sequence[Clip]]]

# The failure rate is judged from this many clips on: one bad clip in the first ten says little.
_JUDGED_AFTER = 100


@dataclass(frozen=True)
class BuildSpec:
    """What to build. Two equal specs give the same bytes, wherever and by however many workers they are built."""

    dataset: str
    """A name from ``t2vdata datasets``, or the dotted path of a module of yours."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the dataset's Options."""
    seed: int = 0
    encoding: encode.Encoding = field(default_factory=encode.Lossless)
    shard_size: int = 1000
    """Samples in a shard, at most."""
    root: str | None = None
    """Folder of the raw files, for datasets that have some."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 63:
            raise RequestError(f"--seed {self.seed}: expected 0 to 2**63 - 1")
        if self.shard_size < 1:
            raise RequestError(f"--shard-size {self.shard_size}: expected 1 sample or more")

    @functools.cached_property
    def resolved(self) -> Any:
        """The dataset's Options, checked. Raises RequestError for what cannot be."""
        return datasets.make_options(self.dataset, self.options)

    def as_json(self) -> dict[str, Any]:
        """Return all that decides the bytes, as JSON values: no paths of this machine, but the hashes of raw data."""
        return {
            "dataset": datasets.short_name(self.dataset),
            "version": datasets.load(self.dataset).VERSION,
            "seed": self.seed,
            "options": datasets.option_values(self.resolved),
            "source": datasets.source(self.dataset, self.root, self.resolved),
            "encoding": self.encoding.identity(),
            "shard_size": self.shard_size,
        }


@dataclass(frozen=True)
class Progress:
    """How far a build is."""

    clips: int
    """Clips done: kept, rejected or failed."""
    total: int


class Engine(Protocol):
    """Who does the work: yields the report of each plan, in any order."""

    def __call__(
        self, work: Callable[[ShardPlan], ShardReport], plans: Iterable[ShardPlan], /, *, num_workers: int
    ) -> Generator[ShardReport, None, None]: ...


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
    folder = os.fspath(out) if out is not None else os.path.join("data", datasets.short_name(spec.dataset))
    num_workers = _num_workers(num_workers)
    if not 0 <= max_failures <= 1:
        raise RequestError(f"--max-failures {max_failures:g}: expected a share from 0 to 1")
    why = datasets.missing(spec.dataset, spec.root, spec.resolved)
    if why is not None:
        raise RawDataError(f"{spec.dataset}: {why}")
    size = datasets.frame_size(spec.dataset, spec.resolved)
    if size is not None:
        spec.encoding.check(*size)
    wanted = spec.as_json()
    splits = list(_splits(spec))
    finished = ledger.open_folder(folder, wanted)
    work = functools.partial(build_shard, spec, folder)
    with ledger.locked(folder), ledger.swept(folder):
        if finished is not None and _has_tables(folder, finished):
            built = _repair(folder, finished, engine(work, _lost(folder, finished, spec, splits), num_workers=num_workers))
            ledger.close_folder(folder)
            return BuildResult(folder, finished, built)
        ledger.start(folder, wanted)
        built = _build_missing(
            spec, folder, splits, functools.partial(engine, work, num_workers=num_workers), max_failures, on_progress
        )
        whole = _write_manifest(folder, spec, wanted)
        ledger.close_folder(folder)
    return BuildResult(folder, whole, built)


def plan_shards(spec: BuildSpec, splits: Splits) -> Iterator[ShardPlan]:
    """Yield the plan of each shard, split after split. Lazy: a plan of millions of clips takes no memory."""
    clip_filters, _ = datasets.filters(spec.dataset, spec.resolved)
    for split, clips in splits:
        if isinstance(clips, list | tuple) or clip_filters:
            yield from _plan_filtered(split, clips, [HasCaption(), *clip_filters], spec.shard_size)
        else:
            # Sliced, not made: the clips come into being where they are used.
            starts = range(0, len(clips), spec.shard_size)
            yield from (ShardPlan(split, index, clips[start : start + spec.shard_size]) for index, start in enumerate(starts))


def build_shard(spec: BuildSpec, out: str, plan: ShardPlan) -> ShardReport:
    """Build one shard into ``out`` and write its report. Runs in a worker; found there by its name.

    A ClipError counts that clip as failed; anything else is a bug, gets the clip's key as a note, and flies.
    """
    name = shard_name(spec, plan.split, plan.index)
    rejects = list(plan.rejects)
    rows: list[dict[str, Any]] = []
    size, digest = 0, ""
    if plan.clips:
        with storage.written_whole(storage.join(out, name)) as file:
            writer = ShardWriter(file)
            for sample, row in _samples(spec, plan, rejects):
                rows.append({**row, **to_row(sample, writer.add(sample), name)})
            digest = writer.close()
            size = writer.num_bytes
    if not rows:
        # A tar without a sample is no use to a reader, and some fail on it.
        storage.remove(storage.join(out, name))
        size, digest = 0, ""
    report = ShardReport(name, plan.split, len(rows), size, digest, tuple(rejects), rows)
    ledger.write_report(out, report)
    # The rows stay on disk: the index is made from there, a shard at a time.
    return replace(report, rows=())


def shard_name(spec: BuildSpec, split: str, index: int) -> str:
    """Return the name of a shard, unique among all datasets and splits: loaders cache by it."""
    return f"{datasets.short_name(spec.dataset)}-{split}-{index:06d}.tar"


def _samples(spec: BuildSpec, plan: ShardPlan, rejects: list[Reject]) -> Iterator[tuple[Sample, dict[str, Any]]]:
    """Yield the sample and the index columns of each clip that can be kept; append the others to ``rejects``."""
    options, encoding = spec.resolved, spec.encoding
    render = datasets.renderer(spec.dataset)
    _, frame_filters = datasets.filters(spec.dataset, options)
    for clip in plan.clips:
        stage = "render"
        try:
            frames = render(clip, options)
            stage = "frames"
            reason = _why_not(frames, frame_filters)
            if reason is not None:
                rejects.append(Reject(clip.key, plan.split, stage, "rejected", reason, reason))
                continue
            stage = "encode"
            result = to_sample(clip, plan.split, frames, encoding.encode(frames), encoding.extension)
        except ClipError as error:
            rejects.append(Reject(clip.key, plan.split, stage, "failed", type(error).__name__, str(error)))
            continue
        except Exception as error:
            error.add_note(f"while building clip {clip.key} of {spec.dataset}")
            raise
        yield result


def _why_not(frames: Frames, frame_filters: Sequence[FrameFilter]) -> str | None:
    return next((reason for one in frame_filters if (reason := one.why_not(frames)) is not None), None)


def _splits(spec: BuildSpec) -> Iterator[tuple[str, Sequence[Clip]]]:
    dataset = datasets.load(spec.dataset)
    for split in dataset.SPLITS:
        clips = dataset.clips(spec.root, split, spec.resolved, spec.seed)
        if len(clips):
            yield split, clips


def _plan_filtered(
    split: str, clips: Iterable[Clip], clip_filters: Sequence[ClipFilter], shard_size: int
) -> Iterator[ShardPlan]:
    """Yield full shards of the clips that pass; each carries the rejects met on its way."""
    index, kept, rejects = 0, list[Clip](), list[Reject]()
    for clip in clips:
        reason = next((why for one in clip_filters if (why := one.why_not(clip)) is not None), None)
        if reason is not None:
            rejects.append(Reject(clip.key, split, "clip", "rejected", reason, reason))
            continue
        kept.append(clip)
        if len(kept) == shard_size:
            yield ShardPlan(split, index, kept, tuple(rejects))
            index, kept, rejects = index + 1, [], []
    if kept or rejects:
        yield ShardPlan(split, index, kept, tuple(rejects))


def _build_missing(
    spec: BuildSpec,
    out: str,
    splits: Splits,
    run: Callable[[Iterable[ShardPlan]], Generator[ShardReport, None, None]],
    max_failures: float,
    on_progress: Callable[[Progress], None],
) -> int:
    """Build the shards that are not there; return the number of clips built."""
    total = sum(len(clips) for _, clips in splits)
    tally, clips_built = Tally(), 0

    def unbuilt() -> Iterator[ShardPlan]:
        nonlocal tally
        for plan in plan_shards(spec, splits):
            report = ledger.read_report(out, shard_name(spec, plan.split, plan.index))
            if report is None:
                yield plan
            else:
                tally += report.tally
                on_progress(Progress(tally.seen, total))

    # Closed, so that no worker outlives an error or Ctrl-C here.
    with contextlib.closing(run(unbuilt())) as reports:
        for report in reports:
            tally += report.tally
            clips_built += report.tally.seen
            on_progress(Progress(tally.seen, total))
            _stop_if_hopeless(out, tally, max_failures)
    _stop_if_hopeless(out, tally, max_failures)
    if tally.seen != total:
        raise BuildError(f"{tally.seen} clips accounted for, {total} requested; this is a bug in {spec.dataset}")
    return clips_built


def _stop_if_hopeless(out: str, tally: Tally, max_failures: float) -> None:
    if tally.seen < _JUDGED_AFTER or tally.num_failed <= max_failures * tally.seen:
        return
    manifest.write_rejects(out, [reject for report in ledger.reports(out) for reject in report.rejects])
    counts = ", ".join(f"{error} {count}" for error, count in sorted(tally.failed.items(), key=lambda item: -item[1]))
    raise TooManyFailuresError(
        f"{tally.num_failed} of {tally.seen} clips failed, more than {max_failures:.0%}: {counts}; "
        f"see {storage.join(out, manifest.REJECTS)}, or allow more with --max-failures"
    )


def _has_tables(out: str, finished: Manifest) -> bool:
    return all(storage.size(storage.join(out, file.name)) == file.bytes for file in finished.files)


def _lost(out: str, finished: Manifest, spec: BuildSpec, splits: Splits) -> Iterator[ShardPlan]:
    """Yield the plans of the shards that a finished dataset no longer has, or has cut short."""
    lost = {shard.name for _, shard in finished.shards() if storage.size(storage.join(out, shard.name)) != shard.bytes}
    if lost:
        ledger.start(out, finished.spec)
        yield from (plan for plan in plan_shards(spec, splits) if shard_name(spec, plan.split, plan.index) in lost)


def _repair(out: str, finished: Manifest, rebuilt: Iterable[ShardReport]) -> int:
    """Take shards built anew into a finished dataset; return the number of clips in them."""
    expected = {shard.name: shard.sha256 for _, shard in finished.shards()}
    clips = 0
    for report in rebuilt:
        if report.sha256 != expected[report.name]:
            raise BuildError(f"{report.name} came out with other bytes than {out} had; run verify, or build into a new folder")
        clips += report.tally.seen
    return clips


def _write_manifest(out: str, spec: BuildSpec, wanted: dict[str, Any]) -> Manifest:
    dataset = datasets.load(spec.dataset)
    shards: dict[str, list[ShardEntry]] = {split: [] for split in dataset.SPLITS}
    tallies: dict[str, Tally] = {}

    def noted() -> Iterator[manifest.ShardRows]:
        # One pass over the reports, a shard at a time: memory stays flat.
        for report in sorted_by_split:
            if report.samples:
                shards[report.split].append(ShardEntry(report.name, report.samples, report.bytes, report.sha256))
            tallies[report.split] = tallies.get(report.split, Tally()) + report.tally
            yield manifest.ShardRows(report.samples, ledger.read_rows(out, report.name), report.rejects)

    sorted_by_split = ledger.reports(out, [f"{datasets.short_name(spec.dataset)}-{split}" for split in dataset.SPLITS])
    files = manifest.write_tables(out, noted())
    whole = Manifest(
        dataset=datasets.short_name(spec.dataset),
        fingerprint=manifest.fingerprint(wanted),
        spec=wanted,
        splits={split: SplitEntry(tuple(shards[split]), tallies[split]) for split in dataset.SPLITS if split in tallies},
        licence=dataset.LICENCE,
        citation=dataset.CITATION,
        built_with=_built_with(),
        files=files,
    )
    if whole.tally.kept:
        show.write_preview(Dataset(out, whole), storage.join(out, card.PICTURE))
    card.write(out, whole, _command(spec, wanted))
    manifest.write(out, whole)
    return whole


def _command(spec: BuildSpec, wanted: Mapping[str, Any]) -> str:
    """Return the command line that gives this dataset again."""
    words = ["t2vdata", "build", spec.dataset]
    if spec.root is not None:
        words += ["--root", "RAW_FILES"]
    defaults = datasets.option_values(datasets.load(spec.dataset).Options())
    for name, value in wanted["options"].items():
        if name == "n" or value != defaults.get(name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    for flag, value, default in (("seed", spec.seed, 0), ("shard-size", spec.shard_size, 1000)):
        words += [f"--{flag}", str(value)] if value != default else []
    encoding = {key: value for key, value in wanted["encoding"].items() if key in ("gop", "crf")}
    words += ["--encoding", spec.encoding.name] if spec.encoding != encode.Lossless() else []
    return " ".join(words + [f"--{key} {value}" for key, value in encoding.items()])


def _built_with() -> dict[str, str]:
    packages = ("numpy", "zstandard", "av", "pyarrow", "orjson")
    return {
        "t2vdata": t2vdata.__version__,
        "python": platform.python_version(),
        **{package: metadata.version(package) for package in packages},
    }


def _num_workers(asked: int | None) -> int:
    if asked is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if asked < 1:
        raise RequestError(f"--workers {asked}: expected 1 process or more")
    return asked

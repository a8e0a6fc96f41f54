"""`build_dataset`: build a dataset from its spec, resume an interrupted build, or restore lost shards.

The shard is the unit of work, of resuming and of reporting. A shard is a pure function of the spec and its plan, so it does
not matter which worker builds it, when, or how often.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from t2vdata.build import planning
from t2vdata.build.collect import ReportCollector
from t2vdata.build.finalize import finish
from t2vdata.build.job import BuildResult, Engine, Job, Progress
from t2vdata.build.planning import Splits, plan_shards, shard_name, shard_number
from t2vdata.build.resume import ExistingShards, has_tables, is_complete, lost_shards
from t2vdata.build.spec import BuildSpec
from t2vdata.engines import local
from t2vdata.errors import BuildError, RequestError
from t2vdata.format import manifest, tables
from t2vdata.format.manifest import Manifest
from t2vdata.types import Clip, ShardPlan

__all__ = ["BuildResult", "BuildSpec", "Engine", "Progress", "build_dataset"]


def build_dataset(
    spec: BuildSpec,
    out: str | os.PathLike[str] | None = None,
    *,
    num_workers: int | None = None,
    max_failures: float = 0.05,
    on_progress: Callable[[Progress], None] = lambda _: None,
    engine: Engine = local.run,
) -> BuildResult:
    """Build a dataset into the folder ``out`` (default: ``data/<dataset>``), or resume an interrupted build there.

    ``num_workers`` is the number of processes (default: one per core). ``max_failures`` is the share of clips that may fail,
    checked from 100 clips on. Raises RequestError for what cannot be built, OtherSpecError when ``out`` holds something else,
    StorageError when the disk or store refuses, TooManyFailuresError when too many clips fail. Finished shards are kept in
    every case, and the same call resumes from them.
    """
    if not 0 <= max_failures <= 1:
        raise RequestError(f"--max-failures {max_failures:g}: expected a share from 0 to 1")
    job = Job.prepare(spec, out, engine, num_workers)
    # Before anything is written, so that unreadable annotations are reported first.
    splits = planning.splits(job.dataset)
    checkpoint = job.checkpoint
    finished = checkpoint.open_folder()
    if finished is not None and not checkpoint.exists() and is_complete(job.folder, finished):
        return BuildResult(job.folder.url, finished, 0)
    if checkpoint.is_appending():
        raise RequestError(f"{job.folder}: --retry-failed was interrupted; run the same command again with --retry-failed")
    with checkpoint.locked() as check_still_ours, checkpoint.swept():
        # Checked again under the lock: another build may just have finished.
        finished = checkpoint.open_folder()
        if finished is not None and has_tables(sizes := job.folder.sizes(), finished):
            result = _restore_lost_shards(job, splits, finished, lost_shards(sizes, finished))
        else:
            _check_can_rebuild_tables(job, finished)
            result = _build_or_resume(job, splits, finished, max_failures, on_progress, check_still_ours)
        checkpoint.close()
    return result


def _restore_lost_shards(job: Job, splits: Splits, finished: Manifest, lost: set[str]) -> BuildResult:
    """Rebuild the shards that a finished dataset has lost."""
    splits = job.start(splits)
    expected = {shard.name: shard.sha256 for _, shard in finished.shards()}
    clips_built = 0
    with job.build_shards(_plans_of(lost, job, finished, splits), job.checkpoint.records_of_restoring) as reports:
        for report in reports:
            if report.sha256 != expected[report.name]:
                raise BuildError(
                    f"{report.name} has changed bytes in {job.folder}; run `t2vdata verify`, or choose another --out"
                )
            clips_built += report.tally.seen
    return BuildResult(job.folder.url, finished, clips_built)


def _plans_of(lost: set[str], job: Job, finished: Manifest, splits: Splits) -> Iterator[ShardPlan]:
    """Yield the plans of shards of a finished dataset, with the clips that the index lists for them."""
    clips_of: dict[str, dict[str, Clip]] = {}
    for index, (split, shard) in enumerate(finished.shards()):
        if shard.name in lost:
            if split not in clips_of:
                clips_of[split] = {clip.key: clip for clip in dict(splits).get(split, ())}
            keys = _keys_of_shard(job, index)
            gone = next((key for key in keys if key not in clips_of[split]), None)
            if gone is not None:
                raise BuildError(
                    f"{shard.name} of {job.folder} cannot be restored: the raw files no longer have its clip {gone}; "
                    "restore them, or choose another --out"
                )
            yield ShardPlan(split, shard_number(shard.name), [clips_of[split][key] for key in keys])


def _keys_of_shard(job: Job, index: int) -> list[str]:
    rows = job.folder.retry(lambda: tables.read_index(job.folder.url, ["key"], shards=range(index, index + 1)))
    keys: list[str] = rows["key"].to_pylist()
    return keys


def _check_can_rebuild_tables(job: Job, finished: Manifest | None) -> None:
    if finished is not None and manifest.APPENDED in finished.spec:
        raise RequestError(
            f"{job.folder} lost a table that cannot be rebuilt, since --retry-failed has appended clips; choose another --out"
        )


def _build_or_resume(
    job: Job,
    splits: Splits,
    before: Manifest | None,
    max_failures: float,
    on_progress: Callable[[Progress], None],
    check_still_ours: Callable[[], None],
) -> BuildResult:
    """Build the shards that do not exist yet, then write the tables and the manifest.

    ``before`` is the manifest of a finished dataset that lost a table.
    """
    splits = job.start(splits)
    num_clips = sum(len(clips) for _, clips in splits)
    clips_built = 0
    with tables.TableWriter(job.folder) as writer:
        collector = ReportCollector(
            job.checkpoint, writer, num_clips=num_clips, max_failures=max_failures, on_progress=on_progress
        )
        with job.build_shards(_missing_plans(job, splits, collector)) as reports:
            for report in reports:
                clips_built += report.tally.seen
                collector.add(report)
        if collector.tally.seen != num_clips:
            raise BuildError(f"{collector.tally.seen} clips seen, {num_clips} requested; this is a bug in {job.spec.dataset}")
        check_still_ours()
    splits_built = collector.splits()
    job.checkpoint.refuse_other_shards({shard.name for entry in splits_built.values() for shard in entry.shards})
    finished, kept = finish(job.folder, job.spec, job.spec_json, splits_built, writer.files, before=before)
    return BuildResult(job.folder.url, finished, clips_built, kept)


def _missing_plans(job: Job, splits: Splits, collector: ReportCollector) -> Iterator[ShardPlan]:
    """Yield the plans of shards that do not exist yet; pass the reports of the others to the collector."""
    clip_filters = job.dataset.clip_filters()
    existing = ExistingShards(job.checkpoint)
    for plan in plan_shards(job.spec, splits, clip_filters, saved_plan=existing.plan):
        name = shard_name(job.spec, plan.split, plan.index)
        collector.expect(name)
        report = existing.report(name)
        if report is not None:
            collector.add(report)
            continue
        if clip_filters:
            job.checkpoint.records.write_plan(name, plan)
        yield plan

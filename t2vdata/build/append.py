"""`retry_failed`: try failed and missing clips again, and append those that succeed as new shards.

The shards of the finished dataset never change. Its other files stay byte for byte as they are until the new tables and the
new manifest replace the old ones. If interrupted, the same call resumes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from t2vdata.build import planning
from t2vdata.build.finalize import finish
from t2vdata.build.job import BuildResult, Engine, Job, Progress
from t2vdata.build.planning import Splits, filtered_shards, shard_name, shard_number
from t2vdata.build.resume import ExistingShards, is_complete
from t2vdata.build.spec import BuildSpec
from t2vdata.engines import local
from t2vdata.errors import BuildError, RequestError
from t2vdata.format import manifest, tables
from t2vdata.format.manifest import Manifest, ShardEntry, SplitEntry
from t2vdata.storage import Folder
from t2vdata.types import Reject, ShardPlan, ShardReport, Tally


def retry_failed(
    spec: BuildSpec,
    out: str | os.PathLike[str] | None = None,
    *,
    num_workers: int | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    engine: Engine = local.run,
) -> BuildResult:
    """Retry the clips that a finished dataset lacks because they failed, or were rejected before a file was opened.

    Clips that were decoded and then rejected by a filter stay rejected. The dataset gets new shards after its old ones, new
    tables, card and vocabulary, and another fingerprint. Raises RequestError when there is no finished dataset of this spec
    in ``out``; otherwise as ``build_dataset``.
    """
    job = Job.prepare(spec, out, engine, num_workers)
    checkpoint = job.checkpoint
    finished = checkpoint.open_folder()
    if finished is None:
        raise RequestError(
            f"no finished dataset in {job.folder}, so there is nothing to retry; run the command without --retry-failed first"
        )
    if not checkpoint.is_appending() and not is_complete(job.folder, finished):
        raise RequestError(f"{job.folder} lost files; run the command without --retry-failed first, it restores them")
    splits = planning.splits(job.dataset)
    with checkpoint.locked() as check_still_ours, checkpoint.swept():
        splits = job.start(splits)
        before = checkpoint.keep_before()
        rejects = before.retry(lambda: tables.read_rejects(before.url))
        retried = {(reject.split, reject.key) for reject in rejects if _is_worth_retrying(reject)}
        existing = ExistingShards(checkpoint)
        plans = _plans(job, splits, Manifest.of_folder(before), retried, existing.plan)
        reports, clips_built = _build_missing(job, existing, plans, len(retried), on_progress)
        if sum(report.tally.seen for report in reports) != len(retried):
            raise BuildError(f"{len(retried)} clips to retry, but not all were seen; this is a bug in {spec.dataset}")
        remaining = [reject for reject in rejects if (reject.split, reject.key) not in retried]
        check_still_ours()
        appended, kept = _append(job, before, reports, remaining)
        checkpoint.close()
    return BuildResult(job.folder.url, appended, clips_built, kept)


def _is_worth_retrying(reject: Reject) -> bool:
    """Return whether the clip was left out only because its file was missing or unreadable."""
    return reject.kind == "failed" or reject.stage == "clip"


def _plans(
    job: Job, splits: Splits, old: Manifest, retried: set[tuple[str, str]], saved_plan: Callable[[str], Any]
) -> Iterator[ShardPlan]:
    clip_filters = job.dataset.clip_filters()
    for split, clips in splits:
        entry = old.splits.get(split)
        first = 1 + max((shard_number(shard.name) for shard in entry.shards), default=-1) if entry else 0
        retried_clips = (clip for clip in clips if (split, clip.key) in retried)
        yield from filtered_shards(job.spec, split, retried_clips, clip_filters, first=first, saved_plan=saved_plan)


def _build_missing(
    job: Job,
    existing: ExistingShards,
    plans: Iterator[ShardPlan],
    num_clips: int,
    on_progress: Callable[[Progress], None],
) -> tuple[list[ShardReport], int]:
    """Build the shards that do not exist; return the reports of all, in order, and the number of clips that this call tried."""
    report_of: dict[str, ShardReport | None] = {}
    num_tried = 0

    def missing() -> Iterator[ShardPlan]:
        for plan in plans:
            name = shard_name(job.spec, plan.split, plan.index)
            report_of[name] = existing.report(name)
            if report_of[name] is None:
                job.checkpoint.records.write_plan(name, plan)
                yield plan

    with job.build_shards(missing()) as reports:
        for report in reports:
            report_of[report.name] = report
            num_tried += report.tally.seen
            num_done = sum(finished.tally.seen for finished in report_of.values() if finished is not None)
            on_progress(Progress(num_done, num_clips))
    return [report for report in report_of.values() if report is not None], num_tried


def _append(
    job: Job, before: Folder, reports: Sequence[ShardReport], remaining: Sequence[Reject]
) -> tuple[Manifest, tuple[str, ...]]:
    """Write tables and manifest of the old shards and the new ones, split after split."""
    old = Manifest.of_folder(before)
    rejects = [*remaining, *(reject for report in reports for reject in report.rejects)]
    splits: dict[str, SplitEntry] = {}
    with tables.TableWriter(job.folder) as writer:
        for split in job.dataset.SPLITS:
            new = [report for report in reports if report.split == split]
            if not new and split not in old.splits:
                continue
            shards = [*old.splits[split].shards] if split in old.splits else []
            for index in old.shard_range(split) if split in old.splits else ():
                writer.copy(before, index)
            for report in new:
                if report.num_samples:
                    shards.append(ShardEntry(report.name, report.num_samples, report.num_bytes, report.sha256))
                writer.add(job.checkpoint.records.read_rows(report.name), ())
            tally = Tally.of(
                sum(shard.num_samples for shard in shards), (reject for reject in rejects if reject.split == split)
            )
            splits[split] = SplitEntry(tuple(shards), tally)
        writer.add(b"", rejects)
    appended = {
        **old.spec.get(manifest.APPENDED, {}),
        **{report.name: report.sha256 for report in reports if report.num_samples},
    }
    spec_json = {**job.spec_json, **({manifest.APPENDED: appended} if appended else {})}
    return finish(job.folder, job.spec, spec_json, splits, writer.files, before=old)

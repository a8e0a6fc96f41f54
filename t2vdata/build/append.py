"""Clips that failed, or whose files were not there, tried once more: those that come out are appended as new shards.

A finished dataset stays as it is, byte for byte, until the new tables and the new manifest take the place of the old ones;
its shards stay as they are for good. Stopped anywhere, the same call goes on.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from t2vdata import datasets
from t2vdata.build import checkpoint, planning
from t2vdata.build.finalize import finish
from t2vdata.build.planning import Splits, filtered_shards, shard_name, shard_number
from t2vdata.build.resume import ExistingShards
from t2vdata.build.run import (
    BuildResult,
    Engine,
    Progress,
    check_can_build,
    default_folder,
    has_tables,
    learn_archives,
    lost_shards,
    workers_or_all,
)
from t2vdata.build.shard import build_shard
from t2vdata.build.spec import BuildSpec
from t2vdata.engines import local
from t2vdata.errors import BuildError, RequestError
from t2vdata.format import manifest, tables
from t2vdata.format.manifest import Manifest, ShardEntry, SplitEntry
from t2vdata.types import Reject, ShardPlan, ShardReport, Tally


def retry_failed(
    spec: BuildSpec,
    out: str | os.PathLike[str] | None = None,
    *,
    num_workers: int | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    engine: Engine = local.run,
) -> BuildResult:
    """Try again what is not in a finished dataset because it failed, or was left out before any file was opened.

    Clips that were decoded and then left out by a filter stay left out. The dataset gets new shards after its old ones, new
    tables, card and vocabulary, and another fingerprint. Raises RequestError when there is no finished dataset of this spec
    in ``out``; otherwise as ``build_dataset``.
    """
    folder = os.fspath(out) if out is not None else default_folder(spec)
    num_workers = workers_or_all(num_workers)
    check_can_build(spec)
    wanted = spec.as_json()
    finished = checkpoint.open_folder(folder, wanted)
    if finished is None:
        raise RequestError(
            f"no finished dataset in {folder}, so nothing failed yet; run the command without --retry-failed first"
        )
    if not checkpoint.is_appending(folder) and (not has_tables(folder, finished) or lost_shards(folder, finished)):
        raise RequestError(f"{folder} lost files; run the command without --retry-failed first, it makes them again")
    splits = planning.splits(spec)
    with checkpoint.locked(folder) as check_still_ours, checkpoint.swept(folder):
        checkpoint.start(folder, wanted)
        splits = learn_archives(spec, folder, engine, num_workers=num_workers) or splits
        stock = ExistingShards(folder)
        before = checkpoint.keep_before(folder)
        old = manifest.read(before)
        rejects = tables.read_rejects(before)
        again = {(reject.split, reject.key) for reject in rejects if _is_worth_it(reject)}
        planned = _plans(spec, splits, old, again, stock.plan)
        work = functools.partial(build_shard, spec, folder)
        reports, built = _built(
            stock, spec, planned, len(again), on_progress, functools.partial(engine, work, num_workers=num_workers)
        )
        if sum(report.tally.seen for report in reports) != len(again):
            raise BuildError(f"{len(again)} clips to try again, but not all were seen; this is a bug in {spec.dataset}")
        stay = [reject for reject in rejects if (reject.split, reject.key) not in again]
        check_still_ours()
        whole = _append(folder, spec, wanted, before, reports, stay)
        checkpoint.close_folder(folder)
    return BuildResult(folder, whole, built)


def _is_worth_it(reject: Reject) -> bool:
    """Return whether a clip may come out otherwise this time: nothing but its file, or the reading of it, kept it out."""
    return reject.kind == "failed" or reject.stage == "clip"


def _plans(
    spec: BuildSpec, splits: Splits, old: Manifest, again: set[tuple[str, str]], planned: Callable[[str], Any]
) -> Iterator[ShardPlan]:
    for split, clips in splits:
        entry = old.splits.get(split)
        first = 1 + max((shard_number(shard.name) for shard in entry.shards), default=-1) if entry else 0
        wanted = (clip for clip in clips if (split, clip.key) in again)
        yield from filtered_shards(spec, split, wanted, first=first, planned=planned)


def _built(
    stock: ExistingShards,
    spec: BuildSpec,
    plans: Iterator[ShardPlan],
    total: int,
    on_progress: Callable[[Progress], None],
    run: Callable[[Iterator[ShardPlan]], Any],
) -> tuple[list[ShardReport], int]:
    """Build the shards that are not there; return the reports of all, in order, and the number of clips tried now."""
    there: dict[str, ShardReport | None] = {}
    tried = 0

    def missing() -> Iterator[ShardPlan]:
        for one in plans:
            name = shard_name(spec, one.split, one.index)
            there[name] = stock.report(name)
            if there[name] is None:
                checkpoint.write_plan(stock.out, name, one)
                yield one

    # Closed, so that no worker outlives an error or Ctrl-C here.
    with contextlib.closing(run(missing())) as reports:
        for report in reports:
            there[report.name] = report
            tried += report.tally.seen
            on_progress(Progress(sum(one.tally.seen for one in there.values() if one is not None), total))
    return [report for report in there.values() if report is not None], tried


def _append(
    out: str, spec: BuildSpec, wanted: Mapping[str, Any], before: str, reports: Sequence[ShardReport], stay: Sequence[Reject]
) -> Manifest:
    """Write tables and manifest of the old shards and the new ones, split after split."""
    old = manifest.read(before)
    rejects = [*stay, *(reject for report in reports for reject in report.rejects)]
    splits: dict[str, SplitEntry] = {}
    with tables.TableWriter(out) as writer:
        for split in datasets.load(spec.dataset).SPLITS:
            new = [report for report in reports if report.split == split]
            shards = [*old.splits[split].shards] if split in old.splits else []
            if not new and split not in old.splits:
                continue
            for place in old.shard_range(split) if split in old.splits else ():
                writer.copy(before, place)
            for report in new:
                if report.num_samples:
                    shards.append(ShardEntry(report.name, report.num_samples, report.num_bytes, report.sha256))
                writer.add(checkpoint.read_rows(out, report.name), ())
            tally = Tally.of(sum(shard.num_samples for shard in shards), (one for one in rejects if one.split == split))
            splits[split] = SplitEntry(tuple(shards), tally)
        writer.add(b"", rejects)
    appended = {**old.spec.get(manifest.APPENDED, {}), **{one.name: one.sha256 for one in reports if one.num_samples}}
    return finish(out, spec, {**wanted, **({manifest.APPENDED: appended} if appended else {})}, splits, writer.files)

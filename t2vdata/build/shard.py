"""`ShardBuilder`: builds one shard after another, in a worker process or in this one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from t2vdata.build.planning import shard_name
from t2vdata.build.records import Records, json_line
from t2vdata.build.spec import BuildSpec
from t2vdata.datasets import Dataset
from t2vdata.errors import ClipError
from t2vdata.filters import first_reason
from t2vdata.format.sample import to_row, to_sample
from t2vdata.format.shards import ShardWriter
from t2vdata.media import encode
from t2vdata.storage import Folder, prefetch
from t2vdata.types import Reject, Sample, ShardPlan, ShardReport


@dataclass(frozen=True)
class ShardBuilder:
    """The work that an engine gives to its workers: plain data, so that a worker process gets a copy.

    Each copy opens the dataset once, for its first shard, and keeps it.
    """

    spec: BuildSpec
    out: Folder
    records: Records

    @functools.cached_property
    def dataset(self) -> Dataset:
        return self.spec.open()

    def __reduce__(self) -> tuple[Any, ...]:
        return ShardBuilder, (self.spec, self.out, self.records)

    def __call__(self, plan: ShardPlan) -> ShardReport:
        """Build one shard and write its report.

        A ClipError counts that clip as failed; any other exception is a bug and propagates, with the clip's key as a note.
        """
        name = shard_name(self.spec, plan.split, plan.index)
        rejects = list(plan.rejects)
        # As text: dicts would take several times the memory until the shard is finished.
        rows: list[bytes] = []
        num_bytes, sha256 = 0, ""
        if plan.clips:
            with self.out.writing(name) as file:
                writer = ShardWriter(file)
                for sample, row in samples(self.spec, self.dataset, plan, rejects):
                    rows.append(json_line({**row, **to_row(sample, writer.add(sample), name)}))
                sha256 = writer.close()
                num_bytes = writer.num_bytes
        if not rows:
            # Some readers fail on a tar without a sample.
            self.out.remove(name)
            num_bytes, sha256 = 0, ""
        report = ShardReport(name, plan.split, len(rows), num_bytes, sha256, tuple(rejects), rows)
        self.records.write_report(report)
        # The rows are read again from the report, a shard at a time, when the index is written.
        return replace(report, rows=())


def samples(
    spec: BuildSpec,
    dataset: Dataset,
    plan: ShardPlan,
    rejects: list[Reject],
    *,
    on_stage: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[Sample, dict[str, Any]]]:
    """Yield the sample and the index columns of each clip that is kept; append the others to ``rejects``.

    ``on_stage`` is called with ``render``, ``frames`` and ``encode`` as each clip enters that stage, then with ``done``.
    """
    encoding, frame_filters = spec.encoding, dataset.frame_filters()
    with prefetch.Prefetcher(plan.clips):
        for clip in plan.clips:
            on_stage(stage := "render")
            try:
                frames = dataset.render(clip)
                on_stage(stage := "frames")
                reason = first_reason(frames, frame_filters)
                if reason is not None:
                    rejects.append(Reject(clip.key, plan.split, stage, "rejected", reason, reason))
                    continue
                on_stage(stage := "encode")
                original = dataset.original(clip)
                if original is None:
                    frames = encoding.fit(frames)
                encoded = encoding.encode(frames) if original is None else encode.keep_original(original, frames)
                result = to_sample(clip, plan.split, frames, encoded, encoding.extension)
                on_stage("done")
            except ClipError as error:
                rejects.append(Reject(clip.key, plan.split, stage, "failed", type(error).__name__, str(error)))
                continue
            except Exception as error:
                error.add_note(f"while building clip {clip.key} of {spec.dataset}")
                raise
            yield result

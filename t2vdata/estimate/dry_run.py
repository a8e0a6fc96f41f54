"""A dry run: the clips of each split after the filters that read no pixels, and size and time from a sample of 20 clips.

Writes nothing.
"""

from __future__ import annotations

import io
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from t2vdata.build import planning
from t2vdata.build.planning import plan_shards, shard_name
from t2vdata.build.records import json_line
from t2vdata.build.shard import samples
from t2vdata.build.spec import BuildSpec, check_can_build
from t2vdata.datasets import Dataset
from t2vdata.engines import local
from t2vdata.format.sample import to_row
from t2vdata.format.shards import ShardWriter
from t2vdata.storage import archives
from t2vdata.types import Clip, Reject, ShardPlan, Tally

# Enough to know the size of an average clip to about a quarter, and built in seconds.
NUM_SAMPLED = 20
# Number of archives whose first files are listed.
_NUM_LISTED_ARCHIVES = 4


@dataclass(frozen=True)
class SplitEstimate:
    """A split after the filters that read no pixels."""

    num_clips: int
    """Clips that pass these filters. Later filters may still reject some of them."""
    rejected: Mapping[str, int]
    """{reason: number of clips}"""


@dataclass(frozen=True)
class DryRun:
    """Size and time of a build. Everything but the numbers of clips is extrapolated from the sampled clips."""

    splits: Mapping[str, SplitEstimate]
    sampled: Tally
    """Outcome of the sampled clips."""
    bytes_per_clip: float
    """Mean size in a shard of the sampled clips that were kept; 0 if none was kept."""
    seconds_per_clip: float
    """On one core, mean over all sampled clips."""
    num_workers: int

    @property
    def num_clips(self) -> int:
        return sum(split.num_clips for split in self.splits.values())

    @property
    def num_kept(self) -> int:
        """Expected number of clips in the shards."""
        return round(self.num_clips * self.sampled.kept / self.sampled.seen) if self.sampled.seen else 0

    @property
    def num_bytes(self) -> float:
        """Expected size of all shards."""
        return self.num_kept * self.bytes_per_clip

    @property
    def seconds(self) -> float:
        """Expected time on all workers, without start-up and without writing the index."""
        return self.num_clips * self.seconds_per_clip / self.num_workers


def dry_run(spec: BuildSpec, *, num_workers: int | None = None, num_sampled: int = NUM_SAMPLED) -> DryRun:
    """Plan a build and build ``num_sampled`` of its clips in this process, without writing anything.

    Raises what ``build_dataset`` raises for a spec that cannot be built or for missing raw files.
    """
    workers = local.resolve_num_workers(num_workers)
    dataset = spec.open()
    check_can_build(spec, dataset)
    in_archives = list_some_archives(dataset, num_sampled)
    num_clips: Counter[str] = Counter()
    rejected: dict[str, Tally] = {}

    def counted(plans: Iterable[ShardPlan]) -> Iterator[ShardPlan]:
        for plan in plans:
            num_clips[plan.split] += len(plan.clips)
            rejected[plan.split] = rejected.get(plan.split, Tally()) + Tally.of(0, plan.rejects)
            yield plan

    plans = counted(plan_shards(spec, planning.splits(dataset), dataset.clip_filters()))
    trial = build_trial(spec, dataset, choose_clips(plans, num_sampled=num_sampled, in_archives=in_archives))
    tally = trial.tally
    return DryRun(
        {split: SplitEstimate(num_clips[split], filtered.rejected) for split, filtered in rejected.items()},
        tally,
        trial.num_bytes / tally.kept if tally.kept else 0.0,
        trial.seconds / tally.seen if tally.seen else 0.0,
        workers,
    )


def list_some_archives(dataset: Dataset, num_sampled: int) -> bool:
    """List the first files of a few archives; return whether the dataset has archives.

    Clips beyond the listed files are assumed to exist.
    """
    all_archives = dataset.archives()
    if all_archives:
        listed = all_archives[:: -(-len(all_archives) // _NUM_LISTED_ARCHIVES)]
        num_files = -(-2 * num_sampled // len(listed))
        contents = [archives.contents(archive, num_files) for archive in listed]
        is_complete = len(listed) == len(all_archives) and all(len(archive.members) < num_files for archive in contents)
        dataset.learn(contents, is_complete=is_complete)
    return bool(all_archives)


def choose_clips(
    plans: Iterable[ShardPlan], *, num_sampled: int = NUM_SAMPLED, in_archives: bool = False
) -> list[tuple[str, Clip]]:
    """Return (split, clip) of up to ``num_sampled`` random clips: all clips are equally likely, and the choice is always the
    same.

    Reservoir sampling: no other clip is created or held. Clips in archives come from the listed start of an archive and
    are sorted by offset, so that each archive is read once, and not to its end.
    """
    random_numbers = random.Random(0)  # noqa: S311  # no secret
    chosen: list[tuple[str, Clip]] = []
    num_seen = 0
    for plan in plans:
        for index in range(len(plan.clips)):
            if in_archives and (media := plan.clips[index].media) is not None and media.is_in_unread_archive:
                continue
            slot = num_seen if num_seen < num_sampled else random_numbers.randrange(num_seen + 1)
            num_seen += 1
            if slot < num_sampled:
                chosen[slot : slot + 1] = [(plan.split, plan.clips[index])]
    archived = [
        (media.path, media.offset, index)
        for index, (_, clip) in enumerate(chosen)
        if (media := clip.media) is not None and media.offset is not None
    ]
    return [chosen[index] for _, _, index in sorted(archived)] if len(archived) == len(chosen) else chosen


@dataclass(frozen=True)
class Trial:
    """A few clips, built in memory."""

    tally: Tally
    num_bytes: int
    """Size of the kept clips in a shard."""
    seconds: float
    """Time for all of them on one core."""
    rows: Sequence[bytes]
    """Their rows of the index, as in shard reports."""


def build_trial(
    spec: BuildSpec, dataset: Dataset, clips: Sequence[tuple[str, Clip]], *, on_stage: Callable[[str], None] = lambda _: None
) -> Trial:
    """Build clips in this process; ``on_stage`` is called as by ``build.shard.samples``, once the clock has started."""
    rejects: list[Reject] = []
    rows: list[bytes] = []
    writer = ShardWriter(io.BytesIO())
    if clips:
        # Once before the clock starts: the first clip also pays for imports and for starting the decoder's process.
        split, clip = clips[0]
        list(samples(spec, dataset, ShardPlan(split, 0, [clip]), []))
    start = time.perf_counter()
    for split, clip in clips:
        for sample, row in samples(spec, dataset, ShardPlan(split, 0, [clip]), rejects, on_stage=on_stage):
            rows.append(json_line({**row, **to_row(sample, writer.add(sample), shard_name(spec, split, 0))}))
    seconds = time.perf_counter() - start
    return Trial(Tally.of(writer.num_samples, rejects), writer.num_bytes, seconds, rows)

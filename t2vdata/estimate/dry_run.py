"""What a build would give: clips per split after the cheap filters, and bytes and time by a sample of them. Writes nothing."""

from __future__ import annotations

import io
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from t2vdata import datasets
from t2vdata.build import planning
from t2vdata.build.checkpoint import json_line
from t2vdata.build.planning import plan_shards, shard_name
from t2vdata.build.shard import samples
from t2vdata.build.spec import BuildSpec, check_can_build
from t2vdata.engines import local
from t2vdata.format.sample import to_row
from t2vdata.format.shards import ShardWriter
from t2vdata.storage import archives
from t2vdata.types import Clip, Reject, ShardPlan, Tally

# As many as say the size of an average clip to about a quarter, and are done in seconds.
SAMPLE = 20
# Archives that are looked into.
_PEEKED = 4


@dataclass(frozen=True)
class SplitForecast:
    """A split before any of its pixels are made."""

    clips: int
    """Clips that pass the filters which look at no pixel; others may still be left out."""
    rejected: Mapping[str, int]
    """{reason: clips}"""


@dataclass(frozen=True)
class Forecast:
    """What a build would give. All but the counts of clips are estimates from a few of them."""

    splits: Mapping[str, SplitForecast]
    sampled: Tally
    """What became of the sampled clips."""
    bytes_per_clip: float
    """In a shard, of the sampled clips that were kept; 0 when none was."""
    seconds_per_clip: float
    """On one core, of all sampled clips."""
    num_workers: int

    @property
    def clips(self) -> int:
        return sum(split.clips for split in self.splits.values())

    @property
    def kept(self) -> int:
        """Clips that would be kept."""
        return round(self.clips * self.sampled.kept / self.sampled.seen) if self.sampled.seen else 0

    @property
    def num_bytes(self) -> float:
        """Bytes of all shards."""
        return self.kept * self.bytes_per_clip

    @property
    def seconds(self) -> float:
        """Time that the clips take on all workers. Starting up and writing the index come on top."""
        return self.clips * self.seconds_per_clip / self.num_workers


def forecast(spec: BuildSpec, *, num_workers: int | None = None) -> Forecast:
    """Plan a build and make a few of its clips, in this process and without writing anything.

    Raises what ``build_dataset`` raises for a spec that cannot be built, or for raw files that are missing.
    """
    workers = local.resolve_num_workers(num_workers)
    check_can_build(spec)
    in_archives = peek(spec)
    counts: dict[str, list[int]] = {}
    rejected: dict[str, Tally] = {}

    def counted(plans: Iterable[ShardPlan]) -> Iterator[ShardPlan]:
        for one in plans:
            counts.setdefault(one.split, []).append(len(one.clips))
            rejected[one.split] = rejected.get(one.split, Tally()) + Tally.of(0, one.rejects)
            yield one

    made = make(spec, choose(counted(plan_shards(spec, planning.splits(spec))), in_archives=in_archives))
    tally = made.tally
    return Forecast(
        {split: SplitForecast(sum(counts[split]), rejected[split].rejected) for split in counts},
        tally,
        made.num_bytes / tally.kept if tally.kept else 0.0,
        made.seconds / tally.seen if tally.seen else 0.0,
        workers,
    )


def peek(spec: BuildSpec) -> bool:
    """Look at the first files of a few archives, and return whether there are any: clips beyond them are taken for there."""
    found = datasets.archives(spec.dataset, spec.root, spec.resolved)
    if found:
        some = found[:: -(-len(found) // _PEEKED)]
        each = -(-2 * SAMPLE // len(some))
        seen = [archives.contents(one, each) for one in some]
        is_all = len(some) == len(found) and all(len(one.members) < each for one in seen)
        datasets.learn(spec.dataset, spec.root, seen, is_all=is_all)
    return bool(found)


def choose(plans: Iterable[ShardPlan], *, in_archives: bool = False) -> list[tuple[str, Clip]]:
    """Return (split, clip) of a few clips, each as likely as any other and the same every time; makes and holds no others.

    Of clips in archives, those near the start of one; each archive is then read once, and not to its end.
    """
    draws = random.Random(0)  # noqa: S311  # no secret
    chosen: list[tuple[str, Clip]] = []
    seen = 0
    for one in plans:
        for number in range(len(one.clips)):
            if in_archives and (media := one.clips[number].media) is not None and media.is_in_unread_archive:
                continue
            place = seen if seen < SAMPLE else draws.randrange(seen + 1)
            seen += 1
            if place < SAMPLE:
                chosen[place : place + 1] = [(one.split, one.clips[number])]
    archived = [
        (media.path, media.offset, index)
        for index, (_, clip) in enumerate(chosen)
        if (media := clip.media) is not None and media.offset is not None
    ]
    return [chosen[index] for _, _, index in sorted(archived)] if len(archived) == len(chosen) else chosen


@dataclass(frozen=True)
class Made:
    """A few clips, made on trial."""

    tally: Tally
    num_bytes: int
    """Of those that were kept, in a shard."""
    seconds: float
    """On one core, of all of them."""
    rows: Sequence[bytes]
    """Of the index, as reports hold them."""


def make(spec: BuildSpec, chosen: Sequence[tuple[str, Clip]], *, on_stage: Callable[[str], None] = lambda _: None) -> Made:
    """Make some clips in this process; ``on_stage`` is called as for ``work.samples``, once the clock runs."""
    rejects: list[Reject] = []
    rows: list[bytes] = []
    writer = ShardWriter(io.BytesIO())
    if chosen:
        # Once before the clock starts: the first clip also pays for imports and for starting the decoder's process.
        list(samples(spec, ShardPlan(chosen[0][0], 0, [chosen[0][1]]), []))
    begun = time.perf_counter()
    for split, clip in chosen:
        for sample, row in samples(spec, ShardPlan(split, 0, [clip]), rejects, on_stage=on_stage):
            rows.append(json_line({**row, **to_row(sample, writer.add(sample), shard_name(spec, split, 0))}))
    seconds = time.perf_counter() - begun
    return Made(Tally.of(writer.num_samples, rejects), writer.num_bytes, seconds, rows)

"""Which clips go into which shard: the splits of a spec, the plan of each shard, and shard names."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence

from t2vdata.build.spec import BuildSpec
from t2vdata.datasets import Dataset
from t2vdata.filters import ClipFilter, HasCaption, Storable, first_reason
from t2vdata.types import Clip, Reject, SavedPlan, ShardPlan

Splits = Sequence[tuple[str, Sequence[Clip]]]


def splits(dataset: Dataset) -> Splits:
    """Return (split, clips) of the splits that have clips."""
    return [(split, clips) for split in dataset.SPLITS if len(clips := dataset.clips(split))]


def plan_shards(
    spec: BuildSpec,
    splits: Splits,
    clip_filters: Sequence[ClipFilter],
    *,
    saved_plan: Callable[[str], SavedPlan | None] = lambda _: None,
) -> Iterator[ShardPlan]:
    """Yield the plan of each shard, split after split, lazily: planning millions of clips takes no memory.

    ``saved_plan`` returns how an interrupted build planned the shard of that name, if it did: it is planned the same way.
    """
    for split, clips in splits:
        if isinstance(clips, list | tuple) or clip_filters:
            yield from filtered_shards(spec, split, clips, clip_filters, saved_plan=saved_plan)
        else:
            # Slices of a lazy sequence: workers create the clips.
            starts = range(0, len(clips), spec.shard_size)
            yield from (ShardPlan(split, index, clips[start : start + spec.shard_size]) for index, start in enumerate(starts))


def filtered_shards(
    spec: BuildSpec,
    split: str,
    clips: Iterable[Clip],
    clip_filters: Sequence[ClipFilter],
    *,
    first: int = 0,
    saved_plan: Callable[[str], SavedPlan | None] = lambda _: None,
) -> Iterator[ShardPlan]:
    """Yield full shards, numbered from ``first``, of the clips that pass the filters; each carries its rejects."""
    remaining = iter(clips)
    for index in itertools.count(first):
        saved = saved_plan(shard_name(spec, split, index))
        if saved is None:
            kept, rejects = _next_clips(split, remaining, [HasCaption(), Storable(), *clip_filters], spec.shard_size)
        else:
            rejects = list(saved.rejects)
            rejected_keys = {reject.key for reject in rejects}
            kept = [clip for clip in itertools.islice(remaining, saved.num_clips) if clip.key not in rejected_keys]
        if not kept and not rejects:
            return
        yield ShardPlan(split, index, kept, tuple(rejects))


def shard_name(spec: BuildSpec, split: str, index: int) -> str:
    """Return the name of a shard, unique among datasets and splits: loaders cache by it."""
    return f"{spec.dataset_name}-{split}-{index:06d}.tar"


def shard_number(name: str) -> int:
    """Return the number in a shard's name."""
    return int(name.removesuffix(".tar").rsplit("-", 1)[1])


def _next_clips(
    split: str, clips: Iterator[Clip], clip_filters: Sequence[ClipFilter], max_clips: int
) -> tuple[list[Clip], list[Reject]]:
    """Return the next clips that pass the filters, at most ``max_clips``, and those rejected on the way."""
    kept, rejects = list[Clip](), list[Reject]()
    for clip in clips:
        try:
            reason = first_reason(clip, clip_filters)
        except Exception as error:
            error.add_note(f"while filtering clip {clip.key} of split {split}")
            raise
        if reason is not None:
            message = f"{clip.source}: {reason}" if clip.source else reason
            rejects.append(Reject(clip.key, split, "clip", "rejected", reason, message))
            continue
        kept.append(clip)
        if len(kept) == max_clips:
            break
    return kept, rejects

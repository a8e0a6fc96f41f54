"""Read and decode the clips of a batch into its buffer, in a thread or a process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from t2vdata.errors import ClipError, DecodeError, ShardError
from t2vdata.loading.checks import read_pixels
from t2vdata.loading.transforms import Decision, decisions, fit
from t2vdata.media.color import to_luma
from t2vdata.media.decode import selected

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from t2vdata.loading.reader import Reader

    Array = NDArray[np.uint8]


class Failure(NamedTuple):
    """A clip of a batch that could not be decoded."""

    position: int
    """In the batch."""
    error: str
    """Name of the error's class."""
    message: str


@dataclass(frozen=True)
class BatchDecoder:
    """Decodes clips from shards; safe for several threads at once."""

    reader: Reader
    extensions: Sequence[str]
    """``Decision.extension`` is an index into these."""

    def decode(self, batch: Array, job: NDArray[Any]) -> list[Failure]:
        """Write the clips of a job into ``batch``, (B, T, H, W, C) uint8; return those that failed."""
        return decode_each(batch, job, self._decode_one)

    def _decode_one(self, out: Array, decision: Decision) -> None:
        data = read_pixels(self.reader, decision)
        first = int(decision.frames[0])
        frames = range(first, first + len(out)) if decision.is_run else decision.frames
        # Pixels that need no transform are decoded straight into the batch.
        is_plain = not decision.flip and (*out.shape[1:],) == (decision.height, decision.width, decision.channels)
        target = out if is_plain else None
        pixels = selected.decode(
            self.extensions[decision.extension],
            data,
            frames,
            channels=decision.channels,
            out=target,
            max_pixels=decision.num_pixels,
        )
        if pixels is not out:
            fit(with_channels(pixels, out.shape[3]), decision, out)


def decode_each(batch: Any, job: NDArray[Any], decode_one: Callable[[Any, Decision], None]) -> list[Failure]:
    """Call ``decode_one(clip's part of the batch, decision)`` for each clip of a job; return those that failed.

    A clip that is too short, a sample that cannot be decoded and a shard that differs from its manifest are failures. If
    storage cannot be reached, the error propagates.
    """
    failures = []
    for position, decision in enumerate(decisions(job)):
        out = batch[position]
        try:
            if decision.frames[0] < 0:
                raise DecodeError(f"too short for {len(out)} frames, and LoadSpec.short is 'refuse'")
            decode_one(out, decision)
        except (ClipError, ShardError) as error:
            failures.append(Failure(position, type(error).__name__, str(error)))
    return failures


def with_channels(pixels: Array, channels: int) -> Array:
    """Return frames as grey (luma of BT.601) or RGB (grey repeated)."""
    import numpy as np

    if pixels.shape[3] == channels:
        return pixels
    if channels == 3:
        return np.broadcast_to(pixels, (*pixels.shape[:3], 3))
    return to_luma(pixels)

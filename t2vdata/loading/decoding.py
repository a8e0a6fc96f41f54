"""The work of a batch: read what was decided on, decode it, and put it where the batch lies. In a thread or in a process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from t2vdata.errors import ClipError, DecodeError, ShardError
from t2vdata.loading.transforms import Decision, decisions, fit
from t2vdata.media.color import to_luma
from t2vdata.media.decode import selected

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from t2vdata.loading.reader import Reader

    Array = NDArray[np.uint8]


class Failure(NamedTuple):
    """A place of a batch that could not be filled."""

    place: int
    error: str
    """Name of the error's class."""
    message: str


@dataclass(frozen=True)
class Filler:
    """Fills batches from shards; safe for several threads at once."""

    reader: Reader
    extensions: Sequence[str]
    """What ``Decision.extension`` counts."""

    def fill(self, batch: Array, job: NDArray[Any]) -> list[Failure]:
        """Write the clips of a job into ``batch``, (B, T, H, W, C) uint8; return the places that could not be filled."""
        return fill_each(batch, job, self._fill_one)

    def _fill_one(self, out: Array, decision: Decision) -> None:
        data = self.reader.read(decision.shard, decision.offset, decision.size)
        first = int(decision.frames[0])
        frames = range(first, first + len(out)) if decision.is_run else decision.frames
        # Without anything to change on the way, pixels are decoded straight into the batch.
        is_plain = not decision.flip and (*out.shape[1:],) == (decision.height, decision.width, decision.channels)
        target = out if is_plain else None
        pixels = selected.decode(self.extensions[decision.extension], data, frames, channels=decision.channels, out=target)
        if pixels is not out:
            fit(with_channels(pixels, out.shape[3]), decision, out)


def fill_each(batch: Any, job: NDArray[Any], fill_one: Callable[[Any, Decision], None]) -> list[Failure]:
    """Call ``fill_one(place of the batch, decision)`` for each clip of a job; return the places that could not be filled.

    A clip that is too short, a sample that does not decode, or a shard that is not what the manifest says, is a failure;
    storage that cannot be reached is an error, and flies.
    """
    failures = []
    for place, decision in enumerate(decisions(job)):
        out = batch[place]
        try:
            if decision.frames[0] < 0:
                raise DecodeError(f"too short for {len(out)} frames as asked (LoadSpec.short is 'refuse')")
            fill_one(out, decision)
        except (ClipError, ShardError) as error:
            failures.append(Failure(place, type(error).__name__, str(error)))
    return failures


def with_channels(pixels: Array, channels: int) -> Array:
    """Return frames as grey or RGB: grey three times over, or luma as in BT.601."""
    import numpy as np

    if pixels.shape[3] == channels:
        return pixels
    if channels == 3:
        return np.broadcast_to(pixels, (*pixels.shape[:3], 3))
    return to_luma(pixels)

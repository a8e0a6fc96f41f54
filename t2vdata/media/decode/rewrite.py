"""What decoders other than PyAV are given: the file itself, or a clean copy where they would read it in different ways.

Copied are files that are damaged, with hidden frames, several video streams, times that run backwards, or in a container
without a time for each frame. The packets that decode, and no others, go into a NUT file (of FFmpeg's containers the one for
every codec) with frame numbers for times. Then no other demuxer meets the original, and each decoder counts the same frames
in the same order.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from t2vdata.errors import DecodeError
from t2vdata.media.decode import probe as probing
from t2vdata.media.decode.probe import Probe

# Only the order is used. One frame a second, as decord refuses what it measures at less than a second.
_STEP_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Readable:
    """A source in which every decoder finds the same frames."""

    source: bytes | str
    num_frames: int
    """Frames that a decoder should count in it."""
    first: int = 0
    """Where the first frame of the original is: before it come those that are decoded but not shown."""
    turns: int = 0
    """Quarter turns against the clock that are still to be made: a copy does not say how it was held."""


def readable(probe: Probe, containers: Sequence[str] = ("nut",)) -> Readable:
    """Return the file itself, or its clean copy in memory, in the first of ``containers`` that has room for its codec.

    Raises DecodeError for what cannot be copied.
    """
    # Rotated ones are turned here: decord's own turning trips over widths that are no multiple of 16.
    if probe.is_plain and not probe.turns:
        assert isinstance(probe.source, bytes | str)  # noqa: S101  # other decoders than PyAV's are given nothing else
        return Readable(probe.source, probe.num_frames)
    places = _places(probe)
    for container in containers[:-1]:
        with contextlib.suppress(DecodeError):
            return _copy(probe, places, container)
    return _copy(probe, places, containers[-1])


def _places(probe: Probe) -> dict[int, int]:
    """Return {ordinal of a packet: place of its frame among those that the copy shows}."""
    shown = {ordinal: place for place, ordinal in enumerate(probe.order)}
    first = min(probe.order)
    late = [ordinal for ordinal in range(first, max(probe.order) + 1) if ordinal not in shown]
    if len(shown) != len(probe.order) or (late and probe.damage is None):
        raise DecodeError("its packets do not hold one frame each; use backend='pyav'")
    places = {ordinal: ordinal for ordinal in range(first)}
    places |= {ordinal: first + place for ordinal, place in shown.items()}
    # Behind the frames before the damage come those that were still to be shown.
    return places | {ordinal: first + len(shown) + number for number, ordinal in enumerate(late)}


def _copy(probe: Probe, places: dict[int, int], into: str) -> Readable:
    import av

    delay = max(ordinal - place for ordinal, place in places.items())
    file, base = io.BytesIO(), Fraction(1, 1000)
    step = _STEP_SECONDS * 1000
    try:
        with probing.opened(probe.source, probe.demuxer) as (container, stream), av.open(file, "w", format=into) as out:
            # Opaque: PyAV would ask for an encoder of that name otherwise.
            copy = out.add_stream_from_template(stream, opaque=True)
            copy.time_base, copy.codec_context.framerate = base, Fraction(1, _STEP_SECONDS)
            for ordinal, packet in zip(range(len(places)), probing.packets(container, stream), strict=False):
                packet.stream, packet.time_base = copy, base
                packet.pts, packet.dts, packet.duration = places[ordinal] * step, (ordinal - delay) * step, step
                out.mux(packet)
    except (av.FFmpegError, ValueError) as error:
        raise DecodeError(f"its {probe.codec} stream cannot be copied ({error}); use backend='pyav'") from error
    return Readable(file.getvalue(), len(places), min(probe.order), probe.turns)

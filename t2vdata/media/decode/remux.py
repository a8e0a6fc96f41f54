"""The input of the backends other than PyAV: the file itself, or a clean copy if they would read the file differently.

Files are copied if they are damaged, have hidden frames, several video streams or times that run backwards, are in a container
without a time for each frame, or have a key frame at which decoding cannot begin: open groups of pictures, intra refresh. Only
sound key frames stay marked, so that no decoder begins elsewhere. The packets that decode, and no others, go into a NUT file
(FFmpeg's container for every codec) with frame numbers as times. So no other demuxer reads the original, and every decoder
counts the same frames in the same order.
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
from t2vdata.media.display_geometry import UPRIGHT, Orientation

# Only the order matters. One frame a second, because decord refuses files that it measures at under a second.
_STEP_SECONDS = 1


@dataclass(frozen=True, slots=True)
class Readable:
    """A source in which every backend finds the same frames."""

    source: bytes | str
    num_frames: int
    """The number of frames that a decoder should count."""
    first: int = 0
    """Index of the original's first frame; the frames before it are decoded but not shown."""
    orientation: Orientation = UPRIGHT
    """The orientation still to apply: a copy has no tag of it."""


def readable(probe: Probe, containers: Sequence[str] = ("nut",)) -> Readable:
    """Return the file itself, or a clean copy in memory, in the first of ``containers`` that can hold its codec.

    Raises DecodeError if the file cannot be copied, or if only PyAV shows its pixels as they are meant.
    """
    # Rotated files are turned here: decord's own rotation fails for widths that are not a multiple of 16.
    if probe.only_pyav:
        raise DecodeError(f"{probe.only_pyav}; use backend='pyav'")
    if probe.is_plain and probe.geometry.orientation == UPRIGHT:
        assert isinstance(probe.source, bytes | str)  # noqa: S101  # only PyAV gets open files
        return Readable(probe.source, probe.num_frames)
    positions = _positions(probe)
    for container in containers[:-1]:
        with contextlib.suppress(DecodeError):
            return _copy(probe, positions, container)
    return _copy(probe, positions, containers[-1])


def _positions(probe: Probe) -> dict[int, int]:
    """Return {number of a packet: position of its frame in the display order of the copy}."""
    shown = {ordinal: position for position, ordinal in enumerate(probe.order)}
    first = min(probe.order)
    late = [ordinal for ordinal in range(first, max(probe.order) + 1) if ordinal not in shown]
    if len(shown) != len(probe.order) or (late and probe.damage is None):
        raise DecodeError("its packets do not hold one frame each; use backend='pyav'")
    positions = {ordinal: ordinal for ordinal in range(first)}
    positions |= {ordinal: first + position for ordinal, position in shown.items()}
    # After the frames before the damage come those that had not been shown yet.
    return positions | {ordinal: first + len(shown) + number for number, ordinal in enumerate(late)}


def _copy(probe: Probe, positions: dict[int, int], into: str) -> Readable:
    import av

    closed = {0, *probe.closed_packets}
    delay = max(ordinal - position for ordinal, position in positions.items())
    file, base = io.BytesIO(), Fraction(1, 1000)
    step = _STEP_SECONDS * 1000
    try:
        with probing.opened(probe.source, probe.demuxer) as (container, stream), av.open(file, "w", format=into) as out:
            # Opaque: otherwise PyAV looks for an encoder of that name.
            copy = out.add_stream_from_template(stream, opaque=True)
            copy.time_base, copy.codec_context.framerate = base, Fraction(1, _STEP_SECONDS)
            for ordinal, packet in zip(range(len(positions)), probing.packets(container, stream), strict=False):
                packet.stream, packet.time_base, packet.is_keyframe = copy, base, ordinal in closed
                packet.pts, packet.dts, packet.duration = positions[ordinal] * step, (ordinal - delay) * step, step
                out.mux(packet)
    except (av.FFmpegError, ValueError) as error:
        raise DecodeError(f"its {probe.codec} stream cannot be copied ({error}); use backend='pyav'") from error
    return Readable(file.getvalue(), len(positions), min(probe.order), probe.geometry.orientation)

"""When the frames of a file are shown, from the time stamps of its packets.

Files that were joined byte by byte (``cat one.mpg two.mpg``) begin their clock anew, and a recording may leap: neither is
damage. A part begins where the time of decoding goes back, in Matroska only at a key frame, and where it leaps: in MPEG-TS
and MPEG-PS by more than ten seconds, in FLV by more than thirty hours, as FFmpeg has it. The times of a part continue where the
part before it ends. Within a part, frames have the sorted time stamps of their packets: AVI stores frames in decoding order, so
its B frames have each other's times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

# Their times of decoding are sure. FFmpeg guesses when a frame is shown: in AVI always, in MPEG-PS where a packet holds several
# frames, from the packets after it, which may be those of the next part.
_DECODING_DEMUXERS = ("avi", "mpeg")
# FFmpeg's dts_delta_threshold, and for FLV, whose clock begins anew after 25 days, its dts_error_threshold.
_LEAP_SECONDS = {"mpegts": 10, "mpeg": 10, "flv": 30 * 3600}
# Matroska has no time of decoding. Past a join, FFmpeg takes that of presentation for it, which goes back at each B frame.
_DEMUXERS_WITHOUT_DECODING_TIME = ("matroska",)
# Hundredths of a second: browsers show a frame of up to the first for the second, as FFmpeg does with those of 0.
_GIF_FLASH, _GIF_USUAL = 1, 10


@dataclass(slots=True)
class PacketClock:
    """The time stamps of the packets of a stream, in the order of decoding."""

    demuxer: str
    base: Fraction | None
    stamps: list[int | None] = field(default_factory=list)
    """Presentation time, or that of decoding if there is no other."""
    times: list[int | None] = field(default_factory=list)
    """The time that is believed: of decoding in AVI and MPEG-PS, else the stamp."""
    durations: list[int] = field(default_factory=list)
    """0 if the container does not say."""
    parts: list[int] = field(default_factory=list)
    """Number of the part of each packet."""
    _last_dts: int | None = None

    def add(self, pts: int | None, dts: int | None, duration: int | None, *, is_key: bool = True) -> None:
        """Note the next packet."""
        stamp = dts if pts is None else pts
        self.stamps.append(stamp)
        if self.demuxer == "gif":
            self._add_gif_frame(duration or 0)
        else:
            self.times.append(dts if self.demuxer in _DECODING_DEMUXERS and dts is not None else stamp)
            self.durations.append(max(0, duration or 0))
        part = self.parts[-1] if self.parts else 0
        if dts is not None:
            part += self._last_dts is not None and begins_part(self.demuxer, self.base, dts - self._last_dts, is_key=is_key)
            self._last_dts = dts
        self.parts.append(part)

    def _add_gif_frame(self, duration: int) -> None:
        self.times.append(self.times[-1] + self.durations[-1] if self.times and self.times[-1] is not None else 0)
        self.durations.append(duration if duration > _GIF_FLASH else _GIF_USUAL)

    def presentation_order(self) -> list[int]:
        """Return the numbers of all packets by the time at which their frames are shown, for a file that is not decoded."""
        return sorted(range(len(self.times)), key=lambda packet: (self.parts[packet], self.times[packet] or 0))

    def shown(self, order: Sequence[int]) -> list[int] | None:
        """Return the time of each frame, given the packet of each, in display order; None if any has no time."""
        stamps = [self.times[packet] if packet < len(self.times) else None for packet in order]
        by_part: dict[int, list[tuple[int, int]]] = {}
        for packet, stamp in zip(order, stamps, strict=True):
            if stamp is None:
                return None
            by_part.setdefault(self.parts[packet], []).append((stamp, self.durations[packet]))
        times: list[int] = []
        end = 0
        for frames in by_part.values():
            frames.sort()
            shift = end - frames[0][0] if times else 0
            times += [stamp + shift for stamp, _ in frames]
            end = times[-1] + (frames[-1][1] or _last_step(times))
        return times


def _last_step(times: Sequence[int]) -> int:
    return times[-1] - times[-2] if len(times) > 1 else 0


def begins_part(demuxer: str, base: Fraction | None, step: int, *, is_key: bool) -> bool:
    """Return whether a part of a joined file begins with a packet that is decoded so many units after the one before it."""
    goes_back = step < 0 and (is_key or demuxer not in _DEMUXERS_WITHOUT_DECODING_TIME)
    return goes_back or (demuxer in _LEAP_SECONDS and base is not None and step * base > _LEAP_SECONDS[demuxer])

"""``FrameDecoder``: the frames of a stream of packets, up to the first damage or past it.

Damage is a packet that the container marks as cut short, or one that FFmpeg refuses. Past damage, decoding begins again at the
next key frame that proves to be one: the frames between refer to what is lost.

Where transport streams were joined, their counters of packets begin anew, so FFmpeg marks one of the last two packets of a part
as cut short. It is believed to be whole if a key frame follows without a gap, and the decoder finds no fault in its frame.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from t2vdata.media.decode.clock import begins_part
from t2vdata.media.decode.decoders import decoder_of
from t2vdata.media.decode.key_frames import is_random_access

if TYPE_CHECKING:
    import av
    from av.video.stream import VideoStream


class FrameDecoder:
    """Decodes the packets of one stream, each with a time stamp of its own."""

    def __init__(self, stream: VideoStream, *, skips_damage: bool = False) -> None:
        self._context = decoder_of(stream)
        self._demuxer, self._base = stream.container.format.name, stream.time_base
        self._skips_damage = skips_damage
        self.damage: str | None = None
        """The first damage."""
        self._is_lost = False
        """Whether frames are dropped, until a key frame after the damage."""
        self._key_stamps: set[int | None] = set()
        """Time stamps of the key packets since the damage."""
        self._doubted_stamps: set[int | None] = set()
        """Time stamps of the packets at a join of transport streams, which may be cut short."""

    def frames(self, packets: Iterable[av.Packet[VideoStream]]) -> Iterator[av.VideoFrame]:
        """Yield frames in display order: those before the first damage, or all that are known to be sound."""
        import av

        for number, (packet, following) in enumerate(_with_following(self._up_to_error(packets))):
            if self._is_lost and not self._can_decode(packet):
                continue
            damage = f"packet {number} is cut short" if self._is_cut(packet, following) else None
            try:
                # Draining gives the frames before a packet that is cut short.
                for frame in self._context.decode(None if damage else packet):
                    if frame.is_corrupt and frame.pts in self._doubted_stamps:
                        damage = f"a packet before packet {number} is cut short"
                        break
                    if self._is_sound(frame):
                        yield frame
            except av.FFmpegError as error:
                # The frames still in the decoder belong to the refused packet.
                damage = f"{error.strerror or error} (FFmpeg)"
            if damage is not None:
                self.damage = self.damage or damage
                if not self._skips_damage:
                    return
                self._context.flush_buffers()
                self._is_lost = True
                self._key_stamps.clear()
                self._doubted_stamps.clear()

    def _up_to_error(self, packets: Iterable[av.Packet[VideoStream]]) -> Iterator[av.Packet[VideoStream]]:
        import av

        try:
            yield from packets
        except av.FFmpegError as error:
            self.damage = self.damage or f"{error.strerror or error} (FFmpeg)"

    def _is_cut(self, packet: av.Packet[VideoStream], following: Sequence[av.Packet[VideoStream]]) -> bool:
        """Return whether a packet is marked as cut short for another reason than a join after it or the next one."""
        if not packet.is_corrupt or self._demuxer != "mpegts":
            return packet.is_corrupt
        part = [packet]
        for after in following:
            if after.dts is None or part[-1].dts is None:
                return True
            step = after.dts - part[-1].dts
            if after.is_keyframe and (
                step <= (part[-1].duration or 0) or begins_part(self._demuxer, self._base, step, is_key=True)
            ):
                # FFmpeg also marks the packet before the one that lost bytes, which may be the key frame.
                self._doubted_stamps.update(doubted.pts for doubted in (*part, after))
                return False
            part.append(after)
        return True

    def _can_decode(self, packet: av.Packet[VideoStream]) -> bool:
        """Return whether a packet after damage is a key packet, or follows one."""
        if packet.is_keyframe and packet.size and not packet.is_corrupt:
            self._key_stamps.add(packet.pts)
        return bool(self._key_stamps)

    def _is_sound(self, frame: av.VideoFrame) -> bool:
        # The frames that come out before a key frame are its leading pictures, which refer to the frames before it.
        # The packet after one that is marked may have lost bytes too.
        if self._is_lost and frame.pts in self._key_stamps and is_random_access(frame) and not frame.is_corrupt:
            self._is_lost = False
        return not self._is_lost


def _with_following(
    packets: Iterator[av.Packet[VideoStream]],
) -> Iterator[tuple[av.Packet[VideoStream], Sequence[av.Packet[VideoStream]]]]:
    """Yield each packet with the two that follow it, fewer at the end."""
    window = deque(itertools.islice(packets, 2))
    for packet in packets:
        window.append(packet)
        yield window.popleft(), window
    while window:
        yield window.popleft(), window

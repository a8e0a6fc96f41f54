"""``FrameDecoder``: the frames of a stream of packets, up to the first damage or past it.

Damage is a packet that the container marks as cut short, or one that FFmpeg refuses. Past damage, decoding begins again at the
next key frame that proves to be one: the frames between refer to what is lost.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from t2vdata.media.decode.decoders import decoder_of
from t2vdata.media.decode.key_frames import is_random_access

if TYPE_CHECKING:
    import av
    from av.video.stream import VideoStream


class FrameDecoder:
    """Decodes the packets of one stream, each with a time stamp of its own."""

    def __init__(self, stream: VideoStream, *, skips_damage: bool = False) -> None:
        self._context = decoder_of(stream)
        self._skips_damage = skips_damage
        self.damage: str | None = None
        """The first damage."""
        self._is_lost = False
        """Whether frames are dropped, until a key frame after the damage."""
        self._key_stamps: set[int | None] = set()
        """Time stamps of the key packets since the damage."""

    def frames(self, packets: Iterable[av.Packet[VideoStream]]) -> Iterator[av.VideoFrame]:
        """Yield frames in display order: those before the first damage, or all that are known to be sound."""
        import av

        for number, packet in enumerate(self._up_to_error(packets)):
            if self._is_lost and not self._can_decode(packet):
                continue
            damage = f"packet {number} is cut short" if packet.is_corrupt else None
            try:
                # Draining gives the frames before a packet that is cut short.
                yield from filter(self._is_sound, self._context.decode(None if damage else packet))
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

    def _up_to_error(self, packets: Iterable[av.Packet[VideoStream]]) -> Iterator[av.Packet[VideoStream]]:
        import av

        try:
            yield from packets
        except av.FFmpegError as error:
            self.damage = self.damage or f"{error.strerror or error} (FFmpeg)"

    def _can_decode(self, packet: av.Packet[VideoStream]) -> bool:
        """Return whether a packet after damage is a key packet, or follows one."""
        if packet.is_keyframe and packet.size and not packet.is_corrupt:
            self._key_stamps.add(packet.pts)
        return bool(self._key_stamps)

    def _is_sound(self, frame: av.VideoFrame) -> bool:
        # The frames that come out before a key frame are its leading pictures, which refer to the frames before it.
        if self._is_lost and frame.pts in self._key_stamps and is_random_access(frame):
            self._is_lost = False
        return not self._is_lost

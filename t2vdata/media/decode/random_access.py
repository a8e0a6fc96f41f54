"""Begin to decode near a time, and prove that the frames are those of a straight pass.

A seek is believed if it lands on a key packet that is shown no later than the time, if the first frame from there is that
packet's own and refers to no other, and if every packet after it gives its frame. This excludes open groups of pictures (where
frames before the key frame follow it in the file), intra refresh, files that mark every frame as a key frame, and indexes that
point elsewhere. Where the clock of an index begins anew, as in joined MP4 fragments, a time has no one frame.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from t2vdata.media.decode import probe as probing
from t2vdata.media.decode.frame_decoder import FrameDecoder
from t2vdata.media.decode.key_frames import is_random_access

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Seeks to ever earlier key frames. An open group needs two.
_MAX_SEEKS = 4
MAX_STAMP = (1 << 62) - 1
# Their packets may hold no frame to show, and their frames never change order.
_CODECS_IN_ORDER = ("vp8", "vp9", "libvpx", "libvpx-vp9", "libdav1d", "libaom-av1", "av1")


class SeekError(Exception):
    """Frames after a seek are not known to be right; decode the file from its start."""


def frames_from(container: InputContainer, stream: VideoStream, decoder: FrameDecoder, stamp: int) -> Iterator[av.VideoFrame]:
    """Yield frames in display order, from a key frame at or before ``stamp`` on.

    Raises SeekError, also after some frames, if they are not known to be those of a straight pass.
    """
    if _goes_back(stream):
        raise SeekError
    # FFmpeg's time stamps have 64 bits; no file reaches so far.
    packets = _packets_from_key(container, stream, min(stamp, MAX_STAMP))
    key = next(packets)
    expected = _ExpectedFrames(key)
    first: av.VideoFrame | None = None
    for frame in decoder.frames(expected.noting(itertools.chain([key], packets))):
        if frame.pts is None:
            raise SeekError
        if first is None and frame.pts < expected.first_stamp:
            # A leading picture, which refers to frames before the key frame.
            continue
        if first is None and (frame.pts != expected.first_stamp or not is_random_access(frame)):
            raise SeekError
        first = frame
        if stream.codec_context.name not in _CODECS_IN_ORDER and decoder.damage is None:
            expected.check(frame.pts)
        yield frame
    if first is None:
        raise SeekError


def _goes_back(stream: VideoStream) -> bool:
    """Return whether the index of fragments has times of decoding that do not rise."""
    index = stream.index_entries
    return len(index) != stream.frames and any(left.timestamp > right.timestamp for left, right in itertools.pairwise(index))


def _packets_from_key(container: InputContainer, stream: VideoStream, stamp: int) -> Iterator[av.Packet[VideoStream]]:
    """Yield packets from the last key packet that is shown at ``stamp`` or before it. Raises SeekError if there is none."""
    import av

    target = stamp
    for _ in range(_MAX_SEEKS):
        try:
            container.seek(target, stream=stream)
            packets = probing.packets(container, stream)
            key = next(packets)
        except (av.FFmpegError, StopIteration) as error:
            raise SeekError from error
        if key.pts is None or not key.is_keyframe or key.is_corrupt:
            raise SeekError
        if key.pts <= stamp:
            yield key
            yield from packets
            return
        # Demuxers seek by the time of decoding, which is earlier than that of the frame.
        target = min(target, key.pts if key.dts is None else key.dts) - 1
    raise SeekError


class _ExpectedFrames:
    """Time stamps of the packets whose frames have yet to come out of the decoder."""

    def __init__(self, key: av.Packet[VideoStream]) -> None:
        self.first_stamp = key.pts or 0
        self._stamps: list[int] = []

    def noting(self, packets: Iterable[av.Packet[VideoStream]]) -> Iterator[av.Packet[VideoStream]]:
        for packet in packets:
            if packet.size and packet.pts is not None and packet.pts >= self.first_stamp and not packet.is_discard:
                heapq.heappush(self._stamps, packet.pts)
            yield packet

    def check(self, stamp: int) -> None:
        """Raise SeekError unless the frame of this stamp is the next in display order."""
        if not self._stamps or heapq.heappop(self._stamps) != stamp:
            raise SeekError

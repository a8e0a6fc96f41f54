"""At which frames decoding can begin: what containers mark as key frames is a claim."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import av
    from av.video.stream import VideoStream

# FFmpeg's AV_PICTURE_TYPE_I.
_INTRA = 1


def is_random_access(frame: av.VideoFrame) -> bool:
    """Return whether decoding can begin at a frame: containers also mark predicted frames, such as those of intra refresh."""
    return bool(frame.key_frame) and int(frame.pict_type) == _INTRA


def closed_packets(order: Sequence[int], keys: Sequence[int]) -> list[int]:
    """Return the key packets that part a file in two: what is stored before is shown before, what is stored after, after."""
    lowest = list(itertools.accumulate(reversed(order), min))[::-1]
    highest = itertools.chain([-1], itertools.accumulate(order, max))
    keys_left = set(keys)
    return sorted(
        packet
        for packet, before, after in zip(order, highest, [*lowest[1:], len(order) + max(order)], strict=False)
        if packet in keys_left and before < packet < after
    )


def are_indexed(stream: VideoStream, key_packets: Sequence[int]) -> bool:
    """Return whether an MP4 has one index for all frames, which marks these as key frames.

    decord misreads fragments, and believes an index without key frames, which marks all.
    """
    return stream.frames > 0 and sum(entry.is_keyframe for entry in stream.index_entries) == len(key_packets)

"""The PyAV backend, with its bundled FFmpeg; and the decoder of the ``mp4`` members of shards."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from t2vdata.errors import DecodeError
from t2vdata.media import animation
from t2vdata.media.color import full_range
from t2vdata.media.decode import animated
from t2vdata.media.decode import probe as probing
from t2vdata.media.decode.frame_decoder import FrameDecoder
from t2vdata.media.decode.probe import MAX_PIXELS, Probe
from t2vdata.media.decode.video import Video, VideoInfo, cpu_only
from t2vdata.media.picture_format import picture_format
from t2vdata.media.rgb import RgbConverter

if TYPE_CHECKING:
    import av
    import numpy as np
    from av.container import InputContainer
    from av.video.stream import VideoStream
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Timing:
    """Time stamps and key-frame flags of the frames that really decode."""

    pts: tuple[int, ...]
    key_frames: tuple[bool, ...]
    time_base: str


def decode(data: bytes, *, channels: int, max_pixels: int | None = None) -> NDArray[np.uint8]:
    """Decode all frames of an MP4 file, (T, H, W, channels) uint8, in display order.

    Grey (``channels=1``) is the luma plane, expanded from limited to full range. Raises DecodeError unless the bytes decode to
    their end, and before it keeps more than ``max_pixels``.
    """
    import numpy as np

    picture = _grey if channels == 1 else _rgb
    with _frames(data, max_pixels) as frames:
        pictures = [picture(frame) for frame in frames]
    if not pictures:
        raise DecodeError("no frame decodes")
    return np.stack(pictures).reshape(len(pictures), *pictures[0].shape[:2], channels)


def read_timing(data: bytes) -> Timing:
    """Decode an MP4 file and return the time stamp and key-frame flag of each frame that decodes, for the index."""
    pts: list[int] = []
    key_frames: list[bool] = []
    time_base = "1/1"
    with _frames(data) as frames:
        for frame in frames:
            if frame.pts is None or frame.time_base is None:
                raise DecodeError(f"frame {len(pts)} has no time stamp")
            pts.append(frame.pts)
            key_frames.append(bool(frame.key_frame))
            time_base = f"{frame.time_base.numerator}/{frame.time_base.denominator}"
    return Timing(tuple(pts), tuple(key_frames), time_base)


@contextmanager
def _frames(data: bytes, max_pixels: int | None = None) -> Iterator[Iterator[av.VideoFrame]]:
    import av

    try:
        # mov is the demuxer of mp4. Naming it keeps FFmpeg from treating the bytes as a playlist that opens other files.
        with av.open(io.BytesIO(data), "r", format="mov", metadata_errors="replace") as container:
            if not container.streams.video:
                raise DecodeError("no video stream")
            stream = container.streams.video[0]
            # One thread: for a small clip, starting more takes longer than decoding it.
            stream.thread_count, stream.thread_type = 1, "NONE"
            limit = MAX_PIXELS if max_pixels is None else min(max_pixels, MAX_PIXELS)
            # Before a decoder allocates its frames.
            codec = stream.codec_context
            # None for a codec that FFmpeg does not know.
            if codec is not None and codec.width * codec.height > limit:
                raise DecodeError(f"a frame of {codec.width}x{codec.height} pixels; expected at most {limit} in the clip")
            yield _checked(container.decode(stream), stream.frames, limit)
    except av.FFmpegError as error:
        raise DecodeError(f"{error.strerror or error} (FFmpeg)") from error


def _checked(frames: Iterator[av.VideoFrame], promised: int, max_pixels: int) -> Iterator[av.VideoFrame]:
    """Yield frames. Raises DecodeError for too many pixels, and at the end if there are fewer frames than promised."""
    pixels = count = 0
    for frame in frames:
        count += 1
        pixels += frame.width * frame.height
        if pixels > max_pixels:
            raise DecodeError(f"over {max_pixels} pixels in one clip")
        yield frame
    if count < promised:
        raise DecodeError(f"ends after {count} of {promised} frames")


def _rgb(frame: av.VideoFrame) -> NDArray[np.uint8]:
    # One thread: starting more takes ten times as long as converting a small frame.
    return cast("NDArray[np.uint8]", frame.to_ndarray(format="rgb24", threads=1))


def _grey(frame: av.VideoFrame) -> NDArray[np.uint8]:
    import numpy as np

    if frame.format.name != "yuv420p":
        return cast("NDArray[np.uint8]", frame.to_ndarray(format="gray"))
    plane = frame.planes[0]
    luma = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : frame.width]
    return full_range(luma)


def why_not(device: str) -> str | None:
    """Return why PyAV cannot decode on ``device``, or None."""
    return cpu_only(device)


def version() -> str | None:
    import av

    return str(av.__version__)


def ffmpeg_version() -> str:
    """Return the version of the FFmpeg bundled with PyAV."""
    import av

    return str(av.ffmpeg_version_info)


def open(source: bytes | str, device: str) -> Video:
    """Open a video file with PyAV, or an animated picture with Pillow."""
    kind = picture_format(probing.head_of(source))
    if kind is not None and animation.is_animated(source, kind, max_pixels=MAX_PIXELS):
        return animated.open(source, kind)
    probe = probing.probe(source)
    return Video(_Reader(probe), VideoInfo.of(probe), backend="pyav", device=device)


class _Reader:
    """Converts the frames that the probe kept, or decodes them again on request."""

    def __init__(self, probe: Probe) -> None:
        self._probe: Probe = probe
        self._converter: RgbConverter | None = RgbConverter()
        self._ranks = {ordinal: rank for rank, ordinal in enumerate(probe.order)} if probe.frames is None else {}

    def frames_at(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        import numpy as np

        geometry, converter = self._probe.geometry, self._converter or RgbConverter()
        height, width = geometry.coded_height, geometry.square_width
        pixels: NDArray[np.uint8] = np.empty((len(indices), height, width, 3), np.uint8)
        rows: dict[int, list[int]] = {}
        for row, index in enumerate(indices):
            rows.setdefault(index, []).append(row)
        kept = self._probe.frames
        distinct = sorted(rows)
        decoded = self._decoded(distinct) if kept is None else ((index, kept[index]) for index in distinct)
        for index, frame in decoded:
            pixels[rows.pop(index)] = converter.rgb(frame, height, width)
        if rows:
            raise DecodeError(f"frame {min(rows)} did not decode again; the file has changed since it was opened")
        return geometry.orientation.upright(pixels)

    def close(self) -> None:
        self._converter = None

    def _decoded(self, rising: list[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield (index, frame) at the rising indices, one group of pictures after the other."""
        for key, group in itertools.groupby(rising, self._key_packet):
            yield from self._run(key, list(group))

    def _key_packet(self, index: int) -> int:
        """Return the last key packet from which the frame decodes: it is shown no later than the frame."""
        ordinal = self._probe.order[index]
        for key in reversed(self._probe.key_packets):
            if key <= ordinal and self._ranks.get(key, index + 1) <= index:
                return key
        return 0

    def _run(self, key: int, indices: list[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        remaining = set(indices)
        # Once more from the start if the packets after a seek are not those of the first pass.
        for first in dict.fromkeys((key, 0)):
            with probing.opened(self._probe.source, self._probe.demuxer) as (container, stream):
                packets = self._packets(first, container, stream)
                for frame in FrameDecoder(stream).frames(packets):
                    rank = self._ranks.get(-1 if frame.pts is None else frame.pts, -1)
                    if rank in remaining:
                        remaining.remove(rank)
                        yield rank, frame
                    if not remaining:
                        return

    def _packets(self, key: int, container: InputContainer, stream: VideoStream) -> Iterator[av.Packet[VideoStream]]:
        """Yield packets, each with its number as its time stamp, from ``key`` or before it.

        Ends where they are not those of the first pass.
        """
        packets = probing.packets(container, stream)
        first = 0
        if key:
            landed = self._seek(key, container, stream)
            if landed is None:
                return
            first = landed
        for ordinal, packet in enumerate(packets, first):
            if packet.size:
                if ordinal >= len(self._probe.stamps) or _stamp(packet) != self._probe.stamps[ordinal]:
                    return
                packet.pts = ordinal
            yield packet

    def _seek(self, key: int, container: InputContainer, stream: VideoStream) -> int | None:
        """Seek to a key packet; return the number of the packet that comes next, or None if it is not known."""
        import av

        stamps = self._probe.stamps
        stamp = stamps[key]
        try:
            if stamp is None:
                return None
            container.seek(stamp, stream=stream)
            landed = _stamp(next(probing.packets(container, stream)))
            container.seek(stamp, stream=stream)
        except (av.FFmpegError, StopIteration):
            return None
        is_known = landed is not None and stamps.count(landed) == 1 and stamps.index(landed) <= key
        return stamps.index(landed) if is_known else None


def _stamp(packet: av.Packet[VideoStream]) -> int | None:
    return packet.dts if packet.pts is None else packet.pts

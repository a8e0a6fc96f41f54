"""The PyAV backend, with its bundled FFmpeg; and the decoder of the ``mp4`` members of shards."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from t2vdata.errors import DecodeError
from t2vdata.media.color import full_range
from t2vdata.media.decode import probe as probing
from t2vdata.media.decode.probe import MAX_PIXELS, Probe
from t2vdata.media.decode.video import Video, VideoInfo, cpu_only
from t2vdata.media.rgb import RgbConverter

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Timing:
    """Time stamps and key-frame flags of the frames that really decode."""

    pts: tuple[int, ...]
    key_frames: tuple[bool, ...]
    time_base: str


def decode(data: bytes, *, channels: int) -> NDArray[np.uint8]:
    """Decode all frames of an MP4 file, (T, H, W, channels) uint8, in display order.

    Grey (``channels=1``) is the luma plane, expanded from limited to full range. Raises DecodeError unless the bytes decode to
    their end.
    """
    import numpy as np

    picture = _grey if channels == 1 else _rgb
    with _frames(data) as frames:
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
def _frames(data: bytes) -> Iterator[Iterator[av.VideoFrame]]:
    import av

    try:
        # mov is the demuxer of mp4. Naming it keeps FFmpeg from treating the bytes as a playlist that opens other files.
        with av.open(io.BytesIO(data), "r", format="mov", metadata_errors="replace") as container:
            if not container.streams.video:
                raise DecodeError("no video stream")
            stream = container.streams.video[0]
            # One thread: for a small clip, starting more takes longer than decoding it.
            stream.thread_count, stream.thread_type = 1, "NONE"
            yield _checked(container.decode(stream), stream.frames)
    except av.FFmpegError as error:
        raise DecodeError(f"{error.strerror or error} (FFmpeg)") from error


def _checked(frames: Iterator[av.VideoFrame], promised: int) -> Iterator[av.VideoFrame]:
    """Yield frames. Raises DecodeError for too many pixels, and at the end if there are fewer frames than promised."""
    pixels = count = 0
    for frame in frames:
        count += 1
        pixels += frame.width * frame.height
        if pixels > MAX_PIXELS:
            raise DecodeError(f"over {MAX_PIXELS} pixels in one clip")
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
    """Open a video file with PyAV."""
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
        with probing.opened(self._probe.source, self._probe.demuxer) as (container, stream):
            remaining = set(indices)
            for ordinal, packet in self._from(key, container, stream):
                if packet.size:
                    packet.pts = ordinal
                for frame in stream.codec_context.decode(None if packet.is_corrupt or not packet.size else packet):
                    rank = self._ranks.get(-1 if frame.pts is None else frame.pts, -1)
                    if rank in remaining:
                        remaining.remove(rank)
                        yield rank, frame
                if not remaining or packet.is_corrupt:
                    return

    def _from(self, key: int, container: Any, stream: Any) -> Iterator[tuple[int, av.Packet[Any]]]:
        """Yield (number, packet), starting at ``key`` or before it."""
        stamp = self._probe.stamps[key]
        if key == 0 or stamp is None or self._probe.stamps.count(stamp) > 1:
            yield from enumerate(probing.packets(container, stream))
            return
        container.seek(stamp, stream=stream)
        packets = probing.packets(container, stream)
        first = next(packets, None)
        landed = None if first is None else (first.dts if first.pts is None else first.pts)
        if first is not None and landed in self._probe.stamps and (ordinal := self._probe.stamps.index(landed)) <= key:
            yield ordinal, first
            yield from enumerate(packets, ordinal + 1)
            return
        # The container has no usable index: read from the start.
        with probing.opened(self._probe.source, self._probe.demuxer) as (again, _):
            yield from enumerate(probing.packets(again, again.streams[stream.index]))

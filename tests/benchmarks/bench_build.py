"""Speed and memory of building mnist-motion, compared with the script one would write today (yardsticks.py).

``python tests/benchmarks/bench_build.py`` prints Markdown for docs/benchmarks.md; ``--memory`` prints the memory of small and
large builds instead. Nothing is asserted: machines differ and are noisy.

Whole processes are timed, including start-up and imports, each into a new folder in $TMPDIR. Versions alternate within a round,
so that a slow minute affects all of them; ratios are taken within a round. Memory is sampled every 20 ms in a separate round
before the timed ones, because sampling costs time; it is summed over the process and all its descendants.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import psutil

PACKAGES = ("numpy", "av", "opencv-python-headless", "webdataset", "zstandard", "pyarrow", "orjson", "psutil")
MEMORY_SIZES = (4_000, 40_000, 400_000)
WORKERS = 2
_EVERY_SECONDS = 0.02
_YARDSTICKS = Path(__file__).with_name("yardsticks.py")


@dataclass(frozen=True)
class Version:
    """A command that builds a dataset, without its ``--out``."""

    name: str
    encoding: str
    command: tuple[str, ...]
    num_clips: int
    """Clips that one run writes, in all splits."""


@dataclass(frozen=True)
class Peak:
    """Peak memory of a run, summed over its processes, in bytes."""

    rss: int
    """Resident set size: shared pages count in every process."""
    fair: int
    """PSS on Linux: a page shared by n processes counts 1/n in each. Elsewhere USS, or 0."""


def ours(n: int, encoding: str, *options: str) -> Version:
    """Return the build of ``n`` training clips plus val and test splits of a tenth each."""
    command = (sys.executable, "-m", "t2vdata", "build", "mnist-motion", "--n", str(n), "--encoding", encoding)
    num_clips = n + 2 * max(1, n // 10)
    return Version("t2vdata", encoding, (*command, "--workers", str(WORKERS), *options), num_clips)


def yardstick(name: str, title: str, encoding: str, n: int) -> Version:
    """Return yardsticks.py with one of its encoders."""
    command = (sys.executable, str(_YARDSTICKS), name, "--n", str(n), "--workers", str(WORKERS))
    return Version(f"script: {title}", encoding, command, n)


def timed(version: Version) -> float:
    """Run a version once and return its seconds, excluding the removal of its output."""
    with tempfile.TemporaryDirectory(prefix="bench-build-") as folder:
        start = time.perf_counter()
        completed = subprocess.run(
            [*version.command, "--out", folder], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        seconds = time.perf_counter() - start
        _stop_if_failed(version, completed.returncode, completed.stderr, folder)
    return seconds


def monitored(version: Version) -> tuple[float, Peak]:
    """Run a version once and return its seconds (for orientation) and its peak memory."""
    with tempfile.TemporaryDirectory(prefix="bench-build-") as folder, tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        with subprocess.Popen([*version.command, "--out", folder], stdout=subprocess.DEVNULL, stderr=errors) as process:
            try:
                samples = list(_samples(process))
            except BaseException:
                process.kill()
                raise
        seconds = time.perf_counter() - start
        errors.seek(0)
        _stop_if_failed(version, process.returncode, errors.read(), folder)
    return seconds, Peak(max(sample.rss for sample in samples), max(sample.fair for sample in samples))


def _samples(process: subprocess.Popen[bytes]) -> Iterator[Peak]:
    """Yield the memory of a process and its descendants, every 20 ms until it ends."""
    yield Peak(0, 0)
    root = psutil.Process(process.pid)
    while process.poll() is None:
        rss = fair = 0
        try:
            for member in (root, *root.children(recursive=True)):
                memory = member.memory_full_info()
                rss += memory.rss
                fair += getattr(memory, "pss", getattr(memory, "uss", 0))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # A process ended while being sampled: skip the incomplete sum.
        yield Peak(rss, fair)
        time.sleep(_EVERY_SECONDS)


def _stop_if_failed(version: Version, status: int, errors: str, folder: str) -> None:
    """Exit with a message if the run failed or wrote another number of clips."""
    if status:
        sys.exit(f"{' '.join(version.command)} ended with status {status}:\n{errors.strip()}")
    written = _num_written(Path(folder))
    if written != version.num_clips:
        sys.exit(f"{' '.join(version.command)} wrote {written} clips, expected {version.num_clips}")


def _num_written(folder: Path) -> int:
    manifest = folder / "manifest.json"
    if manifest.exists():
        kept: int = json.loads(manifest.read_bytes())["tally"]["kept"]
        return kept
    num_clips = 0
    for path in folder.glob("*.tar"):
        with tarfile.open(path) as shard:
            num_clips += sum(name.endswith(".json") for name in shard.getnames())
    return num_clips


def compare(versions: Sequence[Version], repeats: int) -> None:
    """Run all versions in turn and print a table; ratios are relative to the last version."""
    peaks = []
    for version in versions:
        _log(f"memory: {version.name}, {version.encoding}")
        peaks.append(monitored(version)[1])
    seconds: list[list[float]] = [[] for _ in versions]
    for repeat in range(repeats):
        for version, own in zip(versions, seconds, strict=True):
            own.append(timed(version))
            _log(f"round {repeat + 1} of {repeats}: {version.name}, {version.encoding}: {own[-1]:.2f} s")
    rates = [[version.num_clips / duration for duration in own] for version, own in zip(versions, seconds, strict=True)]
    print(f"Median (min to max) of {repeats} rounds; ratio: clips/s to the last row's in the same round.\n")
    print("| version | encoding | clips | seconds | clips/s | ratio | peak memory | as RSS |")
    print("|---|---|--:|--:|--:|--:|--:|--:|")
    for version, own, rate, peak in zip(versions, seconds, rates, peaks, strict=True):
        ratios = [ours_rate / yardstick_rate for ours_rate, yardstick_rate in zip(rate, rates[-1], strict=True)]
        cells = (
            version.name,
            version.encoding,
            f"{version.num_clips:,}",
            _spread(own, ".2f"),
            _spread(rate, ",.0f"),
            "1" if version is versions[-1] else _spread(ratios, ".3g"),
            _megabytes(peak.fair),
            _megabytes(peak.rss),
        )
        print(f"| {' | '.join(cells)} |")


def compare_memory(sizes: Sequence[int]) -> None:
    """Build once with each number of training clips and print peak memory."""
    print("One run each.\n")
    print("| training clips | clips | seconds, monitored | peak memory | as RSS |")
    print("|--:|--:|--:|--:|--:|")
    for n in sizes:
        version = ours(n, "lossless")
        seconds, peak = monitored(version)
        cells = (f"{n:,}", f"{version.num_clips:,}", f"{seconds:.1f}", _megabytes(peak.fair), _megabytes(peak.rss))
        print(f"| {' | '.join(cells)} |", flush=True)


def print_header() -> None:
    """Print the machine and the versions."""
    probe = subprocess.run(
        [sys.executable, "-c", "import sys, webdataset; print('torch' in sys.modules)"], capture_output=True, text=True
    )
    if probe.returncode:
        why = probe.stderr.strip().splitlines()[-1]
        sys.exit(f"cannot import webdataset, which the yardsticks need ({why}); pip install -e '.[test]' brings it, with torch")
    torch = "with torch, whose import counts in its start-up" if probe.stdout.strip() == "True" else "without torch"
    kind = getattr(psutil.Process().memory_full_info(), "_fields", ())
    fair = "PSS" if "pss" in kind else "USS" if "uss" in kind else "unknown here"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count()
    load = ", ".join(f"{average:.1f}" for average in psutil.getloadavg())
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in PACKAGES)
    print(f"- {_cpu_model()}, {cores} cores available; load before (1, 5, 15 minutes): {load}; {platform.platform()}")
    print(f"- Python {platform.python_version()}, {versions}; webdataset is imported {torch}")
    print(f"- clips of 64x64, 32 frames, grey; shards of 1000 (t2vdata h264: 100); {WORKERS} worker processes each;")
    print("  threads in a worker: libx264 and OpenCV their own default, t2vdata 1")
    print("- script: NumPy drawing, PyAV or OpenCV or np.savez_compressed, webdataset.ShardWriter, see yardsticks.py;")
    print("  only t2vdata flushes its files to disk (fsync), hashes them and writes an index")
    print(
        f"- peak memory: {fair} of a run's processes, summed, sampled every 20 ms; as RSS: shared pages count in each process\n"
    )


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _spread(values: Sequence[float], form: str) -> str:
    middle, least, most = (format(value, form) for value in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({least} to {most})"


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:,.0f} MB" if num_bytes else "-"


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=40_000, help="training clips of the lossless build [%(default)s]")
    parser.add_argument("--h264-n", type=int, default=2000, help="training clips of the h264 build [%(default)s]")
    # At least 2000, so that half a second of start-up does not dominate the yardstick.
    parser.add_argument("--yardstick-n", type=int, default=2000, help="clips of each yardstick [%(default)s]")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds [%(default)s]")
    sizes = ", ".join(f"{n:,}" for n in MEMORY_SIZES)
    parser.add_argument("--memory", action="store_true", help=f"only the memory of lossless builds, for --n of {sizes}")
    arguments = parser.parse_args()
    if min(arguments.n, arguments.h264_n, arguments.yardstick_n, arguments.repeats) < 1:
        parser.error("expected 1 or more")
    print_header()
    if arguments.memory:
        compare_memory(MEMORY_SIZES)
        return
    versions = (
        ours(arguments.n, "lossless"),
        ours(arguments.h264_n, "h264", "--shard-size", "100"),
        yardstick("savez", "savez_compressed", "npz", arguments.yardstick_n),
        yardstick("opencv", "OpenCV", "mp4v", arguments.yardstick_n),
        yardstick("pyav", "PyAV", "libx264", arguments.yardstick_n),
    )
    compare(versions, arguments.repeats)


if __name__ == "__main__":
    main()

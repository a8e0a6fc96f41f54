"""How fast batches are loaded, next to other ways to load the same clips (loading_yardsticks.py).

``python tests/benchmarks/bench_loading.py --videos FOLDER`` prints Markdown for docs/benchmarks.md; FOLDER holds the real
videos that real_clips.py cuts. ``--folder`` keeps the datasets for the next time, ``--rows mnist`` needs no videos,
``--only SPDL`` leaves out other yardsticks. No speed is asserted: machines differ, and are noisy.

Ours and the yardsticks take turns within each round, each in a new process; a ratio is taken within a round. Measured is the
steady state: two batches are loaded before the clock starts, and the number of those that count is even, as two workers
deliver theirs in pairs. Small sets are read over and over. The time to the first batch is that after imports.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import loading_yardsticks
import psutil
from loading_yardsticks import BATCH_SIZE, CORES, NUM_FRAMES, YARDSTICKS, Batch, Task, Yardstick

PACKAGES = ("numpy", "torch", "torchcodec", "decord", "av", "spdl", "webdataset", "litdata", "datasets", "zstandard", "psutil")
_EVERY_SECONDS = 0.1
_LONGEST_SECONDS = 120
"""For one run: what takes longer hangs."""


def ours(task: Task) -> Iterator[Batch]:
    """Yield batches of our loader, epoch after epoch."""
    import t2vdata
    from t2vdata.loading import LoadSpec, loader

    dataset = t2vdata.open_dataset(task.folder)
    words = t2vdata.Vocabulary.load(dataset.vocabulary_path)
    stride = loading_yardsticks.wanted_frames(task.clips[0]["num_frames"], task.select).step
    frames: dict[str, Any] = {
        "all": {},
        "even": {"num_frames": NUM_FRAMES, "stride": stride, "start": "centre"},
        "crop": {"num_frames": NUM_FRAMES},
    }[task.select]
    batches = loader(dataset["train"], LoadSpec(batch_size=BATCH_SIZE, drop_last=True, **frames), vocabulary=words, seed=0)
    while True:
        for batch in batches:
            yield batch.video, batch.tokens


OURS = tuple(
    Yardstick(f"t2vdata, {extension}", extension, ours, {}, "torch t2vdata.loading.dataloader")
    for extension in ("npy.zst", "mp4", "jpg")
)


@dataclass(frozen=True)
class Row:
    """Data to load, and which of its frames."""

    name: str
    title: str
    datasets: tuple[str, ...]
    """Names of the datasets it is read from; ours of the first is what ratios are taken to."""
    select: Literal["all", "even", "crop"] = "all"
    seconds_factor: int = 1
    """Times --seconds: where clips are large, so that enough batches are seen."""


ROWS = (
    Row("mnist", "mnist-motion, 64x64, 32 frames, grey", ("mnist-lossless", "mnist-h264")),
    Row("real64", "real clips, h264, 64x64, 32 frames, RGB", ("real64",)),
    Row("sheets64", "the same clips as JPEG sheets", ("sheets64",)),
    Row("real256-even", f"real clips, h264, 256x256, {NUM_FRAMES} of 90 frames, evenly spaced", ("real256",), "even", 2),
    Row("real256-crop", f"real clips, h264, 256x256, {NUM_FRAMES} of 90 frames, neighbours", ("real256",), "crop", 2),
)


@dataclass(frozen=True)
class Measured:
    """One run."""

    rate: float
    """Clips/s."""
    cpu_seconds: float
    """Of the process and its children, for one clip."""
    first_seconds: float
    """Until the first batch, without imports."""
    import_seconds: float
    peak_bytes: int
    """RSS of the process and its children, summed; pages that they share count in each."""


# ---- Datasets


def build(name: str, folder: Path, asked: argparse.Namespace) -> None:
    """Build a dataset unless it is there."""
    command = [sys.executable, "-m", "t2vdata", "build"]
    if name.startswith("mnist"):
        size = ["--n", str(asked.mnist_clips), "--val", "0", "--test", "0", "--shard-size", str(-(-asked.mnist_clips // 8))]
        command += ["mnist-motion", *size, "--encoding", name.removeprefix("mnist-")]
    else:
        # As many shards for each as two workers can share; 128 clips are two batches.
        size = ["--size", "64", "--frames", "32", "--n", "512", "--shard-size", "64"]
        if name == "real256":
            size = ["--size", "256", "--frames", "90", "--n", "128", "--shard-size", "32"]
        if asked.videos is None:
            sys.exit(f"{name} is cut from real videos; name their folder with --videos, or leave them out with --rows mnist")
        encoding = "jpeg" if name == "sheets64" else "h264"
        command += ["benchmarks.real_clips", "--videos", str(asked.videos), *size, "--encoding", encoding]
    tests = str(Path(__file__).resolve().parents[1])
    searched = os.pathsep.join(filter(None, (tests, os.environ.get("PYTHONPATH"))))
    _say(f"building {name}")
    command += ["--workers", str(CORES), "--out", str(folder / name)]
    built = subprocess.run(command, env={**os.environ, "PYTHONPATH": searched}, capture_output=True, text=True)
    if built.returncode:
        sys.exit(f"{' '.join(command)} ended with status {built.returncode}:\n{built.stderr.strip()}")


def warm(folder: Path) -> None:
    """Read all files once, so that they are in memory."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            path.read_bytes()


# ---- One run, in a process of its own


def measure(yardstick: Yardstick, task: Task, seconds: float) -> dict[str, float]:
    """Load batches for so many seconds."""
    began = time.perf_counter()
    for package in yardstick.packages.split():
        importlib.import_module(package)
    imported = time.perf_counter()
    # A generator: closed below, so that its workers end.
    with contextlib.closing(yardstick.batches(task)) as batches:  # type: ignore[type-var]
        check(next(batches), task)
        first = time.perf_counter()
        next(batches)
        start, cpu, num_batches = time.perf_counter(), _cpu_seconds(), 0
        while time.perf_counter() - start < seconds:
            next(batches)
            next(batches)
            num_batches += 2
        elapsed, cpu = time.perf_counter() - start, _cpu_seconds() - cpu
    num_clips = num_batches * BATCH_SIZE
    return {
        "rate": num_clips / elapsed,
        "cpu_seconds": cpu / num_clips,
        "first_seconds": first - imported,
        "import_seconds": imported - began,
    }


def check(batch: Batch | None, task: Task) -> None:
    """Stop unless a batch is what was asked for."""
    if batch is None:
        return
    video, tokens = batch
    shape, dtype = tuple(video.shape), str(video.dtype).removeprefix("torch.")
    size, num_frames, height, width, channels = task.batch_shape
    if shape not in (task.batch_shape, (size, channels, num_frames, height, width)) or dtype != "uint8":
        sys.exit(f"a batch of {shape} {dtype}; expected {task.batch_shape} uint8")
    if len(tokens) != size or "int64" not in str(tokens.dtype):
        sys.exit(f"tokens of {tuple(tokens.shape)} {tokens.dtype}; expected ({size}, L) int64")


def _cpu_seconds() -> float:
    """Return what this process and its descendants have used so far, those that have ended among them."""
    root = psutil.Process()
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


# ---- All runs


def run(yardstick: Yardstick, row: Row, folder: Path, seconds: float) -> Measured:
    """Measure in a new process, and watch its memory. Raises RuntimeError when that fails."""
    answer, peak = _watched("--measure", yardstick, row, folder, "--seconds", str(seconds * row.seconds_factor))
    return Measured(**json.loads(answer.splitlines()[-1]), peak_bytes=peak)


def prepare(yardstick: Yardstick, row: Row, folder: Path) -> None:
    """Make what a yardstick needs, in a process of its own: some libraries change how processes are started, and chat."""
    _watched("--prepare", yardstick, row, folder)


def _watched(action: str, yardstick: Yardstick, row: Row, folder: Path, *more: str) -> tuple[str, int]:
    """Run this program for one yardstick, and return what it prints and its peak of memory."""
    command = [sys.executable, __file__, action, yardstick.name, "--rows", row.name, "--folder", str(folder), *more]
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        # A group of its own: workers of one that hangs are ended with it.
        process = subprocess.Popen(command, stdout=output, stderr=errors, start_new_session=True)
        try:
            peak = _watch(process)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            last = errors.read().strip().splitlines()[-1:]
            raise RuntimeError(f"ended with status {process.returncode}: {' '.join(last)}")
        return output.read(), peak


def _watch(process: subprocess.Popen[bytes]) -> int:
    """Wait for a process, but not for ever; return the most memory that it and its descendants had together."""
    peak, root, end = 0, psutil.Process(process.pid), time.monotonic() + _LONGEST_SECONDS
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(psutil.NoSuchProcess):
            peak = max(peak, sum(one.memory_info().rss for one in (root, *root.children(recursive=True))))
        time.sleep(_EVERY_SECONDS)
    return peak


def candidates(row: Row, only: Sequence[str], tasks: dict[str, Task]) -> list[Yardstick]:
    """Return ours and the yardsticks that can read a row's datasets, ours of its first dataset in front."""
    extensions = [tasks[name].extension for name in row.datasets]
    able = [one for one in (*OURS, *YARDSTICKS) if one.extension in extensions]
    return [one for one in able if one in OURS or not only or any(word.lower() in one.name.lower() for word in only)]


def task_of(yardstick: Yardstick, row: Row, folder: Path) -> Task:
    """Return what a yardstick has to load, with a folder of its own for what it prepares."""
    tasks = {name: Task(str(folder / name)) for name in row.datasets}
    name = next(name for name, task in tasks.items() if task.extension == yardstick.extension)
    own = "".join(letter if letter.isalnum() else "-" for letter in yardstick.name)
    return Task(str(folder / name), row.select, str(folder / "prepared" / f"{name}-{own}"))


def compare(row: Row, asked: argparse.Namespace, folder: Path) -> None:
    """Run ours and all yardsticks of a row in turn, and print a table."""
    tasks = {name: Task(str(folder / name)) for name in row.datasets}
    able = candidates(row, asked.only, tasks)
    runs: dict[str, list[Measured]] = {one.name: [] for one in able}
    for yardstick in able:
        _or_leave_out(yardstick, row, runs, lambda one=yardstick: prepare(one, row, folder))
    warm(folder)
    for number in range(asked.rounds):
        for yardstick in able:
            measured = _or_leave_out(yardstick, row, runs, lambda one=yardstick: run(one, row, folder, asked.seconds))
            if measured is not None:
                runs[yardstick.name].append(measured)
                _say(f"{row.name}, round {number + 1} of {asked.rounds}: {yardstick.name}: {measured.rate:,.0f} clips/s")
    print_table(row, tasks, runs)


def _or_leave_out(yardstick: Yardstick, row: Row, runs: dict[str, list[Measured]], act: Callable[[], Any]) -> Any:
    """Do something for a loader that is still in the race; one that fails is out of it, and it is said why."""
    if yardstick.name in runs:
        try:
            return act()
        except RuntimeError as error:
            _say(f"{row.name}: without {yardstick.name}: {error}")
            del runs[yardstick.name]
    return None


def print_table(row: Row, tasks: dict[str, Task], runs: dict[str, list[Measured]]) -> None:
    """Print medians of a row, and how many times as fast as each ours was in the same round."""
    sizes = ", ".join(f"{name} {len(task.clips):,} clips of {_kilobytes(task)}" for name, task in tasks.items())
    print(f"\n### {row.title}\n\n{sizes}\n")
    print("| loader | clips/s | t2vdata / this | CPU ms/clip | first batch, s | imports, s | peak RSS |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    reference = next((own for name, own in runs.items() if name.startswith("t2vdata")), [])
    for name, own in runs.items():
        ratios = [one.rate / each.rate for one, each in zip(reference, own, strict=False)]
        middle = {field: statistics.median(getattr(one, field) for one in own) for field in Measured.__dataclass_fields__}
        cells = (
            name,
            _spread([one.rate for one in own], ",.0f"),
            "" if own is reference or not ratios else _spread(ratios, ".2f"),
            f"{middle['cpu_seconds'] * 1e3:.3f}",
            f"{middle['first_seconds']:.2f}",
            f"{middle['import_seconds']:.1f}",
            f"{middle['peak_bytes'] / 1e6:,.0f} MB",
        )
        print(f"| {' | '.join(cells)} |", flush=True)


def _kilobytes(task: Task) -> str:
    return f"{statistics.mean(row['pixels_size'] for row in task.clips) / 1e3:.1f} kB ({task.extension})"


def print_header(asked: argparse.Namespace) -> None:
    """Say what the numbers were taken on."""
    versions = ", ".join(f"{package} {_version(package)}" for package in PACKAGES)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count()
    load = ", ".join(f"{one:.1f}" for one in psutil.getloadavg())
    print(f"- {_cpu_model()}, {cores} cores for us; load before (1, 5, 15 minutes): {load}; {platform.platform()}")
    print(f"- Python {platform.python_version()}, {versions}")
    print(
        f"- batches of {BATCH_SIZE}; {CORES} worker threads or processes each, none where it says so; one thread in a decoder"
    )
    print(f"- median (min to max) of {asked.rounds} rounds of {asked.seconds:g} s, twice that for 256x256; files in memory")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "is not there"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _spread(values: Sequence[float], form: str) -> str:
    middle, least, most = (format(one, form) for one in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({least} to {most})" if len(values) > 1 else middle


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def one_run(asked: argparse.Namespace, row: Row) -> None:
    """Be the process of one loader."""
    yardstick = next(one for one in (*OURS, *YARDSTICKS) if one.name == (asked.prepare or asked.measure))
    task = task_of(yardstick, row, asked.folder)
    if asked.prepare:
        yardstick.prepare(task)
    else:
        # After whatever a library has printed.
        print("\n" + json.dumps(measure(yardstick, task, asked.seconds)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where datasets are built, and kept; a temporary one unless told")
    parser.add_argument("--videos", type=Path, help="folder of the real videos")
    parser.add_argument("--rows", default="mnist,real64,sheets64,real256", help="beginnings of their names [%(default)s]")
    parser.add_argument(
        "--only", action="append", default=[], help="yardsticks with this in their names, and ours; may be repeated"
    )
    parser.add_argument("--rounds", type=int, default=5, help="[%(default)s]")
    parser.add_argument("--seconds", type=float, default=3, help="of reading in each run [%(default)s]")
    parser.add_argument("--mnist-clips", type=int, default=4000, help="of mnist-motion, where it is built now [%(default)s]")
    parser.add_argument("--prepare", help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    rows = [row for row in ROWS if any(row.name.startswith(name) for name in asked.rows.split(","))]
    if not rows or asked.rounds < 1 or asked.seconds <= 0:
        parser.error(f"expected rows among {', '.join(row.name for row in ROWS)}, 1 round or more, and more than 0 seconds")
    if asked.prepare or asked.measure:
        one_run(asked, rows[0])
        return
    with contextlib.ExitStack() as stack:
        folder = asked.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-loading-")))
        for name in dict.fromkeys(name for row in rows for name in row.datasets):
            if not (folder / name / "manifest.json").exists():
                build(name, folder, asked)
        print_header(asked)
        for row in rows:
            compare(row, asked, folder)


if __name__ == "__main__":
    main()

"""Compare the speed of the loader with other ways to load the same clips (loading_yardsticks.py).

``python tests/benchmarks/bench_loading.py --videos FOLDER`` prints Markdown for docs/benchmarks.md; FOLDER contains the real
videos that real_clips.py cuts. ``--folder`` keeps the datasets for the next run, ``--rows mnist`` needs no videos,
``--only SPDL`` runs only that yardstick and ours. No speed is asserted: machines differ, and are noisy.

Our loader and the yardsticks alternate within each round, each in a new process; ratios are taken within a round. The
measurement is of the steady state: two batches are loaded before the clock starts, and the number of measured batches is even,
as two workers deliver batches in pairs. Small datasets are read repeatedly. The time to the first batch excludes imports.
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
"""A run that takes longer is considered hung."""


def ours(task: Task) -> Iterator[Batch]:
    """Yield batches of our loader, epoch after epoch."""
    import t2vdata
    from t2vdata.loading import LoadSpec, loader

    dataset = t2vdata.open_dataset(task.folder)
    vocabulary = t2vdata.Vocabulary.load(dataset.vocabulary_path)
    stride = loading_yardsticks.selected_frames(task.clips[0]["num_frames"], task.select).step
    frames: dict[str, Any] = {
        "all": {},
        "even": {"num_frames": NUM_FRAMES, "stride": stride, "start": "centre"},
        "crop": {"num_frames": NUM_FRAMES},
    }[task.select]
    batches = loader(dataset["train"], LoadSpec(batch_size=BATCH_SIZE, drop_last=True, **frames), vocabulary=vocabulary, seed=0)
    while True:
        for batch in batches:
            yield batch.video, batch.tokens


OURS = tuple(
    Yardstick(f"t2vdata, {extension}", extension, ours, {}, "torch t2vdata.loading.dataloader")
    for extension in ("npy.zst", "mp4", "jpg")
)


@dataclass(frozen=True)
class Row:
    """A dataset to load and the frames to take."""

    name: str
    title: str
    datasets: tuple[str, ...]
    """Names of the datasets; ratios are relative to our loader on the first."""
    select: Literal["all", "even", "crop"] = "all"
    seconds_factor: int = 1
    """Factor on --seconds: large clips need longer for enough batches."""


ROWS = (
    Row("mnist", "mnist-motion, 64x64, 32 frames, grey", ("mnist-lossless", "mnist-h264")),
    Row("real64", "real clips, h264, 64x64, 32 frames, RGB", ("real64",)),
    Row("sheets64", "the same clips as JPEG sheets", ("sheets64",)),
    Row("real256-even", f"real clips, h264, 256x256, {NUM_FRAMES} of 90 frames, evenly spaced", ("real256",), "even", 2),
    Row("real256-crop", f"real clips, h264, 256x256, {NUM_FRAMES} of 90 frames, neighbours", ("real256",), "crop", 2),
)


@dataclass(frozen=True)
class Measurement:
    """The result of a run."""

    rate: float
    """Clips/s."""
    cpu_seconds: float
    """Per clip, of the process and its children."""
    first_seconds: float
    """Until the first batch, excluding imports."""
    import_seconds: float
    peak_bytes: int
    """Sum of the RSS of the process and its children; shared pages count in each."""


# ---- Datasets


def build(name: str, folder: Path, options: argparse.Namespace) -> None:
    """Build a dataset."""
    command = [sys.executable, "-m", "t2vdata", "build"]
    if name.startswith("mnist"):
        size = ["--n", str(options.mnist_clips), "--val", "0", "--test", "0", "--shard-size", str(-(-options.mnist_clips // 8))]
        command += ["mnist-motion", *size, "--encoding", name.removeprefix("mnist-")]
    else:
        # Two workers can share the shards evenly; 128 clips are two batches.
        size = ["--size", "64", "--frames", "32", "--n", "512", "--shard-size", "64"]
        if name == "real256":
            size = ["--size", "256", "--frames", "90", "--n", "128", "--shard-size", "32"]
        if options.videos is None:
            sys.exit(f"{name} is cut from real videos; give their folder with --videos, or skip it with --rows mnist")
        encoding = "jpeg" if name == "sheets64" else "h264"
        command += ["benchmarks.real_clips", "--videos", str(options.videos), *size, "--encoding", encoding]
    tests = str(Path(__file__).resolve().parents[1])
    search_path = os.pathsep.join(filter(None, (tests, os.environ.get("PYTHONPATH"))))
    _say(f"building {name}")
    command += ["--workers", str(CORES), "--out", str(folder / name)]
    process = subprocess.run(command, env={**os.environ, "PYTHONPATH": search_path}, capture_output=True, text=True)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with status {process.returncode}:\n{process.stderr.strip()}")


def warm(folder: Path) -> None:
    """Read all files once, so that they are in the page cache."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            path.read_bytes()


# ---- A run, in a process of its own


def measure(yardstick: Yardstick, task: Task, seconds: float) -> dict[str, float]:
    """Load batches for ``seconds``."""
    began = time.perf_counter()
    for package in yardstick.packages.split():
        importlib.import_module(package)
    imported = time.perf_counter()
    # A generator, closed at the end so that its workers end.
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
    """Exit unless a batch has the expected shape and dtype."""
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
    """Return the CPU time of this process and its descendants so far, including those that have ended."""
    root = psutil.Process()
    total = 0.0
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += sum(process.cpu_times()[:4])
    return total


# ---- All runs


def run(yardstick: Yardstick, row: Row, folder: Path, seconds: float) -> Measurement:
    """Measure in a new process, and watch its memory. Raises RuntimeError if that fails."""
    answer, peak = _watched("--measure", yardstick, row, folder, "--seconds", str(seconds * row.seconds_factor))
    return Measurement(**json.loads(answer.splitlines()[-1]), peak_bytes=peak)


def prepare(yardstick: Yardstick, row: Row, folder: Path) -> None:
    """Prepare what a yardstick needs, in its own process: some libraries change how processes start, and print."""
    _watched("--prepare", yardstick, row, folder)


def _watched(action: str, yardstick: Yardstick, row: Row, folder: Path, *more: str) -> tuple[str, int]:
    """Run this program for a yardstick; return its output and its peak memory."""
    command = [sys.executable, __file__, action, yardstick.name, "--rows", row.name, "--folder", str(folder), *more]
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        # In its own process group, so that hung workers are killed with it.
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
    """Wait for a process, with a deadline; return the peak total memory of it and its descendants."""
    peak, root, end = 0, psutil.Process(process.pid), time.monotonic() + _LONGEST_SECONDS
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(psutil.NoSuchProcess):
            peak = max(peak, sum(member.memory_info().rss for member in (root, *root.children(recursive=True))))
        time.sleep(_EVERY_SECONDS)
    return peak


def candidates(row: Row, only: Sequence[str], tasks: dict[str, Task]) -> list[Yardstick]:
    """Return the loaders that can read a row's datasets: ours on the first dataset comes first."""
    extensions = [tasks[name].extension for name in row.datasets]
    able = [loader for loader in (*OURS, *YARDSTICKS) if loader.extension in extensions]
    return [
        loader for loader in able if loader in OURS or not only or any(word.lower() in loader.name.lower() for word in only)
    ]


def task_of(yardstick: Yardstick, row: Row, folder: Path) -> Task:
    """Return the task of a yardstick, with its own folder for what it prepares."""
    tasks = {name: Task(str(folder / name)) for name in row.datasets}
    name = next(name for name, task in tasks.items() if task.extension == yardstick.extension)
    folder_name = "".join(letter if letter.isalnum() else "-" for letter in yardstick.name)
    return Task(str(folder / name), row.select, str(folder / "prepared" / f"{name}-{folder_name}"))


def compare(row: Row, options: argparse.Namespace, folder: Path) -> None:
    """Run our loader and all yardsticks of a row alternately, and print a table."""
    tasks = {name: Task(str(folder / name)) for name in row.datasets}
    able = candidates(row, options.only, tasks)
    runs: dict[str, list[Measurement]] = {yardstick.name: [] for yardstick in able}
    for yardstick in able:
        _or_drop(yardstick, row, runs, lambda loader=yardstick: prepare(loader, row, folder))
    warm(folder)
    for number in range(options.rounds):
        for yardstick in able:
            measurement = _or_drop(yardstick, row, runs, lambda loader=yardstick: run(loader, row, folder, options.seconds))
            if measurement is not None:
                runs[yardstick.name].append(measurement)
                _say(f"{row.name}, round {number + 1} of {options.rounds}: {yardstick.name}: {measurement.rate:,.0f} clips/s")
    print_table(row, tasks, runs)


def _or_drop(yardstick: Yardstick, row: Row, runs: dict[str, list[Measurement]], act: Callable[[], Any]) -> Any:
    """Do something for a loader that is still in the comparison; if it fails, report why and drop it."""
    if yardstick.name in runs:
        try:
            return act()
        except RuntimeError as error:
            _say(f"{row.name}: without {yardstick.name}: {error}")
            del runs[yardstick.name]
    return None


def print_table(row: Row, tasks: dict[str, Task], runs: dict[str, list[Measurement]]) -> None:
    """Print the medians of a row, and how many times faster our loader was than each in the same round."""
    sizes = ", ".join(f"{name} {len(task.clips):,} clips of {_kilobytes(task)}" for name, task in tasks.items())
    print(f"\n### {row.title}\n\n{sizes}\n")
    print("| loader | clips/s | t2vdata / this | CPU ms/clip | first batch, s | imports, s | peak RSS |")
    print("|---|--:|--:|--:|--:|--:|--:|")
    reference = next((results for name, results in runs.items() if name.startswith("t2vdata")), [])
    for name, results in runs.items():
        ratios = [ours.rate / theirs.rate for ours, theirs in zip(reference, results, strict=False)]
        medians = {
            field: statistics.median(getattr(result, field) for result in results) for field in Measurement.__dataclass_fields__
        }
        cells = (
            name,
            _spread([result.rate for result in results], ",.0f"),
            "" if results is reference or not ratios else _spread(ratios, ".2f"),
            f"{medians['cpu_seconds'] * 1e3:.3f}",
            f"{medians['first_seconds']:.2f}",
            f"{medians['import_seconds']:.1f}",
            f"{medians['peak_bytes'] / 1e6:,.0f} MB",
        )
        print(f"| {' | '.join(cells)} |", flush=True)


def _kilobytes(task: Task) -> str:
    return f"{statistics.mean(row['pixels_size'] for row in task.clips) / 1e3:.1f} kB ({task.extension})"


def print_header(options: argparse.Namespace) -> None:
    """Print the machine and versions of the measurement."""
    versions = ", ".join(f"{package} {_version(package)}" for package in PACKAGES)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count()
    load = ", ".join(f"{average:.1f}" for average in psutil.getloadavg())
    print(f"- {_cpu_model()}, {cores} usable cores; load before (1, 5, 15 minutes): {load}; {platform.platform()}")
    print(f"- Python {platform.python_version()}, {versions}")
    print(f"- batches of {BATCH_SIZE}; {CORES} worker threads or processes each unless noted; one thread per decoder")
    print(f"- median (min to max) of {options.rounds} rounds of {options.seconds:g} s, twice that for 256x256; files cached")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "(not installed)"


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _spread(values: Sequence[float], form: str) -> str:
    median, smallest, largest = (format(value, form) for value in (statistics.median(values), min(values), max(values)))
    return f"{median} ({smallest} to {largest})" if len(values) > 1 else median


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run_in_this_process(options: argparse.Namespace, row: Row) -> None:
    """Run a loader in this process, for ``--prepare`` or ``--measure``."""
    yardstick = next(loader for loader in (*OURS, *YARDSTICKS) if loader.name == (options.prepare or options.measure))
    task = task_of(yardstick, row, options.folder)
    if options.prepare:
        yardstick.prepare(task)
    else:
        # On its own line, after whatever a library has printed.
        print("\n" + json.dumps(measure(yardstick, task, options.seconds)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where to build and keep datasets (default: a temporary folder)")
    parser.add_argument("--videos", type=Path, help="folder of the real videos")
    parser.add_argument("--rows", default="mnist,real64,sheets64,real256", help="prefixes of their names [%(default)s]")
    parser.add_argument("--only", action="append", default=[], help="yardsticks with this in their names; may be repeated")
    parser.add_argument("--rounds", type=int, default=5, help="[%(default)s]")
    parser.add_argument("--seconds", type=float, default=3, help="length of each run [%(default)s]")
    parser.add_argument("--mnist-clips", type=int, default=4000, help="clips of mnist-motion to build [%(default)s]")
    parser.add_argument("--prepare", help=argparse.SUPPRESS)
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    rows = [row for row in ROWS if any(row.name.startswith(name) for name in options.rows.split(","))]
    if not rows or options.rounds < 1 or options.seconds <= 0:
        parser.error(f"expected rows among {', '.join(row.name for row in ROWS)}, 1 round or more, and more than 0 seconds")
    if options.prepare or options.measure:
        run_in_this_process(options, rows[0])
        return
    with contextlib.ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-loading-")))
        for name in dict.fromkeys(name for row in rows for name in row.datasets):
            if not (folder / name / "manifest.json").exists():
                build(name, folder, options)
        print_header(options)
        for row in rows:
            compare(row, options, folder)


if __name__ == "__main__":
    main()

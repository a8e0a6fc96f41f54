"""Beyond one machine: engines, planning and opening millions of clips, and loading from S3 on loopback.

python tests/benchmarks/bench_scale.py engines [--n 20000] [--repeats 3]
python tests/benchmarks/bench_scale.py index [--n 1000000 10000000]
python tests/benchmarks/bench_scale.py loading [--n 20000] [--repeats 3]

``engines`` builds mnist-motion serially, with two processes, and on Ray with one and two workers; then the same clips in ten
times as many shards, which shows the overhead of a shard. Starting Ray is not timed. ``index`` measures fresh processes.
``loading`` reads an epoch from a folder, and from SeaweedFS with an empty and a full cache.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

TESTS = Path(__file__).parents[1]
sys.path.insert(0, str(TESTS))

import servers  # noqa: E402

from t2vdata import open_dataset  # noqa: E402
from t2vdata.build.run import BuildSpec, build_dataset  # noqa: E402
from t2vdata.engines import local  # noqa: E402
from t2vdata.engines.ray import RayEngine, connected  # noqa: E402
from t2vdata.loading import CacheSpec, Loader, LoadSpec, Resources  # noqa: E402
from t2vdata.processes import usable_cores  # noqa: E402

MEASURED = """
import re, sys, time
{imports}
start, used = time.perf_counter(), time.process_time()
{code}
wall, cpu = time.perf_counter() - start, time.process_time() - used
# getrusage would include the peak of the parent.
peak = int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
print(f"{{wall:.2f}} | {{cpu:.2f}} | {{peak / 1024:,.0f}} |")
"""
PLAN = """
spec = BuildSpec("mnist-motion", options={"n": int(sys.argv[1])})
dataset = spec.open()
shards = sum(1 for _ in plan_shards(spec, splits(dataset), dataset.clip_filters()))
"""
OPEN = """
table = SplitIndex.read(open_dataset(sys.argv[1])["train"])
"""


def seconds(work: Callable[[], object], repeats: int) -> list[float]:
    durations = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        durations.append(time.perf_counter() - start)
    return sorted(durations)


@contextlib.contextmanager
def ray_workers(count: int) -> Iterator[RayEngine]:
    """Start Ray on this machine with ``count`` warm workers."""
    with connected(None, count):
        engine = RayEngine(num_tasks=count)
        # Workers import their modules in the first builds.
        for _ in range(2):
            with tempfile.TemporaryDirectory() as out:
                build_dataset(BuildSpec("mnist-motion", options={"n": 20 * count}, shard_size=1), out, engine=engine)
        yield engine


def engines(n: int, repeats: int) -> None:
    variants = (
        ("serial", 1, lambda: contextlib.nullcontext(local.run)),
        ("2 processes", 2, lambda: contextlib.nullcontext(local.run)),
        ("Ray, 1 worker", 1, lambda: ray_workers(1)),
        ("Ray, 2 workers", 2, lambda: ray_workers(2)),
    )
    with tempfile.TemporaryDirectory() as out:
        # An untimed run first, for the imports of this process.
        build_dataset(BuildSpec("mnist-motion", options={"n": 20}), out, num_workers=1)
    print("| engine | clips per shard | shards | seconds, median (min, max) | clips/s | ms per shard above serial |")
    print("|---|--:|--:|--:|--:|--:|")
    for shard_size in (1000, 100):
        spec = BuildSpec("mnist-motion", options={"n": n, "val": 0, "test": 0}, shard_size=shard_size)
        num_shards = -(-n // shard_size)
        serial = 0.0
        for name, workers, start in variants:
            with start() as engine:

                def build(engine: object = engine, workers: int = workers, spec: BuildSpec = spec) -> None:
                    with tempfile.TemporaryDirectory() as out:
                        build_dataset(spec, out, num_workers=workers, engine=engine)

                durations = seconds(build, repeats)
            median = statistics.median(durations)
            serial = serial or median
            above = 1000 * (median * workers - serial) / num_shards
            print(f"| {name} | {shard_size} | {num_shards} | {median:.2f} ({durations[0]:.2f}, {durations[-1]:.2f}) | "
                  f"{n / median:,.0f} | {above:,.1f} |", flush=True)  # fmt: skip


def index(counts: list[int]) -> None:
    print("| what | clips | seconds | CPU seconds | memory, MiB |\n|---|--:|--:|--:|--:|")
    imports = "from t2vdata.build.planning import plan_shards, splits; from t2vdata.build.spec import BuildSpec"
    for count in counts:
        measured("planning mnist-motion", count, imports, PLAN, str(count))
    imports = "import numpy, pyarrow.parquet\nfrom t2vdata import open_dataset\nfrom t2vdata.loading.index import SplitIndex"
    for count in counts:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "set"
            subprocess.run([sys.executable, str(TESTS / "synthetic_index.py"), str(folder), str(count)], check=True)
            size = (folder / "index.parquet").stat().st_size
            with open(folder / "index.parquet", "rb") as file:
                file.seek(-8, os.SEEK_END)
                footer = int.from_bytes(file.read(4), "little")
            measured(
                f"opening an index of {size / 1e6:,.0f} MB, footer {footer / 1e6:,.1f} MB", count, imports, OPEN, str(folder)
            )


def measured(what: str, count: int, imports: str, code: str, *words: str) -> None:
    command = [sys.executable, "-c", MEASURED.format(imports=imports, code=code), *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    print(f"| {what} | {count:,} | {done.stdout.strip()}", flush=True)


def loading(n: int, repeats: int) -> None:
    import fsspec

    with tempfile.TemporaryDirectory() as temporary:
        top = Path(temporary)
        build_dataset(BuildSpec("mnist-motion", options={"n": n, "val": 0, "test": 0}), top / "set")
        with servers.s3_server(top / "s3") as endpoint:
            os.environ.update(servers.s3_environment(endpoint))
            store = fsspec.filesystem("s3")
            store.mkdir("bucket")
            for path in sorted((top / "set").iterdir()):
                store.put_file(str(path), f"bucket/set/{path.name}")

            def epoch(url: str, cache: Path) -> None:
                resources = Resources(cache=CacheSpec(folder=str(cache)))
                spec = LoadSpec(batch_size=64, num_frames=16, window=8)
                with Loader(open_dataset(url)["train"], spec, resources=resources) as reading:
                    assert sum(len(batch) for batch in reading) == n

            print("| from | seconds, median (min, max) | clips/s | relative to folder |\n|---|--:|--:|--:|")
            cold = iter(range(repeats))
            variants = (
                ("a folder", lambda: epoch(str(top / "set"), top / "none")),
                ("S3, empty cache", lambda: epoch("s3://bucket/set", top / f"cache-{next(cold)}")),
                ("S3, full cache", lambda: epoch("s3://bucket/set", top / "cache-0")),
            )
            # An untimed run first, for imports and the page cache.
            epoch(str(top / "set"), top / "none")
            base = 0.0
            for name, work in variants:
                durations = seconds(work, repeats)
                median = statistics.median(durations)
                base = base or median
                spread = f"{median:.2f} ({durations[0]:.2f}, {durations[-1]:.2f})"
                print(f"| {name} | {spread} | {n / median:,.0f} | {base / median:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["engines", "index", "loading"])
    parser.add_argument("--n", type=int, nargs="+")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("ray", "pyarrow", "s3fs", "torch"))
    load = os.getloadavg()[0]
    print(f"Python {platform.python_version()}, {platform.machine()}, {usable_cores()} cores, load {load:.1f}; {versions}\n")
    match arguments.what:
        case "engines":
            engines((arguments.n or [20_000])[0], arguments.repeats)
        case "index":
            index(arguments.n or [1_000_000, 10_000_000])
        case _:
            loading((arguments.n or [20_000])[0], arguments.repeats)


if __name__ == "__main__":
    main()

"""``t2vdata bench``: measure how fast a dataset loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from t2vdata.cli import SETTINGS
from t2vdata.cli._console import echo_json

if TYPE_CHECKING:
    from t2vdata.bench import BenchReport


@click.command(
    "bench", context_settings=SETTINGS, epilog="Example: t2vdata bench data/mnist-motion --num-frames 16 --step-ms 20"
)
@click.argument("path")
@click.option("--split", help="Split to read.  [default: train, or the first]")
@click.option("--batch-size", type=int, default=64, show_default=True, help="Clips per batch.")
@click.option("--num-frames", type=int, help="Frames per clip: consecutive ones from a random start.  [default: all]")
@click.option(
    "--size", type=int, help="Resize the shorter side to this many pixels and crop the centre square.  [default: as stored]"
)
@click.option("--workers", type=int, help="Number of decoding threads or processes.  [default: one per core, at most 8]")
@click.option("--processes/--threads", default=None, help="Kind of workers.  [default: the faster kind for this encoding]")
@click.option(
    "--seconds", type=float, default=5.0, show_default=True, help="Duration of the reading part, and of the decoding part."
)
@click.option("--step-ms", type=float, help="Sleep after each batch, like a training step of this length.")
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the clip order.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def command(
    path: str,
    split: str | None,
    batch_size: int,
    num_frames: int | None,
    size: int | None,
    workers: int | None,
    processes: bool | None,
    seconds: float,
    step_ms: float | None,
    seed: int,
    as_json: bool,
) -> None:
    """Measure how fast the dataset at PATH, a folder or URL, loads as batches on this machine.

    Also measures the floor: decoding the same bytes from memory, with as many workers, without converting colours or making
    batches. More than 100 % of it is possible, because the floor opens each file and decodes all of its frames. With --step-ms,
    it reports the share of time that training with steps of this length waits for data.
    """
    from t2vdata.bench import bench
    from t2vdata.loading.spec import LoadSpec, Resources

    report = bench(
        path,
        split=split,
        spec=LoadSpec(batch_size=batch_size, num_frames=num_frames, resize=size, crop=size),
        resources=Resources(workers=workers, processes=processes),
        seconds=seconds,
        step_milliseconds=step_ms,
        seed=seed,
    )
    if as_json:
        echo_json(report.as_json())
        return
    _print(report)


def _print(report: BenchReport) -> None:
    from t2vdata.cli._console import console, table

    shape = ", ".join(map(str, report.batch_shape))
    tokens = "with tokens" if report.has_tokens else "without tokens: there is no vocabulary"
    out = console()
    out.print(f"{report.dataset} in {report.path}, {report.split}: {report.clips:,} clips", markup=False, soft_wrap=True)
    out.print(f"{report.batches_read:,} batches of ({shape}), {tokens}", markup=False)
    out.print(table(f"measured for {report.seconds:.1f} s", "", rows=_rows(report)))
    singular, plural = {True: ("process", "processes"), False: ("thread", "threads"), None: ("worker", "workers")}[
        report.processes
    ]
    kind = singular if report.workers == 1 else plural
    backends = ", ".join(f"{extension} with {backend}" for extension, backend in report.backends.items())
    out.print(
        f"{report.workers} {kind} on {report.cores} cores, {report.prefetch} batches prefetched; {backends}", markup=False
    )
    out.print(", ".join(f"{name} {version}" for name, version in report.versions.items()), markup=False, soft_wrap=True)


def _rows(report: BenchReport) -> list[list[str]]:
    from t2vdata.cli._console import format_size

    step, share = report.step_milliseconds, report.share_of_floor
    return [
        ["clips/s, median of 5 parts", f"{report.clips_per_second:,.0f}"],
        ["clips/s overall", f"{report.clips_per_second_overall:,.0f}"],
        *([] if step is None else [[f"waited for data, with steps of {step:g} ms", f"{report.waited_share:.1%}"]]),
        ["read, encoded", f"{format_size(report.encoded_bytes_per_second)}/s"],
        ["decoded, pixels", f"{format_size(report.pixel_bytes_per_second)}/s"],
        ["first batch after", f"{report.first_batch_seconds:.2f} s"],
        ["between batches, median", f"{report.batch_milliseconds_p50:.2f} ms"],
        ["between batches, 95th percentile", f"{report.batch_milliseconds_p95:.2f} ms"],
        ["CPU time per 1,000 clips", f"{report.cpu_seconds_per_1000_clips:.3f} s"],
        ["peak memory", format_size(report.peak_bytes)],
        ["floor: clips/s decoded, nothing else", f"{report.floor_clips_per_second:,.0f}"],
        *([] if share is None else [["share of the floor", f"{share:.0%}"]]),
    ]

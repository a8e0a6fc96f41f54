"""``t2vdata bench``"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from t2vdata.cli import SETTINGS

if TYPE_CHECKING:
    from t2vdata.bench import BenchReport


@click.command(
    "bench", context_settings=SETTINGS, epilog="Example: t2vdata bench data/mnist-motion --num-frames 16 --step-ms 20"
)
@click.argument("path")
@click.option("--split", help="Split to read; train unless told, or the first when there is none.")
@click.option("--batch-size", type=int, default=64, show_default=True, help="Clips of a batch.")
@click.option("--num-frames", type=int, help="Frames of each clip, neighbours from a random place; all unless told.")
@click.option("--size", type=int, help="Pixels of the shorter side; the centre square is taken. As stored unless told.")
@click.option("--workers", type=int, help="Threads or processes that decode; one for each core unless told, at most 8.")
@click.option("--processes/--threads", default=None, help="Kind of workers; what is known to be faster unless told.")
@click.option("--seconds", type=float, default=5.0, show_default=True, help="How long to read, and then to decode alone.")
@click.option("--step-ms", type=float, help="Sleep so long after each batch, as a training step would.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order of the clips.")
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
    """Measure how fast the dataset at PATH, a folder or URL, is read into batches on this machine.

    Also measured is the floor: the same bytes decoded, from memory, on as many workers, without making pixels or batches of
    them. More than 100 % of it is possible, as the floor opens each file and decodes all of its frames. With --step-ms, what
    counts is the share of time that a training step of that length waits for data.
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
        import json

        click.echo(json.dumps(report.as_json(), indent=2))
        return
    _print(report)


def _print(report: BenchReport) -> None:
    from t2vdata.cli._tables import console, table

    shape = ", ".join(map(str, report.batch_shape))
    tokens = "with tokens" if report.has_tokens else "without tokens, as there is no vocabulary"
    out = console()
    out.print(f"{report.dataset} in {report.path}, {report.split}: {report.clips:,} clips", markup=False, soft_wrap=True)
    out.print(f"{report.batches_read:,} batches of ({shape}), {tokens}", markup=False)
    out.print(table(f"measured for {report.seconds:.1f} s", "", rows=_rows(report)))
    one, many = {True: ("process", "processes"), False: ("thread", "threads"), None: ("worker", "workers")}[report.processes]
    kind = one if report.workers == 1 else many
    backends = ", ".join(f"{extension} with {backend}" for extension, backend in report.backends.items())
    out.print(f"{report.workers} {kind} on {report.cores} cores, {report.prefetch} batches ahead; {backends}", markup=False)
    out.print(", ".join(f"{name} {version}" for name, version in report.versions.items()), markup=False, soft_wrap=True)


def _rows(report: BenchReport) -> list[list[str]]:
    from t2vdata.cli._tables import size

    step, share = report.step_milliseconds, report.share_of_floor
    return [
        ["clips/s, median of 5 parts", f"{report.clips_per_second:,.0f}"],
        ["clips/s overall", f"{report.clips_per_second_overall:,.0f}"],
        *([] if step is None else [[f"waited for data, with steps of {step:g} ms", f"{report.waited_share:.1%}"]]),
        ["read, encoded", f"{size(report.encoded_bytes_per_second)}/s"],
        ["made, pixels", f"{size(report.pixel_bytes_per_second)}/s"],
        ["first batch after", f"{report.first_batch_seconds:.2f} s"],
        ["from batch to batch, median", f"{report.batch_milliseconds_p50:.2f} ms"],
        ["from batch to batch, 95th percentile", f"{report.batch_milliseconds_p95:.2f} ms"],
        ["processor time for 1,000 clips", f"{report.cpu_seconds_per_1000_clips:.3f} s"],
        ["memory at its peak", size(report.peak_bytes)],
        ["floor: clips/s decoded whole, nothing else done", f"{report.floor_clips_per_second:,.0f}"],
        *([] if share is None else [["ours, of the floor", f"{share:.0%}"]]),
    ]

"""``t2vdata build``: build a dataset, preview a build, or retry failed clips."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from t2vdata import datasets
from t2vdata.cli import INTERRUPTED, SETTINGS
from t2vdata.cli._console import echo
from t2vdata.cli._options import PathOrUrl, dataset_flags
from t2vdata.cli._progress import progress
from t2vdata.errors import RequestError

if TYPE_CHECKING:
    from t2vdata.build.run import BuildResult, Engine, Progress
    from t2vdata.build.spec import BuildSpec
    from t2vdata.estimate.dry_run import DryRun
    from t2vdata.types import Tally


def common_flags(name: str) -> list[click.Option]:
    """Return the flags that every dataset shares; ``name`` sets the defaults of --name, --out and --encoding."""
    own_name = datasets.short_name(name)
    encoding = datasets.load(name).ENCODING
    return [
        click.Option(
            ["--name"],
            help=f"Name of the dataset that is built: in its shards, on its card, and in --out.  [default: {own_name}]",
        ),
        click.Option(
            ["--out"], type=click.Path(),
            help=f"Output folder, or a URL: s3://bucket/name ...  [default: {os.path.join('data', own_name)}, or data/NAME]",
        ),
        click.Option(["--seed"], type=int, default=0, show_default=True, help="Seed of all random choices."),
        click.Option(["--workers"], type=int, help="Number of processes; does not affect the bytes.  [default: all cores]"),
        click.Option(["--encoding"], default=encoding, show_default=True, help="lossless (.npy.zst), h264 or jpeg."),
        click.Option(["--gop"], type=int, help="h264: frames from one key frame to the next.  [default: 16]"),
        click.Option(["--crf"], type=int, help="h264: quality, 0 (best) to 51.  [default: 18]"),
        click.Option(["--quality"], type=int, help="jpeg: quality, 1 to 100 (best).  [default: 90]"),
        click.Option(["--shard-size"], type=int, default=1000, show_default=True, help="Maximum number of samples in a shard."),
        click.Option(
            ["--max-failures"], type=float, default=0.05, show_default=True,
            help="Share of clips that may fail, checked after the first 100.",
        ),
        click.Option(["--root"], type=click.Path(), help="Folder or URL of the raw files, for datasets that read raw files."),
        click.Option(
            ["--engine"], type=click.Choice(["processes", "ray"]), default="processes", show_default=True,
            help="Run on processes of this machine, or on Ray.",
        ),
        click.Option(["--ray-address"], help="ray: address of a cluster, or auto.  [default: start Ray on this machine]"),
        click.Option(["--ray-cpus"], type=float, help="ray: cores per task.  [default: 1]"),
        click.Option(["--ray-memory-mb"], type=float, help="ray: megabytes of memory per task, as Ray counts it."),
        click.Option(["--dry-run"], is_flag=True, help="Write nothing; estimate size and time from 20 of the clips."),
        click.Option(
            ["--retry-failed"], is_flag=True,
            help="Retry clips of a finished dataset that failed or had no file, and append those that succeed.",
        ),
    ]  # fmt: skip


class Datasets(click.Group):
    """A command whose first argument NAME is a dataset: its flags come from the dataset's Options."""

    def flags(self, name: str) -> list[click.Option]:
        """Return the flags that do not depend on the dataset."""
        return common_flags(name)

    def run(self, name: str, own: set[str | None], values: dict[str, Any]) -> None:
        """Run the command with the values of all flags; ``own`` names those that come from the dataset's Options."""
        _build(name, own, values)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return datasets.names()

    def get_command(self, ctx: click.Context, name: str) -> click.Command:
        dataset = datasets.load(name)
        own = dataset_flags(dataset)
        example = dataset.EXAMPLE
        return _Build(
            name,
            params=[*own, *self.flags(name)],
            own_names=[option.name or "" for option in own],
            callback=lambda **values: self.run(name, {option.name for option in own}, values),
            help=dataset.description().split("\n\n")[0],
            epilog=f"Example: t2vdata {self.name} {name} {example}".strip(),
            context_settings=SETTINGS,
        )

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Datasets"):
            formatter.write_dl([(name, datasets.load(name).description().split("\n")[0]) for name in datasets.names()])


class _Build(click.Command):
    def __init__(self, *args: Any, own_names: list[str], **extra: Any) -> None:
        super().__init__(*args, **extra)
        self._own_names = own_names

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does, but refuse to drop a file, a column or a name silently, where its flag is repeated."""
        _, _, order = self.make_parser(ctx).parse_args(list(args))
        for parameter in order:
            if order.count(parameter) > 1 and isinstance(parameter.type, click.Path | click.types.StringParamType | PathOrUrl):
                ctx.fail(f"{parameter.opts[0]} is given more than once; give it once")
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own: list[tuple[str, str]] = []
        common: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                (own if parameter.name in self._own_names else common).append(record)
        for title, records in ((f"Options of {self.name}", own), ("Options of every build", common)):
            with formatter.section(title):
                formatter.write_dl(records)


@click.group(
    "build",
    cls=Datasets,
    subcommand_metavar="NAME [OPTIONS]",
    context_settings=SETTINGS,
    epilog="Example: t2vdata build mnist-motion --n 40000\n\n`t2vdata build NAME --help` lists the options of one dataset.",
)
def command() -> None:
    """Build a dataset into WebDataset shards.

    NAME is a dataset from the list below, or the dotted path of your own module. Run the same command again to resume an
    interrupted build. A folder that holds anything else is refused and left unchanged.
    """


def make_spec(name: str, own: set[str | None], values: dict[str, Any]) -> BuildSpec:
    """Return the spec that the values of the flags describe."""
    from t2vdata.build.spec import BuildSpec
    from t2vdata.media.encode import encoding

    settings = {key: values[key] for key in ("gop", "crf", "quality") if values[key] is not None}
    return BuildSpec(
        name,
        options={key: value for key, value in values.items() if key in own},
        seed=values["seed"],
        encoding=encoding(values["encoding"], **settings),
        shard_size=values["shard_size"],
        root=values["root"],
        name=values["name"],
    )


def _build(name: str, own: set[str | None], values: dict[str, Any]) -> None:
    from t2vdata.build.spec import default_folder

    spec = make_spec(name, own, values)
    values["out"] = values["out"] or default_folder(spec)
    if values["dry_run"]:
        from t2vdata.estimate.dry_run import dry_run

        _print_dry_run(estimate := dry_run(spec, num_workers=values["workers"]))
        if not estimate.sampled.kept:
            echo("t2vdata: none of the clips on trial was kept; change the options or the files", err=True)
            sys.exit(1)
        return
    start = time.monotonic()
    try:
        with progress(f"building {spec.dataset_name}", "clips") as advance:
            result = _run(spec, values, lambda build: advance(build.clips, build.total))
    except KeyboardInterrupt:
        echo(f"interrupted; finished shards are kept in {values['out']}: run the same command again to resume", err=True)
        sys.exit(INTERRUPTED)
    _print(result, time.monotonic() - start)
    if not result.manifest.tally.kept:
        sys.exit(1)


def _engine(values: dict[str, Any]) -> Engine:
    if values["engine"] == "ray":
        from t2vdata.engines.ray import RayEngine

        memory = values["ray_memory_mb"]
        # On a cluster, tasks use all of it by default; Ray on this machine starts with --workers cores.
        return RayEngine(
            values["ray_address"],
            num_tasks=values["workers"],
            num_cpus=1.0 if values["ray_cpus"] is None else values["ray_cpus"],
            memory_bytes=None if memory is None else int(memory * 1e6),
        )
    for name in ("ray_address", "ray_cpus", "ray_memory_mb"):
        if values[name] is not None:
            raise RequestError(f"--{name.replace('_', '-')} needs --engine ray")
    from t2vdata.engines import local

    return local.run


def _run(spec: BuildSpec, values: dict[str, Any], on_progress: Callable[[Progress], None]) -> BuildResult:
    engine = _engine(values)
    if values["retry_failed"]:
        from t2vdata.build.append import retry_failed

        return retry_failed(spec, values["out"], num_workers=values["workers"], on_progress=on_progress, engine=engine)
    from t2vdata.build.run import build_dataset

    return build_dataset(
        spec,
        values["out"],
        num_workers=values["workers"],
        max_failures=values["max_failures"],
        on_progress=on_progress,
        engine=engine,
    )


def _print(result: BuildResult, seconds: float) -> None:
    from t2vdata.cli._console import console, format_rate, reason_lines, table

    manifest = result.manifest
    tally = manifest.tally
    rows = [
        _row(name, split.tally, len(split.shards), sum(shard.num_bytes for shard in split.shards))
        for name, split in manifest.splits.items()
    ]
    rows.append(_row("all", tally, sum(len(split.shards) for split in manifest.splits.values()), manifest.num_bytes))
    out = console()
    out.print(table("split", "kept", "rejected", "failed", "shards", "size", rows=rows))
    for line in [*reason_lines("rejected", tally.rejected.items()), *reason_lines("failed", tally.failed.items())]:
        out.print(line, markup=False)
    for name in result.kept_files:
        out.print(f"{name} has been edited, and was kept", markup=False)
    if result.clips_built:
        rate = result.clips_built / seconds
        out.print(
            f"{result.clips_built:,} clips in {seconds:.1f} s ({format_rate(rate)} clips/s) -> {result.out}", markup=False
        )
    else:
        out.print(f"nothing to do: {result.out} is complete", markup=False)
    if tally.kept:
        out.print(f"next: t2vdata show {shlex.quote(result.out)}", markup=False)
    else:
        echo(f"t2vdata: {_why_nothing_is_kept(result)}", err=True)


def _why_nothing_is_kept(result: BuildResult) -> str:
    """Return what to say about a dataset without a clip: the most frequent reason, where all are, and the next move."""
    from t2vdata.format import tables
    from t2vdata.storage import join

    tally = result.manifest.tally
    if not tally.seen:
        return f"{result.out} has no clip: the request has none; check --root, the table and the lists of clips"
    reason, count = max([*tally.rejected.items(), *tally.failed.items()], key=lambda item: item[1])
    return (
        f"{result.out} has no clip: none of {tally.seen:,} was kept, {count:,} for {reason!r}; see "
        f"{join(result.out, tables.REJECTS)}, change the options or the files, and build into another --out, or again with "
        "--retry-failed if files were missing"
    )


def _row(name: str, tally: Tally, num_shards: int, num_bytes: int) -> list[str]:
    from t2vdata.cli._console import format_size

    counts = (tally.kept, tally.num_rejected, tally.num_failed, num_shards)
    return [name, *(f"{count:,}" for count in counts), format_size(num_bytes)]


def _print_dry_run(estimate: DryRun) -> None:
    from t2vdata.cli._console import console, format_duration, format_size, reason_lines, table

    out = console()
    rows = [[name, f"{split.num_clips:,}", f"{sum(split.rejected.values()):,}"] for name, split in estimate.splits.items()]
    out.print(table("split", "clips", "rejected", rows=rows))
    reasons: Counter[str] = sum((Counter(split.rejected) for split in estimate.splits.values()), Counter())
    for line in reason_lines("rejected", reasons.items()):
        out.print(line, markup=False)
    sampled = estimate.sampled
    out.print(
        f"of {sampled.seen} clips built on trial, {sampled.kept} were kept: {format_size(estimate.bytes_per_clip)} and "
        f"{estimate.seconds_per_clip:.2g} s per clip",
        markup=False,
    )
    for reason, count in [*sampled.rejected.items(), *sampled.failed.items()]:
        out.print(f"  {count} not kept: {reason}", markup=False)
    out.print(
        f"expected: about {estimate.num_kept:,} clips, {format_size(estimate.num_bytes)}, {format_duration(estimate.seconds)} "
        f"on {estimate.num_workers} processes; nothing was written",
        markup=False,
    )

"""``t2vdata build``"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from t2vdata import datasets
from t2vdata.cli import INTERRUPTED, SETTINGS
from t2vdata.cli._options import dataset_flags
from t2vdata.cli._progress import progress
from t2vdata.errors import RequestError

if TYPE_CHECKING:
    from t2vdata.build.run import BuildResult, Engine, Progress
    from t2vdata.build.spec import BuildSpec


def common_flags(name: str) -> list[click.Option]:
    out = os.path.join("data", datasets.short_name(name))
    encoding = datasets.encoding(name)
    return [
        click.Option(
            ["--out"], type=click.Path(), default=out, show_default=True,
            help="Folder to build into, or a URL: s3://bucket/name ...",
        ),
        click.Option(["--seed"], type=int, default=0, show_default=True, help="Seed of all random choices."),
        click.Option(["--workers"], type=int, help="Processes; all cores unless told. The bytes do not depend on it."),
        click.Option(["--encoding"], default=encoding, show_default=True, help="lossless (.npy.zst), h264 or jpeg."),
        click.Option(["--gop"], type=int, help="h264: frames from one key frame to the next.  [16]"),
        click.Option(["--crf"], type=int, help="h264: quality, 0 (best) to 51.  [18]"),
        click.Option(["--quality"], type=int, help="jpeg: quality, 1 to 100 (best).  [90]"),
        click.Option(["--shard-size"], type=int, default=1000, show_default=True, help="Samples in a shard, at most."),
        click.Option(
            ["--max-failures"], type=float, default=0.05, show_default=True,
            help="Share of clips that may fail, judged after 100 of them.",
        ),
        click.Option(["--root"], type=click.Path(), help="Folder of the raw files, or its URL, for datasets that need some."),
        click.Option(
            ["--engine"], type=click.Choice(["processes", "ray"]), default="processes", show_default=True,
            help="Who builds: processes of this machine, or Ray.",
        ),
        click.Option(["--ray-address"], help="ray: address of a cluster, or auto; Ray on this machine unless told."),
        click.Option(["--ray-cpus"], type=float, help="ray: cores that a task takes.  [1]"),
        click.Option(["--ray-memory-mb"], type=float, help="ray: megabytes of memory that a task takes, as Ray counts it."),
        click.Option(["--dry-run"], is_flag=True, help="Write nothing; say what would be built, going by 20 of the clips."),
        click.Option(
            ["--retry-failed"], is_flag=True,
            help="Try the clips of a finished dataset again that failed or had no file, and append those that come out.",
        ),
    ]  # fmt: skip


class Datasets(click.Group):
    """A verb whose first word is a dataset: the flags of NAME come from its dataset's Options."""

    def flags(self, name: str) -> list[click.Option]:
        """Return the flags that do not depend on the dataset."""
        return common_flags(name)

    def run(self, name: str, own: set[str | None], values: dict[str, Any]) -> None:
        """Do what the verb does; ``own`` are the names of the dataset's own flags among the values."""
        _build(name, own, values)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return datasets.names()

    def get_command(self, ctx: click.Context, name: str) -> click.Command:
        dataset = datasets.load(name)
        own = dataset_flags(dataset)
        example = getattr(dataset, "EXAMPLE", "")
        return _Build(
            name,
            params=[*own, *self.flags(name)],
            own_names=[option.name or "" for option in own],
            callback=lambda **values: self.run(name, {option.name for option in own}, values),
            help=(dataset.__doc__ or "").strip().split("\n\n")[0],
            epilog=f"Example: t2vdata {self.name} {name} {example}".strip(),
            context_settings=SETTINGS,
        )

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Datasets"):
            formatter.write_dl([(name, (datasets.load(name).__doc__ or "").split("\n")[0]) for name in datasets.names()])


class _Build(click.Command):
    def __init__(self, *args: Any, own_names: list[str], **extra: Any) -> None:
        super().__init__(*args, **extra)
        self._own_names = own_names

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
    epilog="Example: t2vdata build mnist-motion --n 40000\n\n`t2vdata build NAME --help` has the options of one dataset.",
)
def command() -> None:
    """Build a dataset into WebDataset shards.

    NAME is one of the datasets below, or the dotted path of a module of yours. The same command goes on with a build that
    was stopped; a folder that holds something else is left as it is.
    """


def make_spec(name: str, own: set[str | None], values: dict[str, Any]) -> BuildSpec:
    """Return the spec that the flags ask for."""
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
    )


def _build(name: str, own: set[str | None], values: dict[str, Any]) -> None:
    spec = make_spec(name, own, values)
    if values["dry_run"]:
        from t2vdata.cli import _tables
        from t2vdata.estimate.dry_run import forecast

        _tables.print_forecast(forecast(spec, num_workers=values["workers"]))
        return
    begun = time.monotonic()
    try:
        with progress(f"building {datasets.short_name(name)}", "clips") as advance:
            result = _run(spec, values, lambda now: advance(now.clips, now.total))
    except KeyboardInterrupt:
        click.echo(f"stopped; whole shards are kept in {values['out']}: run the same command again to go on", err=True)
        sys.exit(INTERRUPTED)
    from t2vdata.cli import _tables

    _tables.print_build(result, time.monotonic() - begun)


def _engine(values: dict[str, Any]) -> Engine:
    if values["engine"] == "ray":
        from t2vdata.engines.ray import RayEngine

        memory = values["ray_memory_mb"]
        # Of a cluster, all of it unless told; Ray on this machine is as large as --workers says.
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

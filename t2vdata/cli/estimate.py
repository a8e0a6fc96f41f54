"""``t2vdata estimate``"""

from __future__ import annotations

from typing import Any

import click

from t2vdata.cli import SETTINGS
from t2vdata.cli.build import Datasets, common_flags, make_spec

# Of the flags of a build, those that decide what is built.
_DECIDING = ("seed", "encoding", "gop", "crf", "quality", "shard_size", "root")


class _Plans(Datasets):
    def flags(self, name: str) -> list[click.Option]:
        return [
            click.Option(["--cores"], type=int, default=1, show_default=True, help="Cores of all nodes together."),
            click.Option(
                ["--bandwidth"], default="1Gbit", show_default=True,
                help="What all nodes together get from and to the store in a second: 10Gbit, 1.25GB ...",
            ),
            click.Option(["--clips"], type=int, help="Clips like these; as many as the dataset has unless told."),
            click.Option(
                ["--write-requests"], type=float, default=3500, show_default=True,
                help="Requests that write, which the store takes in a second.",
            ),
            click.Option(
                ["--read-requests"], type=float, default=5500, show_default=True,
                help="Requests that read, which the store takes in a second.",
            ),
            *(flag for flag in common_flags(name) if flag.name in _DECIDING),
        ]  # fmt: skip

    def run(self, name: str, own: set[str | None], values: dict[str, Any]) -> None:
        from t2vdata.cli import _tables
        from t2vdata.estimate.cluster import capacity, parse_bandwidth

        found = capacity(
            make_spec(name, own, values),
            cores=values["cores"],
            bytes_per_second=parse_bandwidth(values["bandwidth"]),
            clips=values["clips"],
            writes_per_second=values["write_requests"],
            reads_per_second=values["read_requests"],
        )
        _tables.print_capacity(found, cores=values["cores"])


@click.group(
    "estimate",
    cls=_Plans,
    subcommand_metavar="NAME [OPTIONS]",
    context_settings=SETTINGS,
    epilog="Example: t2vdata estimate mnist-motion --n 1000000 --cores 256 --bandwidth 10Gbit",
)
def command() -> None:
    """Say how long a build would take on a cluster, and what would limit it.

    By 20 of its clips, which are made here. NAME and its options are those of `t2vdata build`. Nothing is written.
    """

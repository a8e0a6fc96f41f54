"""``t2vdata estimate``: estimate the time of a build on a cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from t2vdata.cli import SETTINGS
from t2vdata.cli.build import Datasets, common_flags, make_spec

if TYPE_CHECKING:
    from t2vdata.estimate.cluster import ClusterEstimate

# Flags of a build that affect its bytes.
_SPEC_FLAGS = ("seed", "encoding", "gop", "crf", "quality", "shard_size", "root", "name")


class _Estimates(Datasets):
    def flags(self, name: str) -> list[click.Option]:
        return [
            click.Option(["--cores"], type=int, default=1, show_default=True, help="Number of cores, of all nodes together."),
            click.Option(
                ["--bandwidth"], default="1Gbit", show_default=True,
                help="Bandwidth between the store and all nodes together, per second: 10Gbit, 1.25GB ...",
            ),
            click.Option(
                ["--clips"], type=int, help="Extrapolate to a dataset with this many clips.  [default: the dataset's own]"
            ),
            click.Option(
                ["--write-requests"], type=float, default=3500, show_default=True,
                help="Write requests per second that the store accepts.",
            ),
            click.Option(
                ["--read-requests"], type=float, default=5500, show_default=True,
                help="Read requests per second that the store accepts.",
            ),
            *(flag for flag in common_flags(name) if flag.name in _SPEC_FLAGS),
        ]  # fmt: skip

    def run(self, name: str, own: set[str | None], values: dict[str, Any]) -> None:
        from t2vdata.estimate import cluster

        estimate = cluster.estimate(
            make_spec(name, own, values),
            cores=values["cores"],
            bytes_per_second=cluster.parse_bandwidth(values["bandwidth"]),
            num_clips=values["clips"],
            writes_per_second=values["write_requests"],
            reads_per_second=values["read_requests"],
        )
        _print(estimate, cores=values["cores"])


@click.group(
    "estimate",
    cls=_Estimates,
    subcommand_metavar="NAME [OPTIONS]",
    context_settings=SETTINGS,
    epilog="Example: t2vdata estimate mnist-motion --n 1000000 --cores 256 --bandwidth 10Gbit",
)
def command() -> None:
    """Estimate how long a build takes on a cluster, and what limits it.

    Builds 20 of the clips here and extrapolates from them. NAME and its options are those of `t2vdata build`. Nothing is
    written.
    """


def _print(estimate: ClusterEstimate, *, cores: int) -> None:
    from t2vdata.cli._console import console, format_duration, format_size, table

    costs, out = estimate.costs, console()
    out.print(
        f"{estimate.num_clips:,} clips, of which about {estimate.num_kept:,} are kept, by {costs.sampled.seen} built here: "
        f"{costs.render_seconds:.2g} s to decode or draw and {costs.encode_seconds:.2g} s to encode each, on one core",
        markup=False,
    )
    amounts = {
        "decode": f"{estimate.num_clips * costs.render_seconds / 3600:,.1f} core-hours on {cores:,} cores",
        "encode": f"{estimate.num_clips * costs.encode_seconds / 3600:,.1f} core-hours on {cores:,} cores",
        "network": f"{format_size(estimate.read_bytes)} in, {format_size(estimate.written_bytes)} out",
        "store requests": f"{estimate.num_read_requests:,.0f} reads, {estimate.num_write_requests:,.0f} writes",
        "index": f"{estimate.num_kept:,} rows, {format_size(estimate.index_bytes)}, by the main process",
    }
    rows = [[name, amount, format_duration(estimate.seconds[name])] for name, amount in amounts.items()]
    out.print(table("resource", "amount", "time", rows=rows))
    out.print(
        f"{estimate.num_shards:,} shards of {format_size(estimate.written_bytes / estimate.num_shards)}; a resumed build lists "
        f"them in {estimate.num_list_requests:,} requests",
        markup=False,
    )
    out.print(
        f"expected: {format_duration(estimate.total_seconds)}, limited by {estimate.limit}; nothing was written", markup=False
    )

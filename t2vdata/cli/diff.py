"""``t2vdata diff``: compare two builds of a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from t2vdata.cli import SETTINGS
from t2vdata.cli._console import echo, echo_json

if TYPE_CHECKING:
    from t2vdata.inspect.diff import Diff


@click.command("diff", context_settings=SETTINGS, epilog="Example: t2vdata diff data/k400 /net/lab/k400 --clip-list both.txt")
@click.argument("a")
@click.argument("b")
@click.option("--clip-list", type=click.Path(), help="Write a list of the clips in both builds, for `build --clip-list`.")
@click.option("--same-bytes", is_flag=True, help="List only clips that are equal byte for byte.")
@click.option("--json", "as_json", is_flag=True, help="Print all keys as JSON instead of counts.")
def command(a: str, b: str, clip_list: str | None, same_bytes: bool, as_json: bool) -> None:
    """Compare two builds of one dataset, A and B: clips that only one of them has, and clips of both.

    Reads only the indexes, no shard. Videos disappear, so no two copies of a dataset are the same: with a list of the clips in
    both builds, two labs can train on the same clips.
    """
    from t2vdata import storage
    from t2vdata.format.dataset import open_dataset
    from t2vdata.inspect.diff import diff

    difference = diff(open_dataset(a), open_dataset(b))
    if as_json:
        echo_json(difference.as_json())
    else:
        _print(difference)
    if clip_list is not None:
        keys = difference.common(same_bytes=same_bytes)
        storage.write_whole(clip_list, "".join(f"{key}\n" for key in keys).encode())
        echo(f"{len(keys):,} clips in both: {clip_list}", err=as_json)


def _print(difference: Diff) -> None:
    from t2vdata.cli._console import console, table

    out = console()
    out.print(f"A: {difference.a}\nB: {difference.b}", markup=False)
    rows = [
        [name, *(f"{len(keys):,}" for keys in (split.same, split.other_bytes, split.only_in_a, split.only_in_b))]
        for name, split in difference.splits.items()
    ]
    out.print(table("split", "same bytes", "other bytes", "only in A", "only in B", rows=rows))
    for side, counts in difference.reasons.items():
        for reason, count in counts.items():
            out.print(f"not in {side.upper()}, {count:,}: {reason}", markup=False)
    if difference.moved:
        key, (in_a, in_b) = next(iter(difference.moved.items()))
        out.print(f"in another split: {len(difference.moved):,}, such as {key}: {in_a} in A, {in_b} in B", markup=False)
    for setting in difference.spec:
        out.print(f"different setting: {setting}", markup=False)
    if difference.is_same:
        out.print("the same clips, byte for byte", markup=False)

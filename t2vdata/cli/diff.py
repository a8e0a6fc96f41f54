"""``t2vdata diff``"""

from __future__ import annotations

import click

from t2vdata.cli import SETTINGS


@click.command("diff", context_settings=SETTINGS, epilog="Example: t2vdata diff data/k400 /net/lab/k400 --clip-list both.txt")
@click.argument("a")
@click.argument("b")
@click.option(
    "--clip-list", type=click.Path(), help="Write the clips of both into this file, as `build --clip-list` takes them."
)
@click.option("--same-bytes", is_flag=True, help="Into the list only those that are equal byte for byte.")
@click.option("--json", "as_json", is_flag=True, help="Print all keys as JSON instead of counts.")
def command(a: str, b: str, clip_list: str | None, same_bytes: bool, as_json: bool) -> None:
    """Compare two builds, A and B, of one dataset: what only one of them has, and what both have.

    By their indexes alone; no shard is read. For copies of a dataset whose sources vanish: with the list of the clips of both,
    two labs can train on the same clips.
    """
    from t2vdata import storage
    from t2vdata.cli import _tables
    from t2vdata.format.dataset import open_dataset
    from t2vdata.inspect.diff import diff

    found = diff(open_dataset(a), open_dataset(b))
    if as_json:
        import json

        click.echo(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
    else:
        _tables.print_diff(found)
    if clip_list is not None:
        keys = found.common(same_bytes=same_bytes)
        storage.write_whole(clip_list, "".join(f"{key}\n" for key in keys).encode())
        click.echo(f"{len(keys):,} clips in both: {clip_list}", err=as_json)

"""``t2vdata stats``"""

from __future__ import annotations

import click

from t2vdata.cli import SETTINGS


@click.command("stats", context_settings=SETTINGS, epilog="Example: t2vdata stats data/mnist-motion --html stats.html")
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--html", type=click.Path(), help="Also write one self-contained page with plots.")
@click.option("--check-duplicates", is_flag=True, help="Count clips that show the same, within splits and across them.")
@click.option("--exclude-list", type=click.Path(), help="Write all but one clip of each such heap, for `build --exclude-list`.")
def command(path: str, as_json: bool, html: str | None, check_duplicates: bool, exclude_list: str | None) -> None:
    """Count what is in the dataset at PATH, from its index alone.

    Splits, sizes, caption lengths, words, balance of labels and meanings, frames, rates, resolutions, durations, groups that
    two splits share, and what was rejected and why.
    """
    if check_duplicates or exclude_list is not None:
        _print_duplicates(path, as_json, exclude_list)
        return
    from t2vdata.inspect import stats

    found = stats.compute(path)
    if html is not None:
        from t2vdata import storage
        from t2vdata.inspect import page

        storage.write_whole(html, page.stats_page(found).encode())
    if as_json:
        import json

        click.echo(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
        return
    from t2vdata.cli import _tables

    _tables.print_stats(found)
    if html is not None:
        click.echo(f"page: {html}")


def _print_duplicates(path: str, as_json: bool, exclude_list: str | None) -> None:
    from t2vdata import storage
    from t2vdata.cli import _tables
    from t2vdata.inspect import duplicates

    found = duplicates.find(path)
    if as_json:
        import json

        click.echo(json.dumps(found.as_json(), indent=2))
    else:
        _tables.print_duplicates(found)
    leaks = sum(pair.splits[0] != pair.splits[1] for pair in found.pairs)
    if leaks:
        hint = "" if exclude_list is not None else "; write those to leave out with --exclude-list FILE"
        click.echo(f"warning: {leaks:,} pairs of near-duplicates are in two splits{hint}", err=True)
    if exclude_list is not None:
        storage.write_whole(exclude_list, "".join(f"{key}\n" for key in found.to_leave_out).encode())
        click.echo(f"{len(found.to_leave_out):,} clips to leave out: {exclude_list}", err=as_json)

"""``t2vdata stats``"""

from __future__ import annotations

import click

from t2vdata.cli import SETTINGS


@click.command("stats", context_settings=SETTINGS, epilog="Example: t2vdata stats data/mnist-motion --html stats.html")
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--html", type=click.Path(), help="Also write one self-contained page with plots.")
def command(path: str, as_json: bool, html: str | None) -> None:
    """Count what is in the dataset at PATH, from its index alone.

    Splits, sizes, caption lengths, words, balance of labels and meanings, frames, rates, resolutions, durations, groups that
    two splits share, and what was rejected and why.
    """
    from t2vdata import stats

    found = stats.compute(path)
    if html is not None:
        from t2vdata import page, storage

        storage.write_whole(html, page.stats_page(found).encode())
    if as_json:
        import json

        click.echo(json.dumps(found.as_json(), indent=2, ensure_ascii=False))
        return
    from t2vdata.cli import _tables

    _tables.print_stats(found)
    if html is not None:
        click.echo(f"page: {html}")

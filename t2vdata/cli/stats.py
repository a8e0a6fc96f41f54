"""``t2vdata stats``: show statistics and near-duplicates of a dataset."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import click

from t2vdata.cli import SETTINGS
from t2vdata.cli._console import echo, echo_json

if TYPE_CHECKING:
    from t2vdata.inspect.duplicates import Duplicates
    from t2vdata.inspect.stats import Balance, SplitStats, Spread, Stats

_NUM_SHOWN_PAIRS = 10


@click.command("stats", context_settings=SETTINGS, epilog="Example: t2vdata stats data/mnist-motion --html stats.html")
@click.argument("path")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--html", type=click.Path(), help="Also write a self-contained page with plots.")
@click.option("--check-duplicates", is_flag=True, help="Count near-duplicate clips, within splits and across them.")
@click.option(
    "--exclude-list",
    type=click.Path(),
    help="Write a list of all near-duplicates except one per group, for `build --exclude-list`.",
)
def command(path: str, as_json: bool, html: str | None, check_duplicates: bool, exclude_list: str | None) -> None:
    """Show statistics of the dataset at PATH, from its index alone.

    Splits, sizes, caption lengths, words, balance of labels and meanings, frames, frame rates, resolutions, durations,
    groups that two splits share, and rejected clips by reason.
    """
    if check_duplicates or exclude_list is not None:
        _report_duplicates(path, as_json, exclude_list)
        return
    from t2vdata.inspect.stats import compute

    stats = compute(path)
    if html is not None:
        from t2vdata import storage
        from t2vdata.inspect import page

        storage.write_whole(html, page.stats_page(stats).encode())
    if as_json:
        echo_json(stats.as_json())
        return
    _print(stats)
    if html is not None:
        echo(f"page: {html}")


def _print(stats: Stats) -> None:
    from t2vdata.cli._console import console, format_ranking, format_size, reason_lines, table

    out = console()
    out.print(f"{stats.dataset} in {stats.path}, fingerprint {stats.fingerprint[:12]}", markup=False)
    rows = [
        [name, f"{split.clips:,}", f"{split.shards:,}", format_size(split.bytes), _first_values(split.num_frames),
         "-" if split.is_pictures else _first_values(split.fps), _first_values(split.resolutions),
         "-" if split.is_pictures else f"{split.duration_seconds.median:.2f} s",
         f"{split.groups:,}"]
        for name, split in stats.splits.items()
    ]  # fmt: skip
    out.print(table("split", "clips", "shards", "size", "frames", "fps", "size in pixels", "duration", "groups", rows=rows))
    shared = ", ".join(f"{names}: {count:,}" for names, count in stats.shared_groups.items())
    out.print(f"groups in two splits: {shared or 'none'}", markup=False)
    for name, split in stats.splits.items():
        out.print(f"\n{name}: {split.captions:,} captions", markup=False)
        out.print(table("", "least", "median", "mean", "most", "histogram", rows=_spread_rows(split)))
        for title, balance in (("labels", split.labels), ("meanings", split.meanings)):
            if balance is not None:
                out.print(f"{balance.values} {title}, {_range(balance)} clips each", markup=False)
    out.print(f"\nvocabulary: {stats.vocabulary:,} words", markup=False)
    out.print("most frequent:  " + format_ranking(stats.commonest_words), markup=False)
    out.print("least frequent: " + format_ranking(stats.rarest_words), markup=False)
    out.print(f"\nkept {stats.kept:,}, rejected {sum(stats.rejected.values()):,}, failed {sum(stats.failed.values()):,}")
    for line in [*reason_lines("rejected", stats.rejected.items()), *reason_lines("failed", stats.failed.items())]:
        out.print(line, markup=False)


def _first_values(counts: Mapping[str, int]) -> str:
    """Return the values that occur, the first three of them by name."""
    shown = ", ".join(itertools.islice(counts, 3))
    return shown + (f" and {len(counts) - 3} more" if len(counts) > 3 else "")


def _spread_rows(split: SplitStats) -> list[list[str]]:
    return [
        _spread_row("words", split.caption_words),
        _spread_row("characters", split.caption_chars),
        *([] if split.is_pictures else [_spread_row("seconds", split.duration_seconds)]),
    ]


def _spread_row(name: str, spread: Spread) -> list[str]:
    numbers = [f"{value:.4g}" for value in (spread.least, spread.median, spread.mean, spread.most)]
    return [name, *numbers, _bars([count for _, _, count in spread.histogram])]


def _bars(counts: Sequence[int]) -> str:
    """Return counts as a line of bars; a bin that is not empty always shows."""
    marks = " ▁▂▃▄▅▆▇█"
    most = max(counts)
    return "".join(marks[0 if not count else max(1, round(8 * count / most))] for count in counts)


def _range(balance: Balance) -> str:
    return f"{balance.most:,}" if balance.fewest == balance.most else f"{balance.fewest:,} to {balance.most:,}"


def _report_duplicates(path: str, as_json: bool, exclude_list: str | None) -> None:
    from t2vdata import storage
    from t2vdata.inspect import duplicates

    report = duplicates.find(path)
    if as_json:
        echo_json(report.as_json())
    else:
        _print_duplicates(report)
    num_leaks = sum(pair.splits[0] != pair.splits[1] for pair in report.pairs)
    if num_leaks:
        hint = "" if exclude_list is not None else "; list the clips to leave out with --exclude-list FILE"
        echo(f"warning: {num_leaks:,} pairs of near-duplicates are in two splits{hint}", err=True)
    if exclude_list is not None:
        storage.write_whole(exclude_list, "".join(f"{key}\n" for key in report.to_leave_out).encode())
        echo(f"{len(report.to_leave_out):,} clips to leave out: {exclude_list}", err=as_json)


def _print_duplicates(report: Duplicates) -> None:
    from t2vdata.cli._console import console

    out = console()
    out.print(
        f"{report.compared:,} clips compared, by hashes of 192 bits; near-duplicates differ in at most "
        f"{report.max_distance} bits"
    )
    for where, count in report.counts.items():
        out.print(f"{where}: {count:,} pairs", markup=False)
    for pair in report.pairs[:_NUM_SHOWN_PAIRS]:
        out.print(f"  {pair.bits:2} bits  {pair.keys[0]} ({pair.splits[0]})  {pair.keys[1]} ({pair.splits[1]})", markup=False)
    if not report.pairs:
        out.print("no near-duplicates, except within groups")
    out.print(f"within a group, and therefore in one split: {report.of_one_group:,} pairs")

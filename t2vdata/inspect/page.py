"""The statistics of a dataset as a self-contained web page: text, tables and SVG plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from t2vdata.inspect.stats import Balance, SplitStats, Spread, Stats

_STYLE = """
:root { color-scheme: light dark; --ink: #222; --paper: #fff; --bar: #4878b8; --line: #ccc }
@media (prefers-color-scheme: dark) { :root { --ink: #ddd; --paper: #1b1d20; --bar: #7aa7e0; --line: #444 } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem; margin: 2rem auto;
  padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .8rem; border-bottom: 1px solid var(--line); text-align: right }
th:first-child, td:first-child { text-align: left }
figure { display: inline-block; margin: 1rem 1.5rem 1rem 0; vertical-align: top }
figcaption { font-weight: 600 }
rect { fill: var(--bar) } text { fill: var(--ink); font-size: 11px }
code { font-size: .9em; overflow-wrap: anywhere }
"""


def stats_page(stats: Stats) -> str:
    """Return the page in HTML."""
    parts = [
        f"<h1>{escape(stats.dataset)}</h1>",
        f"<p>{stats.kept:,} clips kept, {sum(stats.rejected.values()):,} rejected, {sum(stats.failed.values()):,} failed. "
        f"Fingerprint <code>{escape(stats.fingerprint)}</code>.</p>",
        _splits_table(stats),
        _shared(stats),
        _reasons(stats),
        "<h2>Words</h2>",
        f"<p>{stats.vocabulary:,} different words.</p>",
        _bar_list("most frequent", stats.commonest_words),
        _bar_list("least frequent", stats.rarest_words),
        *(_split_section(name, split) for name, split in stats.splits.items()),
        f"<h2>Licence</h2><p>{escape(stats.licence)}</p>",
    ]
    title = escape(stats.dataset)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body>\n'
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def _splits_table(stats: Stats) -> str:
    rows = [
        (name, f"{split.clips:,}", f"{split.shards:,}", f"{split.bytes / 1e6:,.1f}", ", ".join(split.num_frames),
         "-" if split.is_pictures else ", ".join(split.fps), ", ".join(split.resolutions), f"{split.groups:,}")
        for name, split in stats.splits.items()
    ]  # fmt: skip
    return _table(("split", "clips", "shards", "MB", "frames", "fps", "pixels", "groups"), rows)


def _shared(stats: Stats) -> str:
    if not stats.shared_groups:
        return "<p>No group (source video, digit image) is in two splits.</p>"
    return _table(("splits", "shared groups"), [(names, f"{count:,}") for names, count in stats.shared_groups.items()])


def _reasons(stats: Stats) -> str:
    rows = [("rejected", reason, f"{count:,}") for reason, count in stats.rejected.items()]
    rows += [("failed", error, f"{count:,}") for error, count in stats.failed.items()]
    return _table(("outcome", "reason", "clips"), rows) if rows else ""


def _split_section(name: str, split: SplitStats) -> str:
    parts = [
        f"<h2>{escape(name)}</h2>",
        _histogram("words in a caption", split.caption_words),
        _histogram("characters in a caption", split.caption_chars),
        "" if split.is_pictures else _histogram("duration, seconds", split.duration_seconds),
        _balance("labels", split.labels),
        _balance("meanings", split.meanings),
    ]
    return "\n".join(part for part in parts if part)


def _balance(title: str, balance: Balance | None) -> str:
    if balance is None:
        return ""
    each = f"{balance.most:,}" if balance.fewest == balance.most else f"{balance.fewest:,} to {balance.most:,}"
    note = f"{balance.values:,} {title}, {each} clips each"
    if balance.values > len(balance.commonest) + len(balance.rarest):
        note += "; the most and least frequent:"
    shown = dict(balance.commonest) | dict(reversed(balance.rarest))
    return _bar_list(note, tuple(shown.items()))


def _histogram(title: str, spread: Spread) -> str:
    if spread.least == spread.most:
        return f"<p>{escape(title)}: always {spread.least:.4g}</p>"
    width, height, base = 280, 120, 96
    most = max(count for _, _, count in spread.histogram)
    step = width / len(spread.histogram)
    bars = []
    for index, (low, high, count) in enumerate(spread.histogram):
        bar_height = (base - 10) * count / most
        bars.append(
            f'<rect x="{index * step + 1:.1f}" y="{base - bar_height:.1f}" width="{max(step - 2, 1):.1f}" '
            f'height="{bar_height:.1f}">'
            f"<title>{low:.4g} to {high:.4g}: {count:,}</title></rect>"
        )
    labels = (
        f'<text x="0" y="{base + 16}">{spread.least:.4g}</text>'
        f'<text x="{width}" y="{base + 16}" text-anchor="end">{spread.most:.4g}</text>'
    )
    caption = f"{escape(title)}: median {spread.median:.4g}, mean {spread.mean:.4g}"
    return _figure(caption, width, height, "".join(bars) + labels)


def _bar_list(title: str, counts: Sequence[tuple[str, int]]) -> str:
    if not counts:
        return ""
    most = max(count for _, count in counts)
    lines = []
    for index, (word, count) in enumerate(counts):
        y = index * 18
        lines.append(
            f'<text x="110" y="{y + 12}" text-anchor="end">{escape(word[:18])}</text>'
            f'<rect x="116" y="{y + 2}" width="{max(1, 120 * count / most):.1f}" height="12"/>'
            f'<text x="{122 + 120 * count / most:.1f}" y="{y + 12}">{count:,}</text>'
        )
    return _figure(escape(title), 300, 18 * len(counts), "".join(lines))


def _figure(caption: str, width: int, height: int, content: str) -> str:
    return (
        f'<figure><figcaption>{caption}</figcaption><svg width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img">{content}</svg></figure>'
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{body}</table>"

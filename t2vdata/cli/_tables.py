"""Results as tables in the terminal."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from t2vdata.build.run import BuildResult
    from t2vdata.estimate.cluster import Capacity
    from t2vdata.estimate.dry_run import Forecast
    from t2vdata.inspect.diff import Diff
    from t2vdata.inspect.duplicates import Duplicates
    from t2vdata.inspect.stats import Balance, Spread, Stats
    from t2vdata.scoring.score import Full, Share


_SHOWN_PAIRS = 10


def console() -> Console:
    """Return where tables go: standard output; where that is no terminal, of at least 120 columns and without colour codes."""
    from rich.console import Console

    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=max(120, found.width))


def table(*columns: str, rows: Iterable[Sequence[str]]) -> Table:
    """Return a plain table; every column but the first is aligned right."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, column in enumerate(columns):
        made.add_column(column, justify="left" if place == 0 else "right", overflow="fold")
    for row in rows:
        made.add_row(*row)
    return made


def size(num_bytes: float) -> str:
    """Return a number of bytes as people read it: 172.5 MB."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if num_bytes < 1000:
            return f"{num_bytes:,.0f} bytes" if unit == "bytes" else f"{num_bytes:,.1f} {unit}"
        num_bytes /= 1000
    return f"{num_bytes:,.1f} TB"


def print_build(result: BuildResult, seconds: float) -> None:
    """Print what a build has done, and what to do next."""
    whole = result.manifest
    rows = [
        [name, f"{entry.num_samples:,}", f"{entry.tally.num_rejected:,}", f"{entry.tally.num_failed:,}",
         f"{len(entry.shards):,}", size(sum(shard.num_bytes for shard in entry.shards))]
        for name, entry in whole.splits.items()
    ]  # fmt: skip
    tally = whole.tally
    num_shards = sum(len(entry.shards) for entry in whole.splits.values())
    rows.append(
        ["all", f"{tally.kept:,}", f"{tally.num_rejected:,}", f"{tally.num_failed:,}", f"{num_shards:,}", size(whole.num_bytes)]
    )
    out = console()
    out.print(table("split", "kept", "rejected", "failed", "shards", "size", rows=rows))
    for title, counts in (("rejected", tally.rejected), ("failed", tally.failed)):
        for reason, count in sorted(counts.items(), key=lambda item: -item[1]):
            out.print(f"{title} {count:,}: {reason}", markup=False)
    if result.clips_built:
        out.print(
            f"{result.clips_built:,} clips in {seconds:.1f} s ({result.clips_built / seconds:,.0f} clips/s) -> {result.out}"
        )
    else:
        out.print(f"nothing to do: {result.out} is whole")
    out.print(f"next: t2vdata show {result.out}", markup=False)


def print_forecast(found: Forecast) -> None:
    """Print what a build would give."""
    out = console()
    rows = [[name, f"{one.clips:,}", f"{sum(one.rejected.values()):,}"] for name, one in found.splits.items()]
    out.print(table("split", "clips", "rejected", rows=rows))
    reasons: Counter[str] = sum((Counter(one.rejected) for one in found.splits.values()), Counter())
    for reason, count in reasons.most_common():
        out.print(f"rejected {count:,}: {reason}", markup=False)
    sampled = found.sampled
    out.print(
        f"of {sampled.seen} clips made on trial, {sampled.kept} were kept: {size(found.bytes_per_clip)} and "
        f"{found.seconds_per_clip:.2g} s a clip",
        markup=False,
    )
    for reason, count in [*sampled.rejected.items(), *sampled.failed.items()]:
        out.print(f"  {count} not kept: {reason}", markup=False)
    out.print(
        f"expected: about {found.kept:,} clips, {size(found.num_bytes)}, {_duration(found.seconds)} on {found.num_workers} "
        "processes; nothing was written",
        markup=False,
    )


def print_capacity(found: Capacity, *, cores: int) -> None:
    """Print how long a build would take, and why."""
    costs, out = found.costs, console()
    out.print(
        f"{found.clips:,} clips, of which about {found.kept:,} are kept, by {costs.sampled.seen} made here: "
        f"{costs.render_seconds:.2g} s to decode or draw and {costs.encode_seconds:.2g} s to encode each, on one core",
        markup=False,
    )
    amounts = {
        "decode": f"{found.clips * costs.render_seconds / 3600:,.1f} core-hours on {cores:,} cores",
        "encode": f"{found.clips * costs.encode_seconds / 3600:,.1f} core-hours on {cores:,} cores",
        "network": f"{size(found.read_bytes)} in, {size(found.written_bytes)} out",
        "store requests": f"{found.reads:,.0f} reads, {found.writes:,.0f} writes",
        "index": f"{found.kept:,} rows, {size(found.index_bytes)}, by the first process",
    }
    rows = [[name, amount, _duration(found.seconds[name])] for name, amount in amounts.items()]
    out.print(table("what is used", "how much of it", "takes", rows=rows))
    out.print(
        f"{found.shards:,} shards of {size(found.written_bytes / found.shards)}; {found.lists:,} requests list what is there",
        markup=False,
    )
    out.print(f"expected: {_duration(found.total_seconds)}, limited by {found.limit}; nothing was written", markup=False)


def print_diff(found: Diff) -> None:
    """Print how two builds differ."""
    out = console()
    out.print(f"A: {found.a}\nB: {found.b}", markup=False)
    rows = [
        [name, *(f"{len(keys):,}" for keys in (one.same, one.other_bytes, one.only_in_a, one.only_in_b))]
        for name, one in found.splits.items()
    ]
    out.print(table("split", "same bytes", "other bytes", "only in A", "only in B", rows=rows))
    for side, counts in found.reasons.items():
        for reason, count in counts.items():
            out.print(f"not in {side.upper()}, {count:,}: {reason}", markup=False)
    if found.moved:
        key, (in_a, in_b) = next(iter(found.moved.items()))
        out.print(f"in another split: {len(found.moved):,}, such as {key}: {in_a} in A, {in_b} in B", markup=False)
    for difference in found.spec:
        out.print(f"asked for otherwise: {difference}", markup=False)
    if found.is_same:
        out.print("the same clips, byte for byte", markup=False)


def print_duplicates(found: Duplicates) -> None:
    """Print how many clips show the same, and the nearest of them."""
    out = console()
    out.print(
        f"{found.compared:,} clips compared, by hashes of 192 bits; near-duplicates differ in {found.max_distance} at most"
    )
    for where, count in found.counts.items():
        out.print(f"{where}: {count:,} pairs", markup=False)
    for pair in found.pairs[:_SHOWN_PAIRS]:
        out.print(f"  {pair.bits:2} bits  {pair.one} ({pair.splits[0]})  {pair.other} ({pair.splits[1]})", markup=False)
    if not found.pairs:
        out.print("no near-duplicates but those of one group")
    out.print(f"of one group, and therefore in one split: {found.of_one_group:,} pairs")


def print_scores(rows: Mapping[str, Full]) -> None:
    """Print how well clips match their captions, and how near they are to real ones, a line for each set of clips."""
    lines = [
        [name, f"{one.caption.num_clips:,}", _share(one.caption), f"{one.digit.value:.1%}", f"{one.axis.value:.1%}",
         f"{one.direction.value:.1%}", f"{one.constancy:.1%}", f"{one.no_digit:.1%}", f"{one.jitter:.1f} %",
         "" if one.diversity is None else f"{one.diversity:.1f}"]
        for name, one in ((name, row.match) for name, row in rows.items())
    ]  # fmt: skip
    columns = ("clips", "n", "caption", "digit", "axis", "direction", "constancy", "no digit", "jitter", "diversity")
    out = console()
    out.print(table(*columns, rows=lines))
    out.print("caption with Wilson's interval of 95 %; by chance, 2.5 % are right\n")
    sets = [
        [name, _figure(one.frechet, ".2f"), _figure(one.mmd, ".3f"),
         "" if one.inception is None else f"{one.inception[0]:.1f} ± {one.inception[1]:.1f}", f"{one.gan_test.value:.1%}",
         "" if one.gan_train is None else f"{one.gan_train.value:.1%}",
         *(("", "") if one.memory is None else (f"{one.memory.ratio:.2f}", f"{one.memory.copied.value:.1%}"))]
        for name, one in ((name, row.quality) for name, row in rows.items())
    ]  # fmt: skip
    names = ["clips", "Fréchet", "MMD", "inception", "GAN-test", "GAN-train", "nearest", "copied"]
    # What nobody asked for, or what needs real clips, has no column.
    kept = [place for place in range(len(names)) if any(line[place] for line in sets)]
    out.print(table(*(names[place] for place in kept), rows=[[line[place] for place in kept] for line in sets]))
    if "real" in rows:
        out.print("Fréchet and MMD from training clips: of `real`, the floor. nearest: 1 is as unseen handwriting, 0 a copy")


def _figure(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _share(share: Share) -> str:
    low, high = share.interval
    return f"{share.value:.1%} ({100 * low:.0f}-{100 * high:.0f})"


def _duration(seconds: float) -> str:
    """Return seconds as people say them: 45 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def print_stats(stats: Stats) -> None:
    """Print the statistics of a dataset, with histograms."""
    out = console()
    out.print(f"{stats.dataset} in {stats.path}, fingerprint {stats.fingerprint[:12]}", markup=False)
    rows = [
        [name, f"{one.clips:,}", f"{one.shards:,}", size(one.bytes), _counts(one.num_frames), _counts(one.fps),
         _counts(one.resolutions), f"{one.duration_seconds.median:.2f} s", f"{one.groups:,}"]
        for name, one in stats.splits.items()
    ]  # fmt: skip
    out.print(table("split", "clips", "shards", "size", "frames", "fps", "size in pixels", "duration", "groups", rows=rows))
    shared = ", ".join(f"{names}: {count:,}" for names, count in stats.shared_groups.items())
    out.print(f"groups in two splits: {shared or 'none'}", markup=False)
    for name, one in stats.splits.items():
        out.print(f"\n{name}: {one.captions:,} captions", markup=False)
        out.print(table("", "least", "median", "mean", "most", "histogram", rows=[
            _spread("words", one.caption_words), _spread("characters", one.caption_chars),
            _spread("seconds", one.duration_seconds),
        ]))  # fmt: skip
        for title, balance in (("labels", one.labels), ("meanings", one.meanings)):
            if balance is not None:
                out.print(f"{balance.values} {title}, {_range(balance)} clips each", markup=False)
    out.print(f"\nvocabulary: {stats.vocabulary:,} words", markup=False)
    out.print("most frequent:  " + ranked(stats.commonest_words), markup=False)
    out.print("least frequent: " + ranked(stats.rarest_words), markup=False)
    out.print(f"\nkept {stats.kept:,}, rejected {sum(stats.rejected.values()):,}, failed {sum(stats.failed.values()):,}")
    for title, counts in (("rejected", stats.rejected), ("failed", stats.failed)):
        for reason, count in sorted(counts.items(), key=lambda item: -item[1]):
            out.print(f"{title} {count:,}: {reason}", markup=False)


def _range(balance: Balance) -> str:
    return f"{balance.most:,}" if balance.fewest == balance.most else f"{balance.fewest:,} to {balance.most:,}"


def ranked(counts: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{word} {count:,}" for word, count in counts)


def _counts(counts: dict[str, int]) -> str:
    """Return the values that occur, the first few of them."""
    shown = ", ".join(itertools.islice(counts, 3))
    return shown + (f" and {len(counts) - 3} more" if len(counts) > 3 else "")


def _spread(name: str, spread: Spread) -> list[str]:
    numbers = [f"{value:.4g}" for value in (spread.least, spread.median, spread.mean, spread.most)]
    return [name, *numbers, _bars([count for _, _, count in spread.histogram])]


def _bars(counts: Sequence[int]) -> str:
    """Return counts as a line of bars; a bin that holds anything shows."""
    marks = " ▁▂▃▄▅▆▇█"
    most = max(counts)
    return "".join(marks[0 if not count else max(1, round(8 * count / most))] for count in counts)

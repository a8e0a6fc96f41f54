"""The page of statistics: a self-contained file in which every text is escaped."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from html.parser import HTMLParser

import pytest

from t2vdata.build.run import BuildResult
from t2vdata.inspect import stats
from t2vdata.inspect.page import stats_page
from t2vdata.inspect.stats import SplitStats, Spread, Stats

VOID = {"meta"}


class Page(HTMLParser):
    """Collects the tags, attributes and text of a page; asserts that every tag is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def counted(built: BuildResult) -> Stats:
    return stats.compute(built.out)


def test_the_page_is_self_contained(counted: Stats) -> None:
    text = stats_page(counted)
    page = Page(text)
    assert not set(page.tags) & {"script", "link", "img", "iframe", "object", "embed", "base", "use", "image"}
    assert not page.attributes & {"src", "href", "srcset", "xlink:href", "data", "background", "style", "onload"}
    assert not re.search(r"url\(|@import", text)
    assert page.tags["style"] == page.tags["h1"] == 1


def test_the_page_shows_the_statistics(counted: Stats) -> None:
    page = Page(stats_page(counted))
    text = " ".join(page.texts)
    assert "mnist-motion" in text
    assert counted.fingerprint in text
    assert f"{counted.kept:,} clips kept, 0 rejected, 0 failed." in text
    assert "No group (source video, digit image) is in two splits." in text
    assert "36 meanings, 1 to 2 clips each" in text
    for name, split in counted.splits.items():
        assert name in text
        assert f"{split.clips:,}" in text
    # Two lists of words; labels and meanings of each split, and every quantity that varies.
    spreads = [spread for split in counted.splits.values() for spread in spreads_of(split)]
    num_histograms = sum(spread.least < spread.most for spread in spreads)
    assert page.tags["figure"] == page.tags["svg"] == 2 + 2 * len(counted.splits) + num_histograms
    assert num_histograms > 0


def spreads_of(split: SplitStats) -> tuple[Spread, ...]:
    return split.caption_words, split.caption_chars, split.duration_seconds


def test_a_constant_quantity_is_a_line_instead_of_a_plot(counted: Stats) -> None:
    assert "<p>duration, seconds: always 0.2667</p>" in stats_page(counted)


def test_every_bin_has_a_bar(counted: Stats) -> None:
    split = counted.splits["train"]
    lone = dataclasses.replace(
        counted, splits={"train": dataclasses.replace(split, labels=None, meanings=None)}, commonest_words=(), rarest_words=()
    )
    bins = sum(len(spread.histogram) for spread in spreads_of(split) if spread.least < spread.most)
    assert bins > 1
    assert Page(stats_page(lone)).tags["rect"] == bins


def test_reasons_and_shared_groups_are_tables(counted: Stats) -> None:
    text = stats_page(
        dataclasses.replace(counted, rejected={"static": 1234}, failed={"DecodeError": 5}, shared_groups={"train and val": 7})
    )
    assert "<td>rejected</td><td>static</td><td>1,234</td>" in text
    assert "<td>failed</td><td>DecodeError</td><td>5</td>" in text
    assert "<td>train and val</td><td>7</td>" in text
    assert "1,234 rejected, 5 failed" in text


def test_every_text_is_escaped(counted: Stats) -> None:
    evil = "<script>alert('&')</script>"
    split = counted.splits["train"]
    assert split.labels is not None
    labels = dataclasses.replace(split.labels, commonest=((evil, 3),), rarest=((evil, 3),))
    split = dataclasses.replace(split, labels=labels, resolutions={evil: 1}, fps={evil: 1}, num_frames={evil: 1})
    page = Page(
        stats_page(
            dataclasses.replace(
                counted, dataset=evil, licence=evil, rejected={evil: 1}, failed={evil: 1}, shared_groups={evil: 1},
                commonest_words=((evil, 1),), rarest_words=((evil, 1),),
                splits={evil: split},
            )
        )
    )  # fmt: skip
    assert page.tags["script"] == 0
    assert sum(evil in text for text in page.texts) >= 9

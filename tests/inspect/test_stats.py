"""What is counted is what is there: every number once more, from the shards and by pandas."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from t2vdata.build.run import BuildResult, BuildSpec, build_dataset
from t2vdata.errors import NotADatasetError
from t2vdata.format.shards import read_samples
from t2vdata.inspect import stats
from t2vdata.inspect.stats import Spread, Stats
from t2vdata.text.captions import words

# Clips of many lengths, rates and sizes, with several captions, some labels, and sources that two splits share.
TALKS = """
from dataclasses import dataclass
import numpy as np
from t2vdata.errors import RenderError
from t2vdata.types import Clip, Frames

VERSION, SPLITS, LICENCE, CITATION = 1, ("train", "val", "test"), "CC0 <1.0>", "none"

@dataclass(frozen=True)
class Options:
    n: int = 23

def clips(root, split, options, seed):
    first = SPLITS.index(split) * 20
    made = []
    for number in range(options.n if split != "test" else 4):
        captions = tuple(f"speaker {word} says " + "well " * (number % (word + 3)) for word in range(1 + number % 3))
        meta = {"frames": 2 + number % 5, "size": 16 + 2 * (number % 2), "fps": 10.0 if number % 4 else 12.5}
        if number % 3:
            meta["label"] = "talk" if number % 2 else "<song>"
        group = f"video-{(first + number) // 2}" if split != "test" else ""
        made.append(Clip(f"{split}-{number:03d}", captions, group=group, meta=meta))
    return made

def render(clip, options):
    if clip.key == "train-007":
        raise RenderError("the tape tore")
    side = clip.meta["size"]
    return Frames(np.zeros((clip.meta["frames"], side, side, 1), np.uint8), clip.meta["fps"])
"""


@pytest.fixture(scope="module")
def talks(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("talks")
    (folder / "stats_tests").mkdir()
    (folder / "stats_tests" / "talks.py").write_text(TALKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        return build_dataset(BuildSpec("stats_tests.talks", shard_size=6), folder / "out", num_workers=1).out


@pytest.fixture(scope="module")
def counted(talks: str) -> Stats:
    return stats.compute(talks)


@pytest.fixture(scope="module")
def told(talks: str) -> pd.DataFrame:
    """What the JSON members of the shards say, one row a clip: the index is not asked."""
    rows = []
    for shard in sorted(Path(talks).glob("*.tar")):
        with shard.open("rb") as file:
            rows += [{**json.loads(sample.files["json"]), "shard": shard.name} for sample, _ in read_samples(file)]
    assert len(rows) == 22 + 23 + 4
    return pd.DataFrame(rows)


def assert_spread(spread: Spread, values: pd.Series) -> None:
    assert (spread.least, spread.most) == (values.min(), values.max())
    assert spread.median == pytest.approx(values.median())
    assert spread.mean == pytest.approx(values.mean())
    assert sum(count for _, _, count in spread.histogram) == len(values)
    for place, (low, high, count) in enumerate(spread.histogram):
        last = place == len(spread.histogram) - 1
        # A hair's breadth for bounds that are no round binary number.
        inside = (values >= low - 1e-9) & ((values <= high + 1e-9) if last else (values < high - 1e-9))
        assert inside.sum() == count, f"{low} to {high}"


def test_clips_shards_and_bytes_are_those_on_disk(counted: Stats, talks: str, told: pd.DataFrame) -> None:
    assert list(counted.splits) == ["train", "val", "test"]
    for split, one in counted.splits.items():
        files = list(Path(talks).glob(f"*-{split}-*.tar"))
        assert one.clips == (told.split == split).sum()
        assert one.shards == len(files) > 0
        assert one.bytes == sum(file.stat().st_size for file in files)


def test_captions_are_spread_as_pandas_counts_them(counted: Stats, told: pd.DataFrame) -> None:
    for split, one in counted.splits.items():
        captions = told[told.split == split].captions.explode()
        assert one.captions == len(captions)
        assert_spread(one.caption_chars, captions.str.len())
        assert_spread(one.caption_words, captions.map(lambda text: len(words(text))))


def test_durations_are_frames_over_rate(counted: Stats, told: pd.DataFrame) -> None:
    for split, one in counted.splits.items():
        rows = told[told.split == split]
        assert_spread(one.duration_seconds, rows.num_frames / rows.fps)


def test_frames_rates_and_sizes_are_counted(counted: Stats, told: pd.DataFrame) -> None:
    for split, one in counted.splits.items():
        rows = told[told.split == split]
        assert one.num_frames == {str(value): count for value, count in rows.num_frames.value_counts().items()}
        assert list(one.num_frames) == sorted(one.num_frames)
        assert one.fps == {f"{value:g}": count for value, count in rows.fps.value_counts().items()}
        sizes = rows.width.astype(str) + "x" + rows.height.astype(str)
        assert one.resolutions == sizes.value_counts().to_dict()


def test_labels_are_balanced_as_pandas_counts_them(counted: Stats, told: pd.DataFrame) -> None:
    for split, one in counted.splits.items():
        counts = told[told.split == split].label.value_counts()
        assert one.labels is not None
        assert (one.labels.values, one.labels.fewest, one.labels.most) == (len(counts), counts.min(), counts.max())
        assert dict(one.labels.commonest) == dict(one.labels.rarest) == counts.to_dict()
        assert one.labels.commonest[0][1] == counts.max()
        assert one.labels.rarest[0][1] == counts.min()
        assert one.meanings is None


def test_words_are_counted_over_all_captions(counted: Stats, told: pd.DataFrame) -> None:
    counts = Counter(itertools.chain.from_iterable(words(caption) for caption in told.captions.explode()))
    assert counted.vocabulary == len(counts)
    assert dict(counted.commonest_words) == dict(counts.most_common(10))
    assert [count for _, count in counted.commonest_words] == sorted(counts.values(), reverse=True)[:10]
    assert [count for _, count in counted.rarest_words] == sorted(counts.values())[:10]


def test_groups_in_two_splits_are_found(counted: Stats, told: pd.DataFrame) -> None:
    groups = {split: set(rows.group) - {""} for split, rows in told.groupby("split")}
    shared = len(groups["train"] & groups["val"])
    assert shared == 2
    assert counted.shared_groups == {"train and val": shared}


def test_sources_are_counted(counted: Stats, told: pd.DataFrame) -> None:
    for split in ("train", "val"):
        assert counted.splits[split].groups == told[told.split == split].group.nunique()


def test_no_source_is_no_group(counted: Stats) -> None:
    assert counted.splits["test"].groups == 0


def test_what_was_left_out_is_counted(counted: Stats) -> None:
    assert (counted.kept, counted.rejected, counted.failed) == (49, {}, {"RenderError": 1})
    assert (counted.dataset, counted.licence) == ("talks", "CC0 <1.0>")


def test_stats_are_json(counted: Stats) -> None:
    told = json.loads(json.dumps(counted.as_json()))
    assert told["splits"]["train"]["clips"] == 22
    assert told["shared_groups"] == {"train and val": 2}


def test_mnist_motion_shares_no_group_and_balances_its_meanings(built: BuildResult) -> None:
    counted = stats.compute(built.out)
    assert counted.shared_groups == {}
    assert counted.fingerprint == built.manifest.fingerprint
    for one in counted.splits.values():
        assert one.meanings is not None
        assert one.meanings.most - one.meanings.fewest <= 1
        assert one.groups == one.clips
    assert counted.splits["train"].meanings.values == 36  # type: ignore[union-attr]


def test_no_clip_is_opened(built: BuildResult, copy: Path) -> None:
    before = stats.compute(str(copy)).splits
    for shard in copy.glob("*.tar"):
        shard.write_bytes(b"")
    assert stats.compute(str(copy)).splits == before == stats.compute(built.out).splits


def test_a_folder_without_a_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotADatasetError, match="no dataset at"):
        stats.compute(str(tmp_path))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", ["whole", "fractions", "one value", "two values"])
def test_any_numbers_are_spread_as_pandas_counts_them(kind: str, seed: int) -> None:
    drawn = np.random.default_rng(seed)
    values = {
        "whole": lambda: drawn.integers(-3, [2, 9, 200][seed % 3], 101 + seed).astype(float),
        "fractions": lambda: drawn.integers(0, 1000, 100 + seed) / 64,
        "one value": lambda: np.full(seed + 1, 2.5),
        "two values": lambda: np.array([1.0, 2.0] * (seed + 1)),
    }[kind]()
    assert_spread(stats._spread_of(Counter(values.tolist())), pd.Series(values))


def test_whole_numbers_get_bins_of_one_whole_width() -> None:
    spread = stats._spread_of(dict.fromkeys(range(30), 1))
    assert {high - low for low, high, _ in spread.histogram} == {3}
    assert {count for _, _, count in spread.histogram} == {3}

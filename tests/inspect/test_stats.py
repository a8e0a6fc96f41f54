"""Statistics agree with a second count: from the shards, by pandas."""

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
from t2vdata.datasets import Dataset
from t2vdata.errors import RenderError
from t2vdata.types import Clip, Frames

@dataclass(frozen=True)
class TalksOptions:
    n: int = 23

class Talks(Dataset):
    VERSION, SPLITS, LICENCE, CITATION = 1, ("train", "val", "test"), "CC0 <1.0>", "none"
    Options = TalksOptions

    def clips(self, split):
        first = self.SPLITS.index(split) * 20
        clips = []
        for number in range(self.options.n if split != "test" else 4):
            captions = tuple(f"speaker {word} says " + "well " * (number % (word + 3)) for word in range(1 + number % 3))
            meta = {"frames": 2 + number % 5, "size": 16 + 2 * (number % 2), "fps": 10.0 if number % 4 else 12.5}
            if number % 3:
                meta["label"] = "talk" if number % 2 else "<song>"
            group = f"video-{(first + number) // 2}" if split != "test" else ""
            clips.append(Clip(f"{split}-{number:03d}", captions, group=group, meta=meta))
        return clips

    def render(self, clip):
        if clip.key == "train-007":
            raise RenderError("the tape tore")
        side = clip.meta["size"]
        return Frames(np.zeros((clip.meta["frames"], side, side, 1), np.uint8), clip.meta["fps"])

DATASET = Talks
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
def from_json(talks: str) -> pd.DataFrame:
    """The JSON members of the shards, one row per clip; the index is not read."""
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
    for index, (low, high, count) in enumerate(spread.histogram):
        last = index == len(spread.histogram) - 1
        # A tolerance for bounds that binary numbers cannot represent.
        inside = (values >= low - 1e-9) & ((values <= high + 1e-9) if last else (values < high - 1e-9))
        assert inside.sum() == count, f"{low} to {high}"


def test_clips_shards_and_bytes_are_those_on_disk(counted: Stats, talks: str, from_json: pd.DataFrame) -> None:
    assert list(counted.splits) == ["train", "val", "test"]
    for split, split_stats in counted.splits.items():
        files = list(Path(talks).glob(f"*-{split}-*.tar"))
        assert split_stats.clips == (from_json.split == split).sum()
        assert split_stats.shards == len(files) > 0
        assert split_stats.bytes == sum(file.stat().st_size for file in files)


def test_caption_lengths_match_pandas(counted: Stats, from_json: pd.DataFrame) -> None:
    for split, split_stats in counted.splits.items():
        captions = from_json[from_json.split == split].captions.explode()
        assert split_stats.captions == len(captions)
        assert_spread(split_stats.caption_chars, captions.str.len())
        assert_spread(split_stats.caption_words, captions.map(lambda text: len(words(text))))


def test_durations_are_frames_over_rate(counted: Stats, from_json: pd.DataFrame) -> None:
    for split, split_stats in counted.splits.items():
        rows = from_json[from_json.split == split]
        assert_spread(split_stats.duration_seconds, rows.num_frames / rows.fps)


def test_frames_rates_and_sizes_are_counted(counted: Stats, from_json: pd.DataFrame) -> None:
    for split, split_stats in counted.splits.items():
        rows = from_json[from_json.split == split]
        assert split_stats.num_frames == {str(value): count for value, count in rows.num_frames.value_counts().items()}
        assert list(split_stats.num_frames) == sorted(split_stats.num_frames)
        assert split_stats.fps == {f"{value:g}": count for value, count in rows.fps.value_counts().items()}
        sizes = rows.width.astype(str) + "x" + rows.height.astype(str)
        assert split_stats.resolutions == sizes.value_counts().to_dict()


def test_label_counts_match_pandas(counted: Stats, from_json: pd.DataFrame) -> None:
    for split, split_stats in counted.splits.items():
        counts = from_json[from_json.split == split].label.value_counts()
        assert split_stats.labels is not None
        assert (split_stats.labels.values, split_stats.labels.fewest, split_stats.labels.most) == (
            len(counts),
            counts.min(),
            counts.max(),
        )
        assert dict(split_stats.labels.commonest) == dict(split_stats.labels.rarest) == counts.to_dict()
        assert split_stats.labels.commonest[0][1] == counts.max()
        assert split_stats.labels.rarest[0][1] == counts.min()
        assert split_stats.meanings is None


def test_words_are_counted_over_all_captions(counted: Stats, from_json: pd.DataFrame) -> None:
    counts = Counter(itertools.chain.from_iterable(words(caption) for caption in from_json.captions.explode()))
    assert counted.vocabulary == len(counts)
    assert dict(counted.commonest_words) == dict(counts.most_common(10))
    assert [count for _, count in counted.commonest_words] == sorted(counts.values(), reverse=True)[:10]
    assert [count for _, count in counted.rarest_words] == sorted(counts.values())[:10]


def test_groups_in_two_splits_are_found(counted: Stats, from_json: pd.DataFrame) -> None:
    groups = {split: set(rows.group) - {""} for split, rows in from_json.groupby("split")}
    shared = len(groups["train"] & groups["val"])
    assert shared == 2
    assert counted.shared_groups == {"train and val": shared}


def test_sources_are_counted(counted: Stats, from_json: pd.DataFrame) -> None:
    for split in ("train", "val"):
        assert counted.splits[split].groups == from_json[from_json.split == split].group.nunique()


def test_clips_without_a_source_have_no_group(counted: Stats) -> None:
    assert counted.splits["test"].groups == 0


def test_rejected_and_failed_clips_are_counted(counted: Stats) -> None:
    assert (counted.kept, counted.rejected, counted.failed) == (49, {}, {"RenderError": 1})
    assert (counted.dataset, counted.licence) == ("talks", "CC0 <1.0>")


def test_stats_are_json(counted: Stats) -> None:
    from_json = json.loads(json.dumps(counted.as_json()))
    assert from_json["splits"]["train"]["clips"] == 22
    assert from_json["shared_groups"] == {"train and val": 2}


def test_mnist_motion_shares_no_group_and_balances_its_meanings(built: BuildResult) -> None:
    counted = stats.compute(built.out)
    assert counted.shared_groups == {}
    assert counted.fingerprint == built.manifest.fingerprint
    for split_stats in counted.splits.values():
        assert split_stats.meanings is not None
        assert split_stats.meanings.most - split_stats.meanings.fewest <= 1
        assert split_stats.groups == split_stats.clips
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
@pytest.mark.parametrize("kind", ["integers", "fractions", "one value", "two values"])
def test_spreads_of_any_numbers_match_pandas(kind: str, seed: int) -> None:
    drawn = np.random.default_rng(seed)
    values = {
        "integers": lambda: drawn.integers(-3, [2, 9, 200][seed % 3], 101 + seed).astype(float),
        "fractions": lambda: drawn.integers(0, 1000, 100 + seed) / 64,
        "one value": lambda: np.full(seed + 1, 2.5),
        "two values": lambda: np.array([1.0, 2.0] * (seed + 1)),
    }[kind]()
    assert_spread(stats._spread_of(Counter(values.tolist())), pd.Series(values))


def test_integers_get_bins_of_equal_integer_width() -> None:
    spread = stats._spread_of(dict.fromkeys(range(30), 1))
    assert {high - low for low, high, _ in spread.histogram} == {3}
    assert {count for _, _, count in spread.histogram} == {3}

"""Builds from Moments in Time in the layout of its README: tables, names, presets.

The real tables were not available: these rows follow the README's schema, with the real categories.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from media import video_files

from t2vdata import datasets
from t2vdata.build.run import BuildResult, BuildSpec, build_dataset
from t2vdata.errors import RawDataError, RequestError
from t2vdata.format.dataset import open_dataset
from t2vdata.media.encode import encoding
from t2vdata.types import Clip

SINGING, CLAPPING, LOST = (
    "adult+female+singing/yt-jX-hTAlTcqY_15.mp4",
    "clapping/flickr-5-9-7-1-7-0-9_1.mp4",
    "clapping/giphy-a.mp4",
)
TRAIN = f"{SINGING},adult+female+singing,3,0\n{CLAPPING},clapping,4,1\n{LOST},clapping,3,0\n"
HELD_OUT = "clapping/getty-a_b-clip-12_3.mp4"
VAL = f"{HELD_OUT},clapping,5,0\n"
CATEGORIES = "clapping,0\nadult+female+singing,7\n"


def add_file(root: Path, path: str, kind: str = "h264") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_bytes(video_files.make(kind))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An unpacked release: tables without header, one file missing."""
    folder = tmp_path / "Moments_in_Time_Raw"
    for path in (f"training/{SINGING}", f"training/{CLAPPING}", f"validation/{HELD_OUT}"):
        add_file(folder, path)
    (folder / "trainingSet.csv").write_text(TRAIN)
    (folder / "validationSet.csv").write_text(VAL)
    (folder / "moments_categories.txt").write_text(CATEGORIES)
    return folder


@pytest.fixture
def mini(root: Path) -> Path:
    """Part of Moments in Time Mini: tables of 200 categories with five clips each, and three of the files."""
    names = [f"action{number:03d}" for number in range(200)]
    (root / "moments_categories.txt").write_text("".join(f"{name},{number}\n" for number, name in enumerate(names)))
    paths = [f"{name}/yt-{name}{number}_{number}.mp4" for number in range(5) for name in reversed(names)]
    (root / "trainingSet.csv").write_text("".join(f"{path},{path.split('/')[0]},3,0\n" for path in paths))
    # As many frames as the preset takes.
    video = video_files.of_pictures(video_files.scene(0, 30, width=64, height=48))
    for path in sorted(paths)[:3]:
        (root / "training" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "training" / path).write_bytes(video)
    return root


def clips(root: Path, seed: int = 0, **options: object) -> dict[str, tuple[str, Clip]]:
    """Return {key: (split, clip)}."""
    dataset = datasets.open("moments", str(root), options, seed)
    split_clips = [(split, clip) for split in dataset.SPLITS for clip in dataset.clips(split)]
    assert len({clip.key for _, clip in split_clips}) == len(split_clips)
    return {clip.key: (split, clip) for split, clip in split_clips}


def missing(root: object, **options: object) -> str:
    return datasets.open("moments", None if root is None else str(root), options).missing() or ""


def build(root: Path, out: Path, **options: object) -> BuildResult:
    spec = BuildSpec("moments", {"size": 32, **options}, root=str(root), encoding=encoding("jpeg"))
    return build_dataset(spec, out, num_workers=1, max_failures=1)


def test_a_release_becomes_shards_that_a_loader_reads(root: Path, tmp_path: Path) -> None:
    result = build(root, tmp_path / "out", frames=8)
    assert (result.manifest.tally.kept, dict(result.manifest.tally.rejected)) == (3, {"no media file": 1})
    singing, clapping = open_dataset(tmp_path / "out")["train"]
    assert (singing.key, singing.captions) == ("adult_female_singing_yt-jX-hTAlTcqY_15", ("adult female singing",))
    assert (singing.meta["label"], singing.meta["label_id"]) == ("adult+female+singing", 7)
    assert (clapping.meta["positive_responses"], clapping.meta["negative_responses"]) == (4, 1)
    assert clapping.meta["source"] == "trainingSet.csv, line 2"
    assert clapping.meta["original"]["codec"] == "h264"
    assert [sample.key for sample in open_dataset(tmp_path / "out")["val"]] == ["clapping_getty-a_b-clip-12_3"]
    (reject,) = pq.read_table(tmp_path / "out" / "rejects.parquet").to_pylist()
    assert (reject["key"], reject["message"]) == ("clapping_giphy-a", "trainingSet.csv, line 3: no media file")
    from t2vdata.loading import Loader, LoadSpec

    (batch,) = Loader(open_dataset(tmp_path / "out")["train"], LoadSpec(batch_size=2, num_frames=4))
    assert tuple(batch.video.shape) == (2, 3, 4, 32, 32)


def test_a_group_is_the_source_video_without_the_start_second(root: Path) -> None:
    groups = [clip.group for _, clip in clips(root).values()]
    assert groups == ["yt-jX-hTAlTcqY", "flickr-5-9-7-1-7-0-9", "giphy-a", "getty-a_b-clip-12"]


def test_a_template_turns_the_category_into_a_sentence(root: Path) -> None:
    first = next(iter(clips(root, template="a video of {label}").values()))
    assert first[1].captions == ("a video of adult female singing",)
    with pytest.raises(RequestError, match=r"--template 'x': expected \{label\} in it"):
        clips(root, template="x")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("clapping/a.mp4,clapping,3", "a row of other than 4 fields"),
        ("a.mp4,clapping,3,0", "no category/file.mp4"),
        ("../a.mp4,clapping,3,0", "no category/file.mp4"),
        ("yodelling/a.mp4,yodelling,3,0", "category not in moments_categories.txt"),
        (f"{SINGING},adult+female+singing,3,0", "listed before"),
        ("clapping/getty-a_b-clip-12_9.mp4,clapping,3,0", "its video is in val too"),
        ("filename,label,positive,negative", "no category/file.mp4"),
    ],
    ids=str,
)
def test_only_the_unusable_row_is_rejected(root: Path, row: str, reason: str, tmp_path: Path) -> None:
    (root / "trainingSet.csv").write_text(f"{TRAIN}\n{row}\n")
    reasons = {clip.source: clip.reject_reason for _, clip in clips(root).values()}
    assert {source: why for source, why in reasons.items() if why} == {"trainingSet.csv, line 5": reason}
    assert build(root, tmp_path / "out", frames=8).manifest.tally.rejected[reason] == 1


def test_a_damaged_file_fails_with_its_line(root: Path, tmp_path: Path) -> None:
    (root / "training" / SINGING).write_bytes(b"")
    assert dict(build(root, tmp_path / "out").manifest.tally.failed) == {"DecodeError": 1}
    messages = [row["message"] for row in pq.read_table(tmp_path / "out" / "rejects.parquet").to_pylist()]
    assert any(message.startswith("trainingSet.csv, line 1: ") for message in messages)


def test_names_with_other_letters_or_of_any_length_get_distinct_keys(root: Path) -> None:
    names = ["clapping/é 1.mp4", "clapping/è 1.mp4", f"clapping/{'x' * 90}1.mp4", f"clapping/{'x' * 90}2.mp4"]
    (root / "trainingSet.csv").write_text("".join(f"{name},clapping,3,0\n" for name in names))
    assert len(clips(root)) == 5


def test_preset_cglow_splits_the_training_set_of_mini(mini: Path, tmp_path: Path) -> None:
    (mini / "validationSet.csv").unlink()
    assert missing(mini, preset="cglow") == ""
    by_key = clips(mini, preset="cglow")
    splits = [split for split, _ in by_key.values()]
    assert len(splits) == 1000
    assert 0.98 < splits.count("train") / 1000 < 1
    assert by_key != clips(mini, seed=1, preset="cglow")
    paths = [clip.media.name for split, clip in by_key.values() if split == "train"]
    assert paths == sorted(paths)
    result = build(mini, tmp_path / "out", preset="cglow")
    assert (result.manifest.tally.kept, result.manifest.tally.rejected["no media file"]) == (3, 997)
    samples = list(open_dataset(tmp_path / "out")["train"])
    assert [sample.frames.data.shape for sample in samples] == [(30, 32, 32, 3)] * 3


def test_preset_cglow_refuses_another_release(root: Path) -> None:
    with pytest.raises(RawDataError, match=r"is for Moments in Time Mini, whose trainingSet\.csv has 200 categories; .* has 2"):
        clips(root, preset="cglow")


def test_missing_files_are_reported_with_how_to_get_them(root: Path, tmp_path: Path) -> None:
    assert missing(root) == ""
    assert "give it --root DIR; in --root (Moments_in_Time_Raw" in missing(None)
    assert missing(tmp_path / "none") == f"no folder {tmp_path / 'none'} (--root)"
    assert missing(tmp_path) == f"{tmp_path} holds {root.name}; give --root {root}"
    assert missing(root / "training") == f"{root / 'training'} is within the release; give --root {root}"
    for name in ("validationSet.csv", "trainingSet.csv", "moments_categories.txt"):
        (root / name).unlink()
        assert missing(root).startswith(f"no {name} in {root} (found ")
        assert missing(root).endswith("; ask for the release at http://moments.csail.mit.edu/")


def test_invalid_categories_are_reported_with_their_line(root: Path) -> None:
    (root / "moments_categories.txt").write_text("clapping,0\nsinging\n")
    with pytest.raises(RawDataError, match=r"moments_categories\.txt, line 2: expected 'label,index', got 'singing'"):
        clips(root)


@pytest.mark.real
@pytest.mark.parametrize(("name", "count"), [("mit_v1_label_map_339.txt", 339), ("category_momentsv2.txt", 305)])
def test_every_real_category_is_read_and_becomes_a_caption(shared: Path, root: Path, name: str, count: int) -> None:
    labels = (shared / "data" / "real" / "moments" / "annotations" / name).read_text().split("\n")
    labels = [label.strip() for label in labels if label.strip()]
    (root / "moments_categories.txt").write_text("".join(f"{label},{number}\n" for number, label in enumerate(labels)))
    (root / "trainingSet.csv").write_text(
        "".join(f"{label}/yt-{number}_1.mp4,{label},3,0\n" for number, label in enumerate(labels))
    )
    train = [clip for split, clip in clips(root).values() if split == "train"]
    assert [clip.meta["label_id"] for clip in train] == list(range(count))
    assert not any(clip.reject_reason or "+" in clip.captions[0] for clip in train)

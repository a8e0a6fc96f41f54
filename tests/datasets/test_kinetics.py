"""Builds from Kinetics as downloaded: layouts, annotations, pitfalls."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from media import video_files

from t2vdata import datasets
from t2vdata.build.run import BuildResult, BuildSpec, build_dataset
from t2vdata.errors import RawDataError, RequestError
from t2vdata.format.dataset import open_dataset
from t2vdata.media.encode import encoding
from t2vdata.types import Clip

HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"
# Ids that begin with "-" and with "_", and labels that differ in little more than case.
GOLF, SAIL, LOST, IN_GAME, NOT_IN_GAME = "-olfgolfgol", "_ailsailsai", "lostlostlos", "footballinG", "footballing"
TRAIN = (
    f"golf putting,{GOLF},10,20,train,0\n"
    f'"""sailing""",{SAIL},0,10,train,1\n'
    f"massaging person's head,{LOST},417,427,train,0\n"
)  # fmt: skip
VAL = (
    f"passing American football (in game),{IN_GAME},5,15,val,0\n"
    f"passing american football (not in game),{NOT_IN_GAME},5,15,val,0\n"
)
FILES = {
    "train": [f"{GOLF}_000010_000020", f"{SAIL}_000000_000010"],
    "val": [f"{IN_GAME}_000005_000015", f"{NOT_IN_GAME}_000005_000015"],
    "test": ["testtesttes_000001_000011"],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """k400 in CVDF's layout: flat by split, test without labels."""
    folder = tmp_path / "k400"
    for split, names in FILES.items():
        (folder / split).mkdir(parents=True)
        for name in names:
            (folder / split / f"{name}.mp4").write_bytes(video_files.make("sound"))
    (folder / "annotations").mkdir()
    (folder / "annotations" / "train.csv").write_text(HEADER + TRAIN)
    (folder / "annotations" / "val.csv").write_text(HEADER + VAL)
    (folder / "annotations" / "test.csv").write_text("youtube_id,time_start,time_end,split\ntesttesttes,1,11,test\n")
    return folder


def with_rows(root: Path, text: str) -> Path:
    """Replace the rows of train.csv."""
    (root / "annotations" / "train.csv").write_text(HEADER + text)
    return root


def clips(root: Path, **options: object) -> dict[str, tuple[str, Clip]]:
    """Return {key: (split, clip)}."""
    dataset = datasets.open("kinetics", str(root), options)
    split_clips = [(split, clip) for split in dataset.SPLITS for clip in dataset.clips(split)]
    assert len({clip.key for _, clip in split_clips}) == len(split_clips)
    return {clip.key: (split, clip) for split, clip in split_clips}


def reasons(root: Path, **options: object) -> list[object]:
    return [clip.reject_reason for _, clip in clips(root, **options).values()]


def missing(root: object, **options: object) -> str:
    return datasets.open("kinetics", None if root is None else str(root), options).missing() or ""


def build(root: Path, out: Path, **options: object) -> BuildResult:
    spec = BuildSpec("kinetics", {"size": 32, **options}, root=str(root), encoding=encoding("jpeg"))
    return build_dataset(spec, out, num_workers=1, max_failures=1)


def rejects(out: Path) -> dict[str, str]:
    return {row["key"]: row["message"] for row in pq.read_table(out / "rejects.parquet").to_pylist()}


def test_a_release_becomes_shards_that_a_loader_reads(root: Path, tmp_path: Path) -> None:
    result = build(root, tmp_path / "out", frames=8, template="a person is {label}")
    assert (result.manifest.tally.kept, dict(result.manifest.tally.rejected)) == (4, {"no label": 1, "no media file": 1})
    golf, sail = open_dataset(tmp_path / "out")["train"]
    assert (golf.key, golf.captions) == (f"{GOLF}_000010_000020", ("a person is golf putting",))
    assert (golf.meta["source"], golf.meta["media"]) == ("train.csv, line 2", f"train/{GOLF}_000010_000020.mp4")
    assert (golf.meta["video"], golf.meta["segment"], golf.meta["label"]) == (GOLF, [10, 20], "golf putting")
    assert (sail.meta["label"], sail.meta["is_cc"], sail.meta["original"]["codec"]) == ("sailing", "1", "h264")
    assert rejects(tmp_path / "out") == {
        f"{LOST}_000417_000427": "train.csv, line 4: no media file",
        "testtesttes_000001_000011": "test.csv, line 2: no label",
    }
    from t2vdata.loading import Loader, LoadSpec

    (batch,) = Loader(open_dataset(tmp_path / "out")["train"], LoadSpec(batch_size=2, num_frames=4))
    assert tuple(batch.video.shape) == (2, 3, 4, 32, 32)


def test_splits_are_the_official_ones_and_groups_are_videos(root: Path) -> None:
    by_key = clips(root)
    keys = {split: [key for key, (clip_split, _) in by_key.items() if clip_split == split] for split in ("val", "test")}
    assert keys == {"val": FILES["val"], "test": FILES["test"]}
    clip = by_key[FILES["train"][0]][1]
    assert (clip.group, clip.media.name) == (GOLF, f"train/{GOLF}_000010_000020.mp4")


def test_labels_that_differ_only_in_case_stay_distinct(root: Path) -> None:
    with_rows(root, f"Sailing,{SAIL},0,10,train,0\nsailing,{GOLF},10,20,train,0\n")
    labels = [clip.meta["label"] for _, clip in clips(root).values() if "label" in clip.meta]
    assert labels == [
        "Sailing",
        "sailing",
        "passing American football (in game)",
        "passing american football (not in game)",
    ]


@pytest.mark.parametrize(
    "folder",
    ["{label}", "videos_{split}/{label_}", "videos/{split}/{label}", "{split}/{label}"],
    ids=["crawler", "mmaction2", "arranged", "split"],
)
def test_files_are_also_found_in_folders_by_label(root: Path, folder: str) -> None:
    labels = {GOLF: "golf putting", SAIL: "sailing"}
    for name in FILES["train"]:
        label = labels[name[:11]]
        parent = root / folder.format(label=label, label_=label.replace(" ", "_"), split="train")
        parent.mkdir(parents=True, exist_ok=True)
        (root / "train" / f"{name}.mp4").rename(parent / f"{name}.mp4")
    by_key = clips(root)
    assert all(Path(by_key[name][1].media.path).is_file() for name in FILES["train"])


def test_a_replacement_takes_precedence_over_the_corrupted_file(root: Path) -> None:
    name = FILES["train"][0]
    (root / "train" / f"{name}.mp4").write_bytes(b"")
    folder = root / "replacement" / "replacement_for_corrupted_k400"
    folder.mkdir(parents=True)
    (folder / f"{name}.mp4").write_bytes(video_files.make("h264"))
    (_, clip) = clips(root)[name]
    assert clip.media.name == f"replacement/replacement_for_corrupted_k400/{name}.mp4"


def test_corrupt_and_empty_files_are_left_out_with_their_line(root: Path, tmp_path: Path) -> None:
    golf, sail = (root / "train" / f"{name}.mp4" for name in FILES["train"])
    golf.write_bytes(b"")
    sail.write_bytes(b"\x00\x00\x00\x18ftypmp42" + bytes(500))
    tally = build(root, tmp_path / "out").manifest.tally
    assert (tally.kept, tally.rejected["an empty file"], dict(tally.failed)) == (2, 1, {"DecodeError": 1})
    messages = rejects(tmp_path / "out")
    assert messages[golf.stem] == "train.csv, line 2: an empty file"
    assert messages[sail.stem].startswith("train.csv, line 3: ")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("golf,short,1,11,train,0", "no YouTube id of eleven characters"),
        ("golf,../../etc/p,1,11,train,0", "no YouTube id of eleven characters"),
        ("golf,lostlostlos,one,11,train,0", "start or end is no number of seconds"),
        ("golf,lostlostlos,1", "start or end is no number of seconds"),
        ("golf,lostlostlos,11,1,train,0", "ends before it starts"),
        (",lostlostlos,1,11,train,0", "no label"),
        ("golf,footballing,30,40,train,0", "its video is in val too"),
        ("golf,testtesttes,30,40,train,0", "its video is in test too"),
    ],
    ids=str,
)
def test_only_the_unusable_row_is_rejected(root: Path, row: str, reason: str) -> None:
    with_rows(root, TRAIN + row + "\n")
    assert list(filter(None, reasons(root))) == [reason, "no label"]


def test_a_clip_listed_twice_is_built_once(root: Path) -> None:
    assert list(filter(None, reasons(with_rows(root, TRAIN + TRAIN)))) == ["listed before"] * 3 + ["no label"]


def test_two_spans_of_a_video_are_two_clips_of_one_group(root: Path) -> None:
    with_rows(root, f"golf putting,{GOLF},10,20,train,0\ngolf putting,{GOLF},30,40,train,0\n")
    train = [clip for split, clip in clips(root).values() if split == "train"]
    assert ({clip.group for clip in train}, len(train)) == ({GOLF}, 2)


@pytest.mark.parametrize(
    ("names", "header"),
    [
        ({"train": "kinetics-600_train.csv", "val": "kinetics-600_val.csv"}, "label,youtube_id,time_start,time_end,split"),
        ({"train": "annotations/deepmind/train.csv", "val": "annotations/deepmind/validate.csv"}, HEADER.strip()),
        ({"train": "kinetics700_2020/train.csv", "val": "kinetics700_2020/validate.csv"}, HEADER.strip()),
        ({"train": "annotations/kinetics_train.csv", "val": "annotations/kinetics_val.csv"}, HEADER.strip()),
    ],
    ids=["600", "700-2020 at CVDF", "DeepMind's archive", "mmaction2"],
)
def test_annotations_are_found_by_the_names_of_each_release(root: Path, names: dict[str, str], header: str) -> None:
    shutil.rmtree(root / "annotations")
    for split, name in names.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        rows = (TRAIN if split == "train" else VAL).replace(",val,", ",validate,")
        (root / name).write_text(f"{header}\n{rows}")
    assert [split for split, _ in clips(root).values()] == ["train"] * 3 + ["val"] * 2


def test_annotations_can_be_a_file_or_folder_outside_the_root(root: Path, tmp_path: Path) -> None:
    (root / "annotations").rename(tmp_path / "elsewhere")
    assert len(clips(root, annotations=tmp_path / "elsewhere")) == 6
    (tmp_path / "mine.csv").write_text(HEADER + TRAIN + VAL)
    assert [split for split, _ in clips(root, annotations=tmp_path / "mine.csv").values()] == ["train"] * 3 + ["val"] * 2


def test_annotations_without_the_columns_are_reported_with_their_first_line(root: Path) -> None:
    (root / "annotations" / "train.txt").write_text("sailing/x.mp4 3\n")
    with pytest.raises(
        RawDataError, match=r"train\.txt has no column youtube_id, time_start, time_end; its first line is 'sail"
    ):
        clips(root)


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_captions_come_from_a_table_by_id_and_start(root: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"titles.{kind}"
    if kind == "csv":
        path.write_text(
            f'youtube_id,time_start,title\n{GOLF},10,"My golf, day 1"\n{GOLF},10,again\n{SAIL},,the sea\n{LOST},9,x\n'
        )
    else:
        titles = [(GOLF, 10, "My golf, day 1"), (GOLF, 10, "again"), (SAIL, None, "the sea"), (LOST, 9, "x")]
        rows = [{"youtube_id": video, "time_start": start, "title": title} for video, start, title in titles]
        if kind == "jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        else:
            pd.DataFrame(rows).to_parquet(path)
    by_key = clips(root, captions=path)
    assert by_key[FILES["train"][0]][1].captions == ("My golf, day 1", "again")
    assert by_key[FILES["train"][1]][1].captions == ("the sea",)
    assert by_key[f"{LOST}_000417_000427"][1].reject_reason == f"no caption in titles.{kind}"


def test_captions_of_other_videos_are_refused(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "titles.csv"
    path.write_text("youtube_id,title\nsomebodyelse,x\n")
    with pytest.raises(RawDataError, match="no youtube_id in it is in the annotations"):
        clips(root, captions=path)
    path.write_text("name,title\nx,x\n")
    with pytest.raises(RawDataError, match=r"no column youtube_id or video_id or id or video; it has 'name', 'title': rename"):
        clips(root, captions=path)


def test_a_clip_list_keeps_only_its_clips_and_rejects_unknown_ones(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"# mine\nplaying golf/{GOLF}\n{SAIL}_000000_000010.mp4\nrottenrotte\n")
    by_key = clips(root, clip_list=path)
    assert list(by_key) == [*FILES["train"], "rottenrotte"]
    listed = by_key["rottenrotte"][1]
    assert (listed.source, listed.reject_reason, listed.meta) == ("list.txt, line 4", "not in the annotations", {})
    path.write_text("sailing\n")
    with pytest.raises(RequestError, match=r"list\.txt, line 1: expected a clip such as sailing/viVrkZZO6xw"):
        clips(root, clip_list=path)


def test_an_exclude_list_is_checked_against_all_rows_even_with_a_clip_list(root: Path, tmp_path: Path) -> None:
    included, excluded = tmp_path / "included.txt", tmp_path / "excluded.txt"
    included.write_text(f"{GOLF}\n")
    excluded.write_text(f"{FILES['train'][1]}\n")
    assert build(root, tmp_path / "out", clip_list=included, exclude_list=excluded).manifest.tally.kept == 1
    excluded.write_text(f"{SAIL}\n")
    with pytest.raises(RequestError, match=rf"\(--exclude-list\) names no clip .* keys such as '{FILES['train'][0]}'"):
        clips(root, exclude_list=excluded)


def test_preset_t2v_keeps_smooth_clips_of_the_ten_classes_at_25_fps(root: Path, tmp_path: Path) -> None:
    (root / "train" / f"{FILES['train'][0]}.mp4").write_bytes(video_files.of_pictures(video_files.scene(0, 40)))
    cut = np.concatenate([video_files.scene(seed, 20) for seed in (1, 2)])
    (root / "train" / f"{FILES['train'][1]}.mp4").write_bytes(video_files.of_pictures(cut))
    tally = build(root, tmp_path / "out", preset="t2v").manifest.tally
    # Four clips of the fixture are in none of the ten classes; that is checked before their files are.
    assert dict(tally.rejected) == {"none of the ten classes": 4, "not smooth: fewer than 20 matches": 1}
    (golf,) = open_dataset(tmp_path / "out")["train"]
    assert (golf.meta["label"], golf.meta["kinetics_label"], golf.captions) == (
        "playing golf",
        "golf putting",
        ("golf putting",),
    )
    assert (golf.frames.data.shape, golf.frames.fps) == ((32, 32, 32, 3), 25.0)
    assert golf.meta["matches"] > 100


def test_deepminds_json_is_read_too(root: Path) -> None:
    entries = {
        GOLF: {
            "annotations": {"label": "golf putting", "segment": [10.0, 20.0]},
            "duration": 10.0,
            "subset": "train",
            "url": "u",
        },
        SAIL: {"annotations": {"label": "sailing", "segment": [0, 10]}, "duration": 10.0, "subset": "validate", "url": "u"},
        "testtesttes": {"duration": 10.0, "subset": "test", "url": "u", "annotations": {"segment": [1, 11]}},
        "nosegmentsx": {"subset": "train", "annotations": {"label": "sailing"}},
    }
    path = root / "train.json"
    path.write_text(json.dumps(entries))
    by_key = clips(root, annotations=path)
    assert [split for split, _ in by_key.values()] == ["train", "train", "val", "test"]
    split, golf = by_key[f"{GOLF}_000010_000020"]
    assert (split, golf.captions, golf.source) == ("train", ("golf putting",), "train.json, entry 1")
    assert by_key["testtesttes_000001_000011"][1].reject_reason == "no label"
    assert [clip.reject_reason for _, clip in by_key.values()].count("start or end is no number of seconds") == 1
    path.write_text('["a"]')
    with pytest.raises(RawDataError, match=r"train\.json, character 0: expected {, got \["):
        clips(root, annotations=path)
    path.write_text('{"a": 3}')
    with pytest.raises(RawDataError, match=r"train\.json, entry 1: expected an object with annotations, got 3"):
        clips(root, annotations=path)


def test_csvs_take_precedence_over_the_json_of_the_same_archive(root: Path) -> None:
    (root / "annotations" / "train.json").write_text("{}")
    assert len(clips(root)) == 6


def test_each_window_is_a_clip(root: Path) -> None:
    assert f"{FILES['train'][0]}-w1" in clips(root, frames=4, windows=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"template": "a person"}, r"--template 'a person': expected \{label\} in it"),
        ({"template": "a {label}", "captions": Path("a.csv")}, "--captions replaces the labels"),
        (
            {"captions": Path("a.xls")},
            r"--captions a\.xls: expected a file that ends in \.csv, \.tsv, \.jsonl, \.json, \.parquet",
        ),
        ({"windows": 2}, "--windows 2 needs the length of a window"),
    ],
    ids=str,
)
def test_invalid_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        datasets.make_options("kinetics", options)


def test_preset_t2v_sets_the_length_of_a_window() -> None:
    datasets.make_options("kinetics", {"preset": "t2v", "windows": 2})


def test_missing_files_are_reported_with_how_to_get_them(root: Path, tmp_path: Path) -> None:
    assert missing(root) == ""
    assert "give it --root DIR; in --root, the folder of one release" in missing(None)
    assert missing(tmp_path / "none") == f"no folder {tmp_path / 'none'} (--root)"
    assert missing(tmp_path) == f"{tmp_path} holds k400; give --root {root}"
    assert "is one part of the release" in missing(root / "train")
    assert missing(root, captions=tmp_path / "a.csv") == f"no file {tmp_path / 'a.csv'} (--captions)"
    assert missing(root, clip_list=tmp_path / "a.txt") == f"no file {tmp_path / 'a.txt'} (--clip-list)"
    assert "holds no train.csv, val.csv or test.csv (--annotations)" in missing(root, annotations=root / "train")
    assert "does not exist (--annotations)" in missing(root, annotations=root / "none.csv")
    for split in FILES:
        shutil.rmtree(root / split)
    assert "no videos below" in missing(root)
    assert "found annotations); expected train/<youtube_id>_000010_000020.mp4" in missing(root)
    (root / "k400_targz").mkdir()
    (root / "k400_targz" / "part_120.tar.gz").touch()
    assert missing(root) == ""
    shutil.rmtree(root / "annotations")
    assert "no annotations in" in missing(root)
    assert "https://s3.amazonaws.com/kinetics/400/annotations/train.csv" in missing(root)


@pytest.mark.real
def test_real_annotations_hold_the_published_list_of_ten_classes(shared: Path, root: Path) -> None:
    real = shared / "data" / "real" / "kinetics" / "annotations"
    by_key = clips(root, annotations=real / "kinetics-400_val.csv")
    assert len(by_key) == 19_906
    assert {split for split, _ in by_key.values()} == {"val"}
    assert len({clip.meta["label"] for _, clip in by_key.values()}) == 400
    assert not any(clip.reject_reason for _, clip in by_key.values())
    listed = clips(root, annotations=real / "kinetics-400_val.csv", clip_list=real / "t2v_list.txt", preset="t2v")
    present = [clip for _, clip in listed.values() if clip.reject_reason is None]
    assert (len(listed), len(present)) == (8_562, 604)
    assert len({clip.meta["label"] for clip in present}) == 10
    chosen = clips(root, annotations=real / "kinetics-400_val.csv", preset="t2v")
    by_map = {key: clip.meta["label"] for key, (_, clip) in chosen.items() if clip.reject_reason is None}
    # The class map agrees with the published list on every listed clip.
    assert all(by_map[clip.key] == clip.meta["label"] for clip in present)


@pytest.mark.real
def test_a_real_clip_is_built_from_its_real_row(shared: Path, root: Path, tmp_path: Path) -> None:
    real = shared / "data" / "real" / "kinetics"
    shutil.copy(real / "torchvision" / "R6llTwEh07w.mp4", root / "val" / "R6llTwEh07w_000000_000010.mp4")
    (tmp_path / "list.txt").write_text("R6llTwEh07w\n")
    options = {"annotations": real / "annotations" / "kinetics-400_val.csv", "clip_list": tmp_path / "list.txt"}
    build(root, tmp_path / "out", fps=25.0, frames=32, windows=2, **options)
    first, second = open_dataset(tmp_path / "out")["val"]
    assert (first.captions, first.frames.data.shape) == (("using segway",), (32, 32, 32, 3))
    assert (second.key, second.meta["window"]) == ("R6llTwEh07w_000000_000010-w1", 1)

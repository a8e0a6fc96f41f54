"""Releases as disks and scripts leave them: linked folders, other endings, broken rows, texts that are not text."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import layouts
import pytest

from t2vdata import datasets
from t2vdata.build import planning
from t2vdata.build.run import BuildSpec, build_dataset
from t2vdata.errors import RawDataError, RequestError
from t2vdata.filters import Storable
from t2vdata.types import Clip, Reject

HEADER = "label,youtube_id,time_start,time_end,split,is_cc\n"


def plan(name: str, root: Path, **options: object) -> tuple[dict[str, Clip], dict[str, Reject]]:
    """Return the clips that a build would decode and the rejects, by key."""
    spec = BuildSpec(name, options, root=str(root))
    dataset = spec.open()
    assert dataset.missing() is None
    plans = list(planning.plan_shards(spec, planning.splits(dataset), dataset.clip_filters()))
    rejects = {reject.key: reject for shard in plans for reject in shard.rejects}
    return {clip.key: clip for shard in plans for clip in shard.clips}, rejects


def kinetics(folder: Path, rows: str, *names: str) -> Path:
    """Return a root of Kinetics with these rows in train.csv, and empty files of these names."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "annotations" / "train.csv").write_text(HEADER + rows)
    (folder / "train").mkdir()
    for name in names:
        (folder / "train" / name).write_bytes(b"x")
    return folder


def replace_by_link(folder: Path, elsewhere: Path) -> None:
    elsewhere.parent.mkdir(exist_ok=True)
    folder.rename(elsewhere)
    folder.symlink_to(elsewhere)


def test_videos_of_kinetics_may_have_any_ending_of_a_video(tmp_path: Path) -> None:
    endings = (".mp4.mkv", ".mov", ".M4V", ".webm.mp4", ".avi", ".mpg")
    ids = [f"abcdefghij{number}" for number in range(len(endings))]
    rows = "".join(f"sailing,{video},0,10,train,0\n" for video in ids)
    names = [f"{video}_000000_000010{ending}" for video, ending in zip(ids, endings, strict=True)]
    kept, rejects = plan("kinetics", kinetics(tmp_path / "k400", rows, *names, f"{ids[0]}_000000_000010.mp4.part"))
    assert [clip.media.name for clip in kept.values() if clip.media is not None] == [f"train/{name}" for name in names]
    assert not rejects
    (tmp_path / "list.txt").write_text(f"{names[0]}\n{ids[1]}\n")
    assert len(plan("kinetics", tmp_path / "k400", clip_list=tmp_path / "list.txt")[0]) == 2


@pytest.mark.parametrize(
    ("name", "folders"),
    [
        ("kinetics", ("train", "val", "annotations")),
        ("moments", ("training", "validation", "training/clapping")),
        ("msvd", ("YouTubeClips",)),
        ("visdial-coco", ("train2014", "val2014", "annotations")),
    ],
)
def test_linked_folders_hold_the_same_clips(name: str, folders: tuple[str, ...], tmp_path: Path) -> None:
    root = tmp_path / "root"
    layouts.LAYOUTS[name](root)
    before = plan(name, root)[0].keys()
    for folder in folders:
        replace_by_link(root / folder, tmp_path / "disk" / folder.replace("/", "-"))
    (root / "loop").symlink_to(root)
    assert before
    assert plan(name, root)[0].keys() == before


def test_a_quote_at_the_end_of_a_label_is_kept(tmp_path: Path) -> None:
    labels = ('"say ""hi"""', '"""sailing"""', ' "golf, putting" ')
    rows = "".join(f"{label},abcdefghij{number},0,10,train,0\n" for number, label in enumerate(labels))
    dataset = datasets.open("kinetics", str(kinetics(tmp_path / "k400", rows)))
    assert [clip.captions[0] for clip in dataset.clips("train")] == ['say "hi"', "sailing", "golf, putting"]


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ({"annotations": {"label": 5.5, "segment": [0, 10]}}, "label is not text"),
        ({"annotations": {"label": {"a": 1}, "segment": [0, 10]}}, "label is not text"),
        ({"annotations": {"label": "\ud800", "segment": [0, 10]}}, "label is not valid Unicode"),
        ({"annotations": {"label": "x", "segment": [0, 10]}, "subset": {}}, None),
        ({"annotations": {"label": "x", "segment": [0, 10]}, "subset": {"a": 1}}, "split is not text"),
        ({"annotations": {"label": "x", "segment": 5}}, "start or end is no number of seconds"),
        ({"annotations": {"label": "x", "segment": [0, 10**30]}}, "start or end is no number of seconds"),
        ({"annotations": {"label": "x", "segment": [-5, 10]}}, "start or end is no number of seconds"),
        ({"annotations": [1, 2]}, "label is not text"),
    ],
    ids=str,
)
def test_kinetics_json_of_other_types_is_a_rejected_row(tmp_path: Path, entry: Any, reason: str | None) -> None:
    root = kinetics(tmp_path / "k400", "", "abcdefghij0_000000_000010.mp4")
    (root / "train.json").write_text(json.dumps({"abcdefghij0": {"subset": "train", **entry}}))
    kept, rejects = plan("kinetics", root, annotations=root / "train.json")
    assert (len(kept), [reject.reason for reject in rejects.values()]) == ((1, []) if reason is None else (0, [reason]))


def test_captions_of_kinetics_that_are_not_text_are_rejected_with_their_row(tmp_path: Path) -> None:
    rows = "".join(f"sailing,abcdefghij{number},{number},10,train,0\n" for number in range(3))
    root = kinetics(tmp_path / "k400", rows, *(f"abcdefghij{number}_{number:06d}_000010.mp4" for number in range(3)))
    table = tmp_path / "titles.jsonl"
    lines = [
        {"youtube_id": "abcdefghij0", "title": "one"},
        {"youtube_id": "abcdefghij1", "title": {"en": "two"}},
        # A column that the first row lacks.
        {"youtube_id": "abcdefghij2", "title": "three", "time_start": 2},
        {"youtube_id": "abcdefghij2", "title": "other", "time_start": 7},
    ]
    table.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    kept, rejects = plan("kinetics", root, captions=table)
    assert [clip.captions for clip in kept.values()] == [("one",), ("three",)]
    (reject,) = rejects.values()
    assert reject.reason == "caption is neither text nor a list of texts"
    assert "titles.jsonl, line 2: 'title' is {'en': 'two'}" in reject.message


def test_a_quote_left_open_is_refused_instead_of_swallowing_rows(tmp_path: Path) -> None:
    root = kinetics(tmp_path / "k400", 'a,abcdefghij0,0,10,train,0\n"b,abcdefghij1,0,10,train,0\nc,abcdefghij2,0,10,train,0\n')
    with pytest.raises(RawDataError, match=r"train\.csv, line 3: a quoted field does not end in its line; close every quote"):
        datasets.open("kinetics", str(root)).clips("train")
    layouts.moments(tmp_path / "moments")
    (tmp_path / "moments" / "trainingSet.csv").write_text(f'"clapping/x.mp4,{"a" * 200_000}\nclapping/y.mp4,clapping,3,0\n')
    with pytest.raises(RawDataError, match=r"trainingSet\.csv, line 1: a quoted field does not end in its line"):
        datasets.open("moments", str(tmp_path / "moments")).clips("train")


def test_bytes_that_are_not_utf8_cost_their_row(tmp_path: Path) -> None:
    root = kinetics(tmp_path / "k400", "sailing,abcdefghij0,0,10,train,0\n", "abcdefghij0_000000_000010.mp4")
    with (root / "annotations" / "train.csv").open("ab") as file:
        file.write(b"caf\xe9,abcdefghij1,0,10,train,0\n")
    kept, rejects = plan("kinetics", root)
    assert len(kept) == 1
    assert [reject.message for reject in rejects.values()] == [
        "train.csv, line 3 (label 'caf\\udce9'): label is not valid Unicode"
    ]
    layouts.moments(tmp_path / "moments")
    (tmp_path / "moments" / "moments_categories.txt").write_bytes(b"clapping,0\ncaf\xe9,1\n")
    with pytest.raises(RawDataError, match=r"moments_categories\.txt, line 2: byte 0xe9 is not UTF-8"):
        datasets.open("moments", str(tmp_path / "moments")).clips("train")
    (root / "annotations" / "train.csv").write_text(HEADER, encoding="utf-16")
    with pytest.raises(RawDataError, match=r"train\.csv is UTF-16; save it as UTF-8"):
        datasets.open("kinetics", str(root)).clips("train")


@pytest.mark.parametrize("wrong", [{"id": 1 << 70}, {"caption": 5}, {"caption": "\ud800 half"}, {"caption": ["x"]}], ids=str)
def test_an_annotation_of_coco_that_cannot_be_used_costs_its_image(tmp_path: Path, wrong: dict[str, Any]) -> None:
    layouts.visdial_coco(tmp_path / "COCO")
    path = tmp_path / "COCO" / "annotations" / "captions_train2014.json"
    content = json.loads(path.read_text())
    content["annotations"][1] |= wrong
    path.write_text(json.dumps(content))
    kept, rejects = plan("visdial-coco", tmp_path / "COCO")
    assert sorted(kept) == ["000000000009", "000000000030", "000000000042"]
    assert list(rejects) == ["000000000025"]
    rejects["000000000025"].message.encode()


@pytest.mark.parametrize(
    ("old", "new", "num_rejects"),
    [
        ('"caption": "a picture"', '"caption": {"a": 1}', 3),
        ('"questions": ["is it sunny"]', '"questions": [{"q": 1}]', 3),
        ('"answers": ["yes"]', '"answers": ["\\ud800"]', 3),
        ('"image_id": 25', '"image_id": 36893488147419103232', None),
        ('"image_id": 25', '"image_id": -25', None),
        ('"question": 0', f'"question": {"[" * 5000}{"]" * 5000}', None),
        ('"version": "0.9"', '"version": ["\\ud800"]', None),
    ],
)
def test_a_dialogue_that_cannot_be_used_costs_its_image(tmp_path: Path, old: str, new: str, num_rejects: int | None) -> None:
    layouts.visdial_coco(tmp_path / "COCO")
    path = tmp_path / "COCO" / "visdial_0.9_train.json"
    path.write_text(path.read_text().replace(old, new))
    if num_rejects is None:
        with pytest.raises(RawDataError, match=r"visdial_0\.9_train\.json") as raised:
            plan("visdial-coco", tmp_path / "COCO")
        assert "\n" not in str(raised.value)
    else:
        assert len(plan("visdial-coco", tmp_path / "COCO")[1]) == num_rejects


def test_captions_of_msvd_that_are_not_text_are_counted(tmp_path: Path) -> None:
    layouts.msvd(tmp_path / "MSVD")
    (tmp_path / "MSVD" / "video_corpus.csv").unlink()
    items = [
        {"caption": ["a dog runs", "half \ud800"], "id": "-4wsuPCjDBc_0_10.avi"},
        {"caption": 5, "id": "-4wsuPCjDBc_5_15.avi"},
        {"caption": ["x"], "id": ["-4wsuPCjDBc_12_22.avi"]},
        7,
    ]
    (tmp_path / "MSVD" / "training_label.json").write_text(json.dumps(items))
    kept, rejects = plan("msvd", tmp_path / "MSVD")
    (clip,) = kept.values()
    assert (clip.captions, clip.meta["rows_left_out"]) == (("a dog runs",), {"not UTF-8": 1})
    assert sorted(reject.reason for reject in rejects.values()) == [
        "caption is neither text nor a list of texts", "its id is no clip", "its id is no clip",
    ]  # fmt: skip


def test_what_a_shard_cannot_hold_is_rejected_in_every_dataset() -> None:
    reason = Storable().why_not
    assert reason(Clip("a", ("x",), meta={"n": [1, {"m": 1 << 64}]})) == "an integer beyond 64 bits"
    assert reason(Clip("a", ("x",), group="\udce9")) == "a text that is not valid Unicode"
    assert reason(Clip("a", ("x",), meta={"\ud800": 1})) == "a text that is not valid Unicode"
    assert reason(Clip("a", ("caf\u00e9",), meta={"n": (1 << 63) - 1, "b": True, "f": 1.5})) is None


@pytest.mark.parametrize("name", ["kinetics", "moments", "msvd", "table", "visdial-coco"])
def test_a_root_whose_path_is_not_utf8_is_built(name: str, tmp_path: Path) -> None:
    root = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    layout = layouts.LAYOUTS[name](root)
    spec = BuildSpec(name, layout.options, root=None if layout.root is None else str(root))
    tally = build_dataset(spec, tmp_path / "out", num_workers=1, max_failures=1).manifest.tally
    assert (tally.kept, tally.seen) == (layout.num_kept, layout.num_clips)


def test_a_folder_whose_name_is_not_utf8_costs_its_clips(tmp_path: Path) -> None:
    rows = "".join(f"sailing,abcdefghij{number},0,10,train,0\n" for number in range(2))
    root = kinetics(tmp_path / "k400", rows, "abcdefghij0_000000_000010.mp4")
    label = Path(os.fsdecode(os.fsencode(root) + b"/train/caf\xe9"))
    label.mkdir()
    (label / "abcdefghij1_000000_000010.mp4").write_bytes(b"x")
    kept, rejects = plan("kinetics", root)
    assert list(kept) == ["abcdefghij0_000000_000010"]
    assert [reject.reason for reject in rejects.values()] == ["a text that is not valid Unicode"]


@pytest.mark.parametrize("option", ["table", "folder", "clip_list", "caption_column"])
def test_a_file_whose_own_name_is_not_utf8_is_refused(option: str, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.csv")
    flag = f"--{option.replace('_', '-')}"
    with pytest.raises(RequestError, match=rf"{flag}: the name 'caf.*\.csv' is not UTF-8; rename it"):
        datasets.open("table", options={option: name if option == "caption_column" else tmp_path / name})


def test_a_split_of_kinetics_that_is_none_rejects_its_row(tmp_path: Path) -> None:
    splits = ("training", "holdout_test", "Validate", "", "other")
    rows = "".join(f"sailing,abcdefghij{number},0,10,{split},0\n" for number, split in enumerate(splits))
    root = kinetics(tmp_path / "k400", rows, *(f"abcdefghij{number}_000000_000010.mp4" for number in range(5)))
    dataset = datasets.open("kinetics", str(root))
    videos = {split: [clip.meta["video"][-1] for clip in dataset.clips(split)] for split in dataset.SPLITS}
    assert videos == {"train": ["0", "3", "4"], "val": ["2"], "test": ["1"]}
    assert [clip.reject_reason for clip in dataset.clips("train")] == [None, None, "split is none of train, val and test"]

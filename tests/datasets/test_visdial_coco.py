"""Builds from COCO and VisDial as downloaded: layouts, pitfalls, the join."""

from __future__ import annotations

import json
import shutil
import tarfile
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from t2vdata import datasets
from t2vdata.build.run import BuildResult, BuildSpec, build_dataset
from t2vdata.cli import main
from t2vdata.datasets import _json_items
from t2vdata.datasets.visdial_coco import visdial as dialogues
from t2vdata.errors import RawDataError, RequestError
from t2vdata.format.dataset import open_dataset
from t2vdata.inspect.verify import verify
from t2vdata.media.encode import encoding
from t2vdata.types import Clip

QUESTIONS = ["is it sunny", "how many people?", "is there a dog\u2019s bowl"]
ANSWERS = ["yes", "2", "no, none"]
# A dialogue: (image, turns as (question, answer)); None is a missing answer.
TRAIN = [(9, [(0, 0), (1, 1), (2, 2)]), (25, [(2, None), (0, 2)])]
VAL = [(42, [(0, 0), (1, None)])]


def visdial(path: Path, dialogs: list[Any], *, questions: list[str] = QUESTIONS, answers: list[str] = ANSWERS) -> None:
    """Write a file of VisDial in the official schema; its name gives version and split."""
    _, version, split = path.stem.split("_")
    entries = []
    for image_id, turns in dialogs:
        rounds: list[dict[str, Any]] = []
        for question, answer in turns:
            rounds.append({"question": question})
            if answer is not None:
                rounds[-1] |= {"answer": answer, "answer_options": [answer] * 100, "gt_index": 0}
        entries.append({"image_id": image_id, "caption": f"seen by\u00a0visdial {image_id} ", "dialog": rounds})
    official = f"{split}2018" if version == "1.0" and split != "train" else split
    content = {"version": version, "split": official, "data": {"questions": questions, "answers": answers, "dialogs": entries}}
    path.write_text(json.dumps(content))


def coco(path: Path, images: dict[int, list[str]]) -> None:
    """Write a captions file; annotations are not grouped by image, and their ids decrease."""
    name = path.stem.removeprefix("captions_")
    stem = f"COCO_{name}_" if name.endswith("2014") else ""
    max_captions = max(map(len, images.values()))
    content = {
        "info": {"description": "COCO", "version": "1.0"},
        "images": [{"license": 3, "file_name": f"{stem}{image:012d}.jpg", "id": image} for image in images],
        "licenses": [],
        "annotations": [
            {"image_id": image, "id": 1000 * image + 10 - index, "caption": texts[index]}
            for index in range(max_captions)
            for image, texts in images.items()
            if index < len(texts)
        ],
    }  # fmt: skip
    path.write_text(json.dumps(content))


def picture(path: Path, mode: str = "RGB") -> None:
    path.parent.mkdir(exist_ok=True)
    pixels = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)
    Image.fromarray(pixels).convert(mode).save(path, quality=95)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """COCO 2014 and VisDial 0.9: a grey picture, one without captions, one without a dialogue."""
    folder = tmp_path / "COCO"
    (folder / "annotations").mkdir(parents=True)
    for image in (9, 25, 30):
        picture(folder / "train2014" / f"COCO_train2014_{image:012d}.jpg", "L" if image == 9 else "RGB")
    picture(folder / "val2014" / "COCO_val2014_000000000042.jpg")
    coco(
        folder / "annotations" / "captions_train2014.json",
        {9: [f"caption {number}" for number in (7, 6, 5, 4, 3, 2, 1)], 30: ["nobody asked"], 25: []},
    )
    coco(folder / "annotations" / "captions_val2014.json", {42: [" a dog\nruns  far. ", " \n "]})
    visdial(folder / "visdial_0.9_train.json", TRAIN)
    visdial(folder / "visdial_0.9_val.json", VAL, questions=["what now", "who"], answers=["nothing"])
    return folder


def clips(root: Path, **options: object) -> dict[str, tuple[str, Clip]]:
    """Return {key: (split, clip)}."""
    dataset = datasets.open("visdial-coco", str(root), options)
    split_clips = [(split, clip) for split in dataset.SPLITS for clip in dataset.clips(split)]
    assert len({clip.key for _, clip in split_clips}) == len(split_clips)
    return {clip.key.lstrip("0"): (split, clip) for split, clip in split_clips}


def why_not(root: Path, **options: object) -> dict[str, object]:
    """Return {key: reason} of the rejected clips."""
    return {key: clip.reject_reason for key, (_, clip) in clips(root, **options).items() if clip.reject_reason}


def missing(root: object, **options: object) -> str:
    return str(datasets.open("visdial-coco", None if root is None else str(root), options).missing())


def build(root: Path, out: Path, **options: object) -> BuildResult:
    spec = BuildSpec("visdial-coco", options, root=str(root), encoding=encoding("jpeg"))
    return build_dataset(spec, out, num_workers=1, max_failures=1)


def test_a_release_becomes_pictures_with_captions_and_dialogue(root: Path, tmp_path: Path) -> None:
    result = build(root, tmp_path / "out")
    assert (result.manifest.tally.kept, dict(result.manifest.tally.rejected)) == (2, {"no captions": 1, "no dialogue": 1})
    (sample,) = open_dataset(tmp_path / "out")["train"]
    assert sample.key == "000000000009"
    assert sample.captions == tuple(f"caption {number}" for number in (1, 2, 3, 4, 5))
    assert sample.meta["caption_ids"] == [9004, 9005, 9006, 9007, 9008]
    assert sample.meta["dialogue"] == [
        {"question": question, "answer": answer} for question, answer in zip(QUESTIONS, ANSWERS, strict=True)
    ]
    assert sample.meta["dialogue_text"] == "is it sunny? yes how many people? 2 is there a dog\u2019s bowl? no, none"
    assert (sample.meta["visdial_caption"], sample.meta["visdial"]) == ("seen by visdial 9", "0.9 train")
    assert sample.meta["media"] == "train2014/COCO_train2014_000000000009.jpg"
    assert sample.meta["original"] == {"codec": "jpeg", "hdr": False, "height": 48, "width": 64}
    rejects = {row["message"] for row in pq.read_table(tmp_path / "out" / "rejects.parquet").to_pylist()}
    assert rejects == {"visdial_0.9_train.json, dialog 2: no captions", "captions_train2014.json, image 30: no dialogue"}


def test_a_loader_reads_the_pictures(root: Path, tmp_path: Path) -> None:
    build(root, tmp_path / "out", size=32)
    from t2vdata.loading import Loader, LoadSpec

    (batch,) = Loader(open_dataset(tmp_path / "out")["train"], LoadSpec(batch_size=1, num_frames=1))
    assert tuple(batch.video.shape) == (1, 3, 1, 32, 32)


def test_a_grey_picture_becomes_rgb_of_256_pixels(root: Path, tmp_path: Path) -> None:
    build(root, tmp_path / "out")
    (sample,) = open_dataset(tmp_path / "out")["train"]
    assert sample.frames.data.shape == (1, 256, 256, 3)
    assert np.ptp(sample.frames.data.astype(int), axis=-1).max() <= 2


def test_questions_and_answers_come_from_the_file_of_the_dialogue(root: Path) -> None:
    split, clip = clips(root)["42"]
    assert split == "val"
    assert [turn["question"] for turn in clip.meta["dialogue"]] == ["what now", "who"]


def test_a_split_can_be_indexed_and_sliced(root: Path) -> None:
    train = datasets.open("visdial-coco", str(root)).clips("train")
    assert [train[index] for index in range(3)] == list(train)
    assert list(train[1:]) == list(train)[1:]


def test_a_missing_answer_is_none_and_absent_from_the_dialogue_text(root: Path) -> None:
    clip = clips(root)["42"][1]
    assert clip.meta["dialogue"][-1] == {"question": "who", "answer": None}
    assert clip.meta["dialogue_text"] == "what now? nothing who?"
    assert dialogues.dialogue_text([{"question": "a?", "answer": "b"}, {"question": "c", "answer": None}]) == "a? b c?"


def test_captions_lose_newlines_and_extra_blanks_and_empty_ones_are_dropped(root: Path) -> None:
    assert clips(root)["42"][1].captions == ("a dog runs far.",)


def test_captions_are_limited_by_annotation_id(root: Path) -> None:
    assert clips(root, captions_per_image=2)["9"][1].captions == ("caption 1", "caption 2")
    assert len(clips(root, captions_per_image=20)["9"][1].captions) == 7


def test_an_option_sets_what_an_image_must_have(root: Path) -> None:
    assert why_not(root) == {"25": "no captions", "30": "no dialogue"}
    assert why_not(root, require="dialogue") == {"30": "no dialogue"}
    assert why_not(root, require="captions") == {"25": "no captions"}
    alone = clips(root, require="dialogue")["25"][1]
    assert (alone.captions, alone.meta["caption_from"]) == (("seen by visdial 25",), "visdial")
    assert "dialogue" not in clips(root, require="captions")["30"][1].meta


def test_without_visdial_images_have_captions_only(root: Path) -> None:
    for path in root.glob("visdial*.json"):
        path.unlink()
    assert {key: split for key, (split, _) in clips(root, require="captions").items()} == {
        "9": "train", "25": "train", "30": "train", "42": "val",
    }  # fmt: skip
    assert "no visdial_0.9_train.json; get https://computing.ece.vt.edu" in missing(root)


def test_a_turn_out_of_range_rejects_only_its_image(root: Path) -> None:
    visdial(root / "visdial_0.9_train.json", [(9, [(0, 0)]), (30, [(0, 3)]), (25, [(3, 0)])])
    assert why_not(root) == dict.fromkeys(["30", "25"], "a question or answer that its file does not have")


def test_a_second_dialogue_of_an_image_is_rejected(root: Path) -> None:
    visdial(root / "visdial_0.9_train.json", [*TRAIN, TRAIN[0]])
    assert why_not(root)["9-0-2"] == "a second dialogue of its image"


def test_dialogues_of_1_0_cover_both_folders_and_its_val_is_not_coco(root: Path) -> None:
    for path in root.glob("visdial*.json"):
        path.unlink()
    visdial(root / "visdial_1.0_train.json", [*TRAIN, (42, [(0, 0)])])
    visdial(root / "visdial_1.0_val.json", [(9, [(1, 1)])])
    visdial(root / "visdial_1.0_test.json", [(77, [(1, None)])])
    by_key = clips(root)
    assert {key: split for key, (split, _) in by_key.items()} == {
        "9": "train", "25": "train", "30": "train", "42": "train",
        "val2018-000000000009": "val", "test2018-000000000077": "test",
    }  # fmt: skip
    assert clips(root, split="coco")["42"][0] == "val"
    flickr = by_key["val2018-000000000009"][1]
    assert flickr.reject_reason == "no captions: not an image of COCO's"
    assert flickr.media.name == "VisualDialog_val2018/VisualDialog_val2018_000000000009.jpg"
    assert (flickr.captions, flickr.group) == (("seen by visdial 9",), "val2018-000000000009")
    assert "val2018-000000000009" not in why_not(root, require="dialogue")


def test_coco_2017_has_other_names_and_visdial_decides_the_split(root: Path) -> None:
    for path in (root / "annotations").iterdir():
        path.unlink()
    coco(root / "annotations" / "captions_train2017.json", {42: ["a dog"], 9: ["a cat"]})
    coco(root / "annotations" / "captions_val2017.json", {25: ["a cow"]})
    shutil.rmtree(root / "train2014")
    picture(root / "train2017" / "000000000042.jpg")
    split, clip = clips(root)["42"]
    assert (split, clip.media.name) == ("val", "train2017/000000000042.jpg")
    assert clips(root, split="coco")["42"][0] == "train"
    assert clips(root)["25"][1].media.name == "val2017/000000000025.jpg"


def test_pictures_can_be_in_a_folder_called_images(root: Path, tmp_path: Path) -> None:
    (root / "images").mkdir()
    for name in ("train2014", "val2014"):
        (root / name).rename(root / "images" / name)
    assert build(root, tmp_path / "out").manifest.tally.kept == 2


def test_a_missing_picture_is_rejected(root: Path, tmp_path: Path) -> None:
    (root / "train2014" / "COCO_train2014_000000000009.jpg").unlink()
    assert build(root, tmp_path / "out").manifest.tally.rejected["no media file"] == 1


def test_missing_files_are_reported_with_how_to_get_them(root: Path, tmp_path: Path) -> None:
    assert missing(root) == "None"
    assert "give the folder of COCO and VisDial with --root DIR" in missing(None)
    assert "no folder nowhere (--root)" in missing("nowhere")
    (tmp_path / "wrong").mkdir()
    assert missing(tmp_path / "wrong").endswith("which is empty)")
    (tmp_path / "wrong" / "holiday").mkdir()
    assert missing(tmp_path / "wrong").endswith("found holiday)")
    (root / "annotations" / "captions_val2014.json").unlink()
    assert "no captions_val2014.json; get http://images.cocodataset.org/annotations/annotations_trainval2014.zip" in missing(
        root
    )
    assert missing(root, require="dialogue") == "None"
    assert "no captions_train2017.json; get http" in missing(root, require="dialogue", coco="2017")
    assert "no visdial_1.0_train.json; get visdial_1.0_" in missing(root, require="captions", visdial="1.0")
    with pytest.raises(RawDataError, match=r"no captions_val2014\.json"):
        build(root, tmp_path / "out")


def test_two_versions_in_a_folder_require_a_choice(root: Path) -> None:
    visdial(root / "visdial_1.0_train.json", TRAIN)
    assert "found files of 0.9 and 1.0; choose with --visdial 0.9" in missing(root)
    assert missing(root, visdial="1.0") == "None"
    coco(root / "annotations" / "captions_val2017.json", {25: ["a cow"]})
    assert "found files of 2014 and 2017; choose with --coco 2014" in missing(root, visdial="1.0")


def test_missing_picture_folders_are_reported_up_front(root: Path) -> None:
    shutil.rmtree(root / "train2014")
    shutil.rmtree(root / "val2014")
    assert "no folder of images, such as train2014; get http" in missing(root)


def test_invalid_annotations_are_refused_with_the_position(root: Path) -> None:
    path = root / "visdial_0.9_train.json"
    content = path.read_text()
    for text, message in (
        (content[:-200], r"visdial_0\.9_train\.json, character \d+: .*; the file is damaged or truncated, download it again"),
        (content.replace('"0.9"', '"1.0"'), r"calls itself version 1\.0; expected 0\.9: was it renamed"),
        (content.replace('"train"', '"val"'), "calls itself split 'val'; expected 'train'"),
        (content.replace('"image_id": 25', '"image_id": null'), "dialog 2: TypeError.*; expected image_id, caption"),
        ("{}", "has no dialogs; expected a JSON file of VisDial"),
    ):
        path.write_text(text)
        with pytest.raises(RawDataError, match=message):
            clips(root)
    path.write_text(content)
    instances = '{"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [{"id": 2, "bbox": [0]}]}'
    (root / "annotations" / "captions_train2014.json").write_text(instances)
    with pytest.raises(RawDataError, match=r"no .image_id. in .*; expected COCO's captions, not instances"):
        clips(root)
    with pytest.raises(RequestError, match="--captions-per-image 0: expected 1 or more"):
        clips(root, captions_per_image=0)


@pytest.mark.parametrize("piece_chars", [1, 2, 7, 64])
def test_json_is_read_in_pieces_of_any_size(piece_chars: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_json_items, "_PIECE_CHARS", piece_chars)
    content = {"a": [1, 23.5, '\u00fc\\"]', [], {"b": [None]}], "data": {"c": [], "d": [-7e3], "e": 456}, "f": {}, "g": "x"}
    (tmp_path / "a.json").write_text("\ufeff" + json.dumps(content, indent=1), encoding="utf-8")
    items = list(_json_items.iter_items(tmp_path / "a.json"))
    assert items == [*(("a", item) for item in content["a"]), ("d", -7e3), ("e", 456), ("g", "x")]


def test_a_dialogue_takes_a_few_hundred_bytes_of_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # It takes 9,000 bytes in the file, and 1.2 million questions with their answers must fit in a gigabyte.
    monkeypatch.setattr(_json_items, "_PIECE_CHARS", 1 << 14)
    options = list(range(200_000, 200_100))
    turn = {"question": 0, "answer": 1, "answer_options": options, "gt_index": 0}
    peaks, sizes = [], []
    for count in (40, 120):
        path = tmp_path / str(count) / "visdial_0.9_train.json"
        path.parent.mkdir()
        dialogs = [{"image_id": number, "caption": f"picture {number}", "dialog": [turn] * 10} for number in range(count)]
        data = {"questions": QUESTIONS, "answers": ANSWERS, "dialogs": dialogs}
        path.write_text(json.dumps({"version": "0.9", "split": "train", "data": data}))
        sizes.append(path.stat().st_size)
        tracemalloc.start()
        try:
            loaded = dialogues.read_dialogues(path)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert len(loaded.image_ids) == count
    assert sizes[1] - sizes[0] > 80 * 8000
    assert peaks[1] - peaks[0] < 80 * 500


@pytest.mark.real
def test_real_dialogues_are_read_completely(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "real" / "visdial" / "visdialconv-visdial_1.0_val_crowdsourced.json"
    shutil.copy(source, tmp_path / "visdial_1.0_val.json")
    data = json.loads(source.read_text())["data"]
    (tmp_path / "VisualDialog_val2018").mkdir()
    with_dialogue = [clip for _, clip in clips(tmp_path, require="dialogue").values()]
    assert len(with_dialogue) == 97
    for clip, dialog in zip(with_dialogue, data["dialogs"], strict=True):
        turns = [(data["questions"][turn["question"]], data["answers"][turn["answer"]]) for turn in dialog["dialog"]]
        assert len(turns) == 10
        assert clip.meta["dialogue_text"].split() == " ".join(f"{question}? {answer}" for question, answer in turns).split()


@pytest.mark.real
def test_real_captions_and_pictures_are_read(shared: Path, tmp_path: Path) -> None:
    real = shared / "data" / "real" / "coco"
    shutil.copy(real / "annotations" / "captions_val2017_half.json", tmp_path / "captions_val2017.json")
    content = json.loads((tmp_path / "captions_val2017.json").read_text())
    (tmp_path / "val2017").mkdir()
    pictures = sorted(real.rglob("*.jpg"))[:4]
    for path, image in zip(pictures, content["images"], strict=False):
        shutil.copy(path, tmp_path / "val2017" / image["file_name"])
    captioned = [clip for _, clip in clips(tmp_path, require="captions").values()]
    assert len(captioned) == len(content["images"])
    assert {len(clip.captions) for clip in captioned} == {5}
    assert all(text == " ".join(text.split()) for clip in captioned for text in clip.captions)
    assert build(tmp_path, tmp_path / "out", require="captions").manifest.tally.kept == len(pictures) == 4


def test_the_command_line_builds_jpeg_by_default(root: Path, tmp_path: Path) -> None:
    main(
        ["build", "visdial-coco", "--root", str(root), "--out", str(tmp_path / "out"), "--workers", "1"], standalone_mode=False
    )
    assert open_dataset(tmp_path / "out").manifest.spec["encoding"]["name"] == "jpeg"


def test_original_files_are_kept_byte_for_byte(root: Path, tmp_path: Path) -> None:
    result = build(root, tmp_path / "out", keep_original=True)
    with tarfile.open(tmp_path / "out" / "visdial-coco-train-000000.tar") as shard:
        kept = shard.extractfile("000000000009.jpg")
        assert kept is not None
        assert kept.read() == (root / "train2014" / "COCO_train2014_000000000009.jpg").read_bytes()
    (sample,) = open_dataset(tmp_path / "out")["train"]
    assert sample.frames.data.shape == (1, 48, 64, 3)
    assert verify(result.out, deep=True).is_sound


def test_an_original_that_readers_would_show_differently_fails(root: Path, tmp_path: Path) -> None:
    turned, drawn = (root / "train2014" / f"COCO_train2014_{image:012d}.jpg" for image in (9, 25))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(turned).save(turned, exif=exif)
    Image.open(drawn).save(drawn, "PNG")
    build(root, tmp_path / "out", keep_original=True, require="dialogue")
    messages = {row["key"]: row["message"] for row in pq.read_table(tmp_path / "out" / "rejects.parquet").to_pylist()}
    assert "a picture that its EXIF tag rotates cannot be kept as it is; leave out --keep-original" in messages["000000000009"]
    assert "a PNG file, but --keep-original keeps only JPEG" in messages["000000000025"]


def test_keeping_originals_requires_jpeg_and_the_original_size(root: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="--keep-original keeps the size of pictures; leave out --size"):
        build(root, tmp_path / "out", keep_original=True, size=64)
    with pytest.raises(RequestError, match="--keep-original keeps JPEG files, but --encoding is lossless; add --encoding jpeg"):
        build_dataset(BuildSpec("visdial-coco", {"keep_original": True}, root=str(root)), tmp_path / "out")


def test_lists_and_language_choose_images(root: Path, tmp_path: Path) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("000000000009\n000000000042\nnobody\n")
    result = build(root, tmp_path / "out", clip_list=listed)
    assert (result.manifest.tally.kept, result.manifest.tally.rejected["not in the annotations"]) == (2, 1)
    listed.write_text("000000000009\n")
    result = build(root, tmp_path / "others", exclude_list=listed)
    assert result.manifest.tally.rejected["in the exclude list"] == 1
    listed.write_text("COCO_train2014_000000000009.jpg\n")
    with pytest.raises(RequestError, match=r"list\.txt \(--exclude-list\) names no clip .* keys such as '000000000009'"):
        build(root, tmp_path / "none", exclude_list=listed)

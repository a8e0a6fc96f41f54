"""Builds from MSVD as downloaded: layouts, pitfalls, splits."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from media import video_files

from t2vdata import datasets
from t2vdata.build.run import BuildResult, BuildSpec, build_dataset
from t2vdata.datasets.msvd import cooking, rows
from t2vdata.errors import RawDataError, RequestError
from t2vdata.format.dataset import open_dataset
from t2vdata.media.encode import encoding
from t2vdata.types import Clip

HEADER = "VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description\n"
# The clips of the fixture: an id that begins with "-", one with "_" at both ends, overlapping segments.
SQUIRREL, COOK, LOST = "-4wsuPCjDBc_5_15", "_O9kWD8nuR__1_4", "lostvideo00_1_9"
OVERLAPPING = ["-_hbPLsZvvo_18_25", "-_hbPLsZvvo_19_25", "-_hbPLsZvvo_19_26"]
ALL = [SQUIRREL, COOK, *OVERLAPPING]


def row(clip: str, text: str, *, language: str = "English", source: str = "clean") -> str:
    return f"{','.join(clip.rsplit('_', 2))},7,{source},30,{language},{text}\n"


ROWS = "".join(
    [
        row(SQUIRREL, "A squirrel is eating a peanut."),
        row(SQUIRREL, '"A ""squirrel"" eats, slowly"', source="unverified"),
        row(SQUIRREL, "Ein Hörnchen frisst.", language="German"),
        row(SQUIRREL, ""),
        "\n,,,,,,,\n",
        row(SQUIRREL, "A squirrel is eating a peanut."),
        row(SQUIRREL, "एक गिलहरी मूंगफली खा रही है"),
        row(COOK, "A man is slicing an onion.", source="unverified"),
        row(COOK, "Someone fries potatoes, then adds salt to all of them in a great big pan."),
        row(COOK, "A man cooks."),
        *(row(clip, "A dog runs.", source="unverified") for clip in OVERLAPPING),
        row(LOST, "A boat sails."),
    ]
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An unpacked release, with a mapping of five clips."""
    folder = tmp_path / "MSVD"
    (folder / "YouTubeClips").mkdir(parents=True)
    for clip in ALL:
        (folder / "YouTubeClips" / f"{clip}.avi").write_bytes(video_files.make("h264-b-frames-avi"))
    (folder / "MSR Video Description Corpus.csv").write_text("\ufeff" + HEADER + ROWS, encoding="utf-8")
    vids = dict(zip(ALL, ("vid1", "vid1200", "vid1201", "vid1300", "vid1301"), strict=True))
    (folder / "youtube_mapping.txt").write_bytes("\r\n".join(f"{clip} {vid}" for clip, vid in vids.items()).encode())
    return folder


def with_rows(root: Path, text: str | bytes) -> Path:
    """Replace the rows of the CSV."""
    data = text.encode() if isinstance(text, str) else text
    (root / "MSR Video Description Corpus.csv").write_bytes(HEADER.encode() + data)
    return root


def with_annotations(root: Path, **files: str) -> Path:
    """Replace the CSV by other annotations: {file name with _ for its dot: text}."""
    (root / "MSR Video Description Corpus.csv").unlink()
    for name, text in files.items():
        stem, extension = name.rsplit("_", 1)
        (root / f"{stem}.{extension}").write_text(text)
    return root


def clips(root: Path, seed: int = 0, **options: object) -> dict[str, tuple[str, Clip]]:
    """Return {key: (split, clip)}."""
    dataset = datasets.open("msvd", str(root), options, seed)
    split_clips = [(split, clip) for split in dataset.SPLITS for clip in dataset.clips(split)]
    assert len({clip.key for _, clip in split_clips}) == len(split_clips)
    return {clip.key: (split, clip) for split, clip in split_clips}


def why_not(root: Path, key: str, **options: object) -> object:
    return clips(root, **options)[key][1].reject_reason


def missing(root: object, **options: object) -> str | None:
    return datasets.open("msvd", None if root is None else str(root), options).missing()


def build(root: Path, out: Path, **options: object) -> BuildResult:
    chosen = {"size": 32, "val_share": 0.0, "test_share": 0.0, **options}
    return build_dataset(
        BuildSpec("msvd", chosen, root=str(root), encoding=encoding("jpeg")), out, num_workers=1, max_failures=1
    )


def test_a_release_becomes_shards_that_a_loader_reads(root: Path, tmp_path: Path) -> None:
    result = build(root, tmp_path / "out", frames=8)
    assert (result.manifest.tally.kept, dict(result.manifest.tally.rejected)) == (5, {"no media file": 1})
    samples = {sample.key: sample for sample in open_dataset(tmp_path / "out")["train"]}
    squirrel = samples[SQUIRREL]
    assert squirrel.captions == ("A squirrel is eating a peanut.", "A squirrel eats, slowly", "A squirrel is eating a peanut.")
    assert squirrel.meta["source"] == "MSR Video Description Corpus.csv, line 2"
    assert (squirrel.meta["video"], squirrel.meta["segment"], squirrel.meta["vid"]) == ("-4wsuPCjDBc", [5, 15], "vid1")
    assert squirrel.meta["rows"]["Source"] == ["clean", "unverified", "clean"]
    assert squirrel.meta["rows_left_out"] == {"another language": 1, "another script": 1, "empty": 1}
    assert squirrel.meta["original"]["codec"] == "h264"
    (reject,) = pq.read_table(tmp_path / "out" / "rejects.parquet").to_pylist()
    assert (reject["key"], reject["message"]) == (LOST, "MSR Video Description Corpus.csv, line 16: no media file")
    from t2vdata.loading import Loader, LoadSpec

    (batch,) = Loader(open_dataset(tmp_path / "out")["train"], LoadSpec(batch_size=5, num_frames=8))
    assert tuple(batch.video.shape) == (5, 3, 8, 32, 32)


def test_overlapping_segments_and_all_of_a_video_share_a_split(root: Path) -> None:
    for seed in range(8):
        by_key = clips(root, seed, val_share=0.4, test_share=0.3)
        assert {by_key[clip][1].group for clip in OVERLAPPING} == {"-_hbPLsZvvo"}
        assert len({by_key[clip][0] for clip in OVERLAPPING}) == 1
    assert by_key[COOK][1].group == "_O9kWD8nuR_"


def test_the_official_split_follows_the_vid_number(root: Path) -> None:
    splits = {key: split for key, (split, _) in clips(root, split="official").items()}
    assert [splits[clip] for clip in ALL] == ["train", "train", "val", "val", "test"]
    assert why_not(root, LOST, split="official") == "not in youtube_mapping.txt"


def test_rows_can_be_limited_to_clean_ones(root: Path) -> None:
    assert why_not(root, OVERLAPPING[0], rows="clean") == "no clean description"
    assert why_not(root, OVERLAPPING[0], rows="prefer-clean") is None
    assert clips(root, rows="prefer-clean")[COOK][1].captions[-1] == "A man cooks."
    assert len(clips(root, rows="prefer-clean")[COOK][1].captions) == 2


def test_another_language_can_be_chosen(root: Path) -> None:
    assert clips(root, row_language="german")[SQUIRREL][1].captions == ("Ein Hörnchen frisst.",)
    assert why_not(root, COOK, row_language="German") == "no description in German"
    with pytest.raises(RawDataError, match=r"no row in 'Germn' \(--row-language\); did you mean 'German'"):
        clips(root, row_language="Germn")


def test_only_the_unusable_rows_are_rejected(root: Path) -> None:
    with_rows(
        root,
        (row(SQUIRREL, '"A quote that is never closed') + row(SQUIRREL, '"Two') + 'lines"\n').encode()
        + row(SQUIRREL, "caf\xe9").encode("latin-1")
        + (row(SQUIRREL, "One, two, three") + row(SQUIRREL, 'He says "yes"') + row("#NAME?_1_2", "x")).encode()
        + (row("abcdefghijk_9_9", "x") + "abcdefghijk,1,2\n" + row(COOK, "")).encode(),
    )
    by_key = {key: clip for key, (_, clip) in clips(root).items()}
    squirrel = by_key.pop(SQUIRREL)
    assert squirrel.captions == ("A quote that is never closed", "Two lines", "One, two, three", "He says yes")
    assert squirrel.meta["rows_left_out"] == {"not UTF-8": 1}
    assert {clip.source.split(", ", 1)[1]: clip.reject_reason for clip in by_key.values()} == {
        "line 8 (#NAME?_1_2)": "VideoID, Start and End name no clip",
        "line 9": "ends before it starts",
        "line 10": "a row of other than 8 fields",
        "line 11": "no description in English",
    }


def test_the_cooking_vote_needs_half_of_the_captions(root: Path) -> None:
    cook = clips(root, subset="cooking")[COOK][1]
    assert (cook.meta["cooking_share"], cook.reject_reason) == (pytest.approx(2 / 3), None)
    assert why_not(root, SQUIRREL, subset="cooking") == "not about cooking"
    assert cooking.cooking_share(["a woman dices tomatoes", "a dog runs"]) == 0.5
    assert cooking.cooking_share(["a man cuts paper", "a cat eats fish"]) == 0


def test_the_preset_equals_its_flags(root: Path) -> None:
    adelaide = clips(root, preset="adelaide")
    flags = clips(root, subset="cooking", max_caption_chars=60, min_segment_frames=32, val_share=0.2, test_share=0.0)
    assert adelaide == flags
    assert adelaide[COOK][1].captions == ("A man is slicing an onion.", "A man cooks.")
    assert {split for split, _ in adelaide.values()} <= {"train", "val"}
    with pytest.raises(RequestError, match="--preset adelaide has its own seeded split; leave out --split official"):
        clips(root, preset="adelaide", split="official")


def test_short_segments_are_rejected_by_the_reports_rule(root: Path, tmp_path: Path) -> None:
    # (4 - 1 + 1) seconds at 25 frames are 100; the file itself has 24.
    for min_frames, kept in ((100, 1), (101, 0)):
        clip_list = tmp_path / "list.txt"
        clip_list.write_text(COOK)
        tally = build(root, tmp_path / str(min_frames), clip_list=clip_list, min_segment_frames=min_frames).manifest.tally
        assert (tally.kept, dict(tally.rejected)) == (kept, {} if kept else {f"segment of fewer than {min_frames} frames": 1})


def test_a_clip_list_selects_exactly_its_clips(root: Path, tmp_path: Path) -> None:
    clip_list = tmp_path / "list.txt"
    clip_list.write_text(f"# ours\n{SQUIRREL}.avi\nvid1200\n{OVERLAPPING[2]} vid1301\n\nunknownclip_1_2\n")
    by_key = clips(root, clip_list=clip_list)
    assert set(by_key) == {SQUIRREL, COOK, OVERLAPPING[2], "unknownclip_1_2"}
    assert by_key["unknownclip_1_2"][1].reject_reason == "not in the annotations"
    # The list takes the place of the preset's vote.
    assert why_not(root, SQUIRREL, clip_list=clip_list, preset="adelaide") is None
    clip_list.write_text("squirrel\n")
    with pytest.raises(
        RequestError, match=r"list\.txt, line 1: expected a clip such as -4wsuPCjDBc_5_15 or vid1, got 'squirrel'"
    ):
        clips(root, clip_list=clip_list)
    clip_list.write_text("vid1\n")
    (root / "youtube_mapping.txt").unlink()
    with pytest.raises(RequestError, match=r"got 'vid1'; that needs youtube_mapping\.txt in --root"):
        clips(root, clip_list=clip_list)
    clip_list.write_text("\n")
    with pytest.raises(RequestError, match="names no clip; expected one per line"):
        clips(root, clip_list=clip_list)


def test_lists_that_match_nothing_are_refused(root: Path, tmp_path: Path) -> None:
    included, excluded, labels = (tmp_path / f"{name}.txt" for name in ("included", "excluded", "labels"))
    included.write_text(f"{SQUIRREL}\n")
    excluded.write_text(f"{COOK}.avi\n")
    with pytest.raises(RequestError, match=rf"excluded\.txt \(--exclude-list\) names no clip .* keys such as '{SQUIRREL}'"):
        clips(root, exclude_list=excluded)
    # An exclude list of the entire corpus may have no clip in common with a clip list.
    excluded.write_text(f"{COOK}\n")
    assert build(root, tmp_path / "both", clip_list=included, exclude_list=excluded).manifest.tally.rejected == {}
    labels.write_text("cooking\n")
    with pytest.raises(RequestError, match=r"no clip has a label here; leave out --label-list .*labels\.txt"):
        clips(root, label_list=labels)


def test_all_video_descriptions_are_read_below_their_heading(root: Path) -> None:
    text = (
        f"# MSVD\nDescriptions\n\n{SQUIRREL} a squirrel is eating a peanut in it's shell\n{COOK} a man cooks\n{SQUIRREL}\nx y\n"
    )
    with_annotations(root, AllVideoDescriptions_txt=text)
    by_key = clips(root)
    assert by_key[SQUIRREL][1].captions == ("a squirrel is eating a peanut in it's shell",)
    assert by_key[COOK][1].source == "AllVideoDescriptions.txt, line 5"
    assert [clip.reject_reason for _, clip in by_key.values() if clip.key.startswith("row-")] == ["begins with no clip"]


def test_s2vt_texts_and_files_may_name_clips_by_number(root: Path) -> None:
    names = {
        "sents_train_lc_nopunc_txt": "vid1\ta squirrel eats\nvid9\ta cat\n",
        "sents_test_lc_nopunc_txt": "vid1301\ta dog\n",
    }
    with_annotations(root, **names)
    (root / "YouTubeClips" / f"{SQUIRREL}.avi").rename(root / "YouTubeClips" / "vid1.avi")
    by_key = clips(root)
    assert set(by_key) == {SQUIRREL, OVERLAPPING[2], "vid9"}
    assert by_key["vid9"][1].reject_reason == "not in youtube_mapping.txt"
    assert by_key[SQUIRREL][1].media.name == "vid1.avi"
    assert by_key[SQUIRREL][1].group == "-4wsuPCjDBc"


def test_mlds_json_is_read_with_its_folders(root: Path) -> None:
    items = [
        [{"caption": ["A squirrel.", "It eats."], "id": f"{SQUIRREL}.avi"}, {"id": "x"}],
        [{"caption": ["A man."], "id": f"{COOK}.avi"}],
    ]
    with_annotations(root, training_label_json=json.dumps(items[0]), testing_label_json=json.dumps(items[1]))
    for folder in ("training_data", "testing_data"):
        (root / folder / "video").mkdir(parents=True)
    (root / "YouTubeClips" / f"{SQUIRREL}.avi").rename(root / "training_data" / "video" / f"{SQUIRREL}.avi")
    (root / "YouTubeClips" / f"{COOK}.avi").rename(root / "testing_data" / "video" / f"{COOK}.avi")
    shutil.rmtree(root / "YouTubeClips")
    by_key = clips(root)
    assert by_key[SQUIRREL][1].captions == ("A squirrel.", "It eats.")
    assert all(Path(by_key[clip][1].media.path).is_file() for clip in (SQUIRREL, COOK))
    assert by_key["row-2"][1].reject_reason == "its id is no clip"


def test_missing_files_are_reported_with_how_to_get_them(root: Path, tmp_path: Path) -> None:
    assert missing(root) is None
    assert "give it --root DIR, the folder that holds YouTubeClips" in str(missing(None))
    assert missing(tmp_path / "none") == f"no folder {tmp_path}/none (--root)"
    assert "is the folder of clips; give --root the folder that holds it" in str(missing(root / "YouTubeClips"))
    assert missing(root, clip_list=tmp_path / "none.txt") == f"no file {tmp_path}/none.txt (--clip-list)"
    assert missing(root, annotations=tmp_path / "none.csv") == f"no file {tmp_path}/none.csv (--annotations)"
    (root / "youtube_mapping.txt").unlink()
    assert "--split official needs youtube_mapping.txt" in str(missing(root, split="official"))
    with_annotations(root, notes_txt="x")
    assert "(found YouTubeClips, notes.txt); expected 'MSR Video Description Corpus.csv' (from https://" in str(missing(root))
    (root / "sents_train_lc_nopunc.txt").write_text("vid1\ta\n")
    assert "sents_train_lc_nopunc.txt, which names clips by number, needs youtube_mapping.txt" in str(missing(root))
    shutil.rmtree(root / "YouTubeClips")
    assert "no folder YouTubeClips in" in str(missing(root))
    (root / "YouTubeClips.tar").write_bytes(b"")
    assert "has not been unpacked; run: tar -xf YouTubeClips.tar -C" in str(missing(root))
    with pytest.raises(RawDataError, match=r"msvd: YouTubeClips\.tar in"):
        build(root, tmp_path / "out")


def test_files_of_another_kind_are_refused_with_their_content(root: Path, tmp_path: Path) -> None:
    for name, text, message in (
        (
            "a.csv",
            "id,video_id,sentence\n1,vid1.mp4,x\n",
            "has no column VideoID, Start, End, Description; its first line is 'id,v",
        ),
        ("a.txt", "hello there\n", "has no line such as '-4wsuPCjDBc_5_15 a squirrel is eating'"),
        ("a.json", "[{", "is it truncated"),
        ("a.json", '{"caption": []}', "expected a list of"),
        ("a.xml", "", "is not an annotation file of MSVD; expected .csv, .txt or .json"),
    ):
        path = tmp_path / name
        path.write_text(text)
        with pytest.raises(RawDataError, match=message):
            clips(root, annotations=path)
    (root / "youtube_mapping.txt").write_text(f"{SQUIRREL} vid1\nvid2 x\n")
    with pytest.raises(
        RawDataError, match=r"youtube_mapping\.txt, line 2: expected '<VideoID>_<Start>_<End> vid7', got 'vid2 x'"
    ):
        clips(root)


def test_invalid_options_are_refused(root: Path) -> None:
    for options, message in (
        ({"min_segment_frames": 0}, "--min-segment-frames 0: expected 1 or more"),
        ({"split": "official", "val_share": 0.1}, "--split official has its own shares; leave out --val-share"),
        ({"val_share": 0.9, "test_share": 0.2}, "expected 0 to 1 in all"),
    ):
        with pytest.raises(RequestError, match=message):
            clips(root, **options)


def test_an_endless_field_is_rejected_with_its_row(tmp_path: Path) -> None:
    limit = csv.field_size_limit(131_072)
    try:
        table = tmp_path / "video_corpus.csv"
        table.write_text(HEADER + row(SQUIRREL, "x" * 140_000) + row(SQUIRREL, "A cat runs."))
        table_rows = list(rows.read_rows(table))
    finally:
        csv.field_size_limit(limit)
    assert [row.reject_reason for row in table_rows] == ["a field of over 128 KiB", None]


@pytest.mark.real
def test_real_annotations_split_and_vote_as_documented(shared: Path, root: Path) -> None:
    real = shared / "data" / "real" / "msvd" / "annotations"
    shutil.copy(real / "youtube_mapping.txt", root)
    by_key = clips(root, annotations=real / "english_captions_half.json", subset="cooking")
    assert (len(by_key), sum(len(clip.captions) for _, clip in by_key.values())) == (702, 11797)
    cooking = [key for key, (_, clip) in by_key.items() if clip.reject_reason is None]
    assert len(cooking) / len(by_key) == pytest.approx(0.201, abs=0.002)
    official = clips(root, annotations=real / "english_captions_half.json", split="official")
    assert not any(clip.reject_reason for _, clip in official.values())
    mapped = clips(root, clip_list=real / "youtube_mapping.txt", split="official")
    assert [sum(split == name for split, _ in mapped.values()) for name in ("train", "val", "test")] == [1200, 100, 670]
    splits: dict[str, set[str]] = {}
    for split, clip in mapped.values():
        splits.setdefault(clip.group, set()).add(split)
    # The official split itself leaks one video.
    assert [group for group, group_splits in splits.items() if len(group_splits) > 1] == ["bQJQGoJF7_k"]


@pytest.mark.real
def test_real_clips_are_built(shared: Path, tmp_path: Path) -> None:
    real = shared / "data" / "real" / "msvd"
    names = sorted(path.stem for path in (real / "YouTubeClips").iterdir())
    assert len(names) == 3
    root = tmp_path / "MSVD"
    root.mkdir()
    (root / "YouTubeClips").symlink_to(real / "YouTubeClips")
    (root / "video_corpus.csv").write_text(HEADER + "".join(row(name, "Something happens.") for name in names))
    shutil.copy(real / "annotations" / "youtube_mapping.txt", root)
    result = build(root, tmp_path / "out", frames=16, fps=8.0, min_segment_frames=32)
    assert result.manifest.tally.kept == 3
    rates = {sample.key: sample.meta["segment_frames"] for sample in open_dataset(tmp_path / "out")["train"]}
    assert rates["3qqEKTPxLNs_1_15"] == 450

"""What the cells of a table may hold: columns of all rows, texts, durations, files in the table, odd names and bytes."""

from __future__ import annotations

import datetime
import decimal
import json
import os
from pathlib import Path
from typing import Any

import fsspec
import pandas
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from media import video_files

from t2vdata import datasets
from t2vdata.build import planning
from t2vdata.build.run import BuildSpec, build_dataset
from t2vdata.errors import RawDataError
from t2vdata.format.dataset import open_dataset
from t2vdata.types import Clip, Reject


def jsonl(folder: Path, *rows: Any) -> Path:
    path = folder / "clips.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def columnar(path: Path, table: Any) -> Path:
    """Write a parquet or feather file."""
    table = table if isinstance(table, pa.Table) else pa.table(table)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        pyarrow.feather.write_feather(table, str(path))
    return path


def clips(path: Path, **options: object) -> dict[str, tuple[str, Clip]]:
    """Return {key: (split, clip)} of a table or folder; all in train, unless it says otherwise."""
    source = {"folder": path} if path.is_dir() else {"table": path}
    dataset = datasets.open("table", options={"val_share": 0.0, "test_share": 0.0, **source, **options})
    return {clip.key: (split, clip) for split in dataset.SPLITS for clip in dataset.clips(split)}


def plan(path: Path, **options: object) -> tuple[list[Clip], list[Reject]]:
    """Return the clips that a build would decode, and the rejects."""
    spec = BuildSpec("table", {**({"folder": path} if path.is_dir() else {"table": path}), **options})
    dataset = spec.open()
    plans = list(planning.plan_shards(spec, planning.splits(dataset), dataset.clip_filters()))
    return [clip for shard in plans for clip in shard.clips], [reject for shard in plans for reject in shard.rejects]


def test_a_column_that_first_occurs_in_a_later_row_is_read(tmp_path: Path) -> None:
    late = {"path": "b.mp4", "caption": "second half", "start": 1, "end": 2, "split": "test", "label": "x", "key": "own"}
    by_key = clips(jsonl(tmp_path, {"path": "a.mp4", "caption": "whole"}, late))
    assert by_key["a"][0] == "train"
    split, own = by_key["own"]
    assert (split, own.captions, own.start_seconds, own.end_seconds, own.meta) == (
        "test", ("second half",), 1.0, 2.0, {"label": "x"},
    )  # fmt: skip
    with pytest.raises(RawDataError, match=r"no column 'labell'.*did you mean 'label'"):
        clips(tmp_path / "clips.jsonl", label_column="labell")


def test_rows_may_lack_cells_in_every_text_format(tmp_path: Path) -> None:
    rows = [{"path": "a.mp4", "caption": "x"}, {"path": "b.mp4", "caption": "y", "end": 2, "label": "z"}]
    (tmp_path / "clips.json").write_text(json.dumps(rows))
    (tmp_path / "clips.csv").write_text("path,caption,end,label\na.mp4,x\nb.mp4,y,2,z\n")
    (tmp_path / "clips.tsv").write_text("path\tcaption\tend\tlabel\na.mp4\tx\nb.mp4\ty\t2\tz\n")
    for ending in ("json", "csv", "tsv"):
        (_, first), (_, second) = clips(tmp_path / f"clips.{ending}").values()
        assert (first.end_seconds, first.meta, second.end_seconds, second.meta) == (None, {}, 2.0, {"label": "z"})
    for content, message in (
        ('{"a": 1}', "expected a list of JSON objects, got"),
        ("[1]", "row 1: expected a JSON object, got 1"),
    ):
        (tmp_path / "clips.json").write_text(content)
        with pytest.raises(RawDataError, match=message):
            clips(tmp_path / "clips.json")


def test_bytes_are_utf8_text_and_lists_of_texts_are_captions(tmp_path: Path) -> None:
    captions = pa.array([b"a cat runs", "caf\u00e9".encode(), b"caf\xe9", None])
    path = columnar(tmp_path / "clips.parquet", {"path": ["a.mp4", "b.mp4", "c.mp4", "d.mp4"], "caption": captions})
    by_group = {clip.group: clip for _, clip in clips(path).values()}
    assert by_group["a.mp4"].captions == ("a cat runs",)
    assert by_group["b.mp4"].captions == ("caf\u00e9",)
    assert by_group["c.mp4"].reject_reason == "caption is not UTF-8"
    assert by_group["d.mp4"].captions == ()


@pytest.mark.parametrize("caption", [{"short": "a cat"}, 5, 1.5, True, [["a"]], ["a", 5], [{"a": "b"}]], ids=str)
def test_a_caption_that_is_not_text_is_a_rejected_row(tmp_path: Path, caption: Any) -> None:
    path = jsonl(tmp_path, {"path": "a.mp4", "text": "sound"}, {"path": "a.mp4", "text": caption})
    (_, sound), (_, reject) = clips(path).values()
    assert sound.captions == ("sound",)
    assert reject.reject_reason == "caption is neither text nor a list of texts"
    assert (reject.source or "").startswith("clips.jsonl, line 2 (column 'text': ")


@pytest.mark.parametrize("column", ["path", "label", "group", "split", "key", "caption"])
def test_a_cell_that_is_not_text_is_a_rejected_row_in_any_column(tmp_path: Path, column: str) -> None:
    sound = {"path": "a.mp4", "caption": "x"}
    for value, problem in (({"a": 1}, "text"), ([1], "text"), (True, "text"), ("\ud800 half", "is not valid Unicode")):
        (clip,) = (clip for _, clip in clips(jsonl(tmp_path, {**sound, column: value})).values())
        assert clip.reject_reason is not None
        assert clip.reject_reason.startswith(f"{column} ")
        assert problem in clip.reject_reason


def test_integers_are_labels_groups_and_keys(tmp_path: Path) -> None:
    frame = pandas.DataFrame({"path": ["a.mp4", "b.mp4"], "caption": "x", "label": [3, None], "group": [7, 8], "key": [1, 2]})
    frame.to_parquet(tmp_path / "clips.parquet")
    (_, first), (_, second) = clips(tmp_path / "clips.parquet").values()
    # A gap makes a column of integers one of floats.
    assert (first.key, first.group, first.meta, second.meta) == ("1", "7", {"label": "3"}, {})


@pytest.mark.parametrize("ending", ["parquet", "feather"])
@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (pa.array([1500], pa.duration("ms")), 1.5),
        (pa.array([1], pa.duration("s")), 1.0),
        (pa.array([1_500_000], pa.duration("us")), 1.5),
        (pa.array([1_500_000_001], pa.duration("ns")), 1.500000001),
        (pa.array([decimal.Decimal("1.25")]), 1.25),
        (pa.array([datetime.time(0, 1, 2, 500_000)]), 62.5),
        (pa.array([1], pa.uint8()), 1.0),
        (pa.array(["0:01:02.5"]), 62.5),
        (pa.array(["1.5"]).dictionary_encode(), 1.5),
        (pa.array([b"1.5"]), 1.5),
        (pa.array([None], pa.duration("ns")), None),
        (pa.array([float("nan")]), None),
    ],
    ids=str,
)
def test_a_start_of_any_type_is_read_in_seconds(tmp_path: Path, ending: str, start: pa.Array, expected: float | None) -> None:
    path = columnar(tmp_path / f"clips.{ending}", {"path": ["a.mp4"], "caption": ["x"], "start": start})
    ((_, clip),) = clips(path).values()
    assert (clip.start_seconds, clip.reject_reason) == (expected, None)


@pytest.mark.parametrize(
    "start",
    [
        pa.array([datetime.date(2020, 1, 1)]), pa.array([datetime.datetime(2020, 1, 1)]), pa.array([True]), pa.array([-1.0]),
        pa.array([float("inf")]), pa.array([10**18], pa.timestamp("ns")), pa.array([2**31 - 1], pa.date32()),
        pa.array([-5], pa.duration("ns")), pa.array([{"a": 1}]), pa.array(["1_000"]), pa.array(["1e400"]),
    ],
    ids=str,
)  # fmt: skip
def test_a_start_that_is_no_time_is_a_rejected_row_that_shows_it(tmp_path: Path, start: pa.Array) -> None:
    ((_, clip),) = clips(columnar(tmp_path / "clips.parquet", {"path": ["a.mp4"], "caption": ["x"], "start": start})).values()
    assert clip.reject_reason == "start or end is no number of seconds"
    assert "(start " in (clip.source or "")


def test_integers_beyond_64_bits_are_counted(tmp_path: Path) -> None:
    sound = {"path": "a.mp4", "caption": "x"}
    rows = [{**sound, "start": 1 << 70}, {**sound, "end": 1 << 2000}, {**sound, "key": 1 << 70}, {**sound, "label": 1 << 70}]
    assert len(clips(jsonl(tmp_path, *rows))) == 4
    (tmp_path / "clips.jsonl").write_text('{"path": "a.mp4", "caption": ' + "9" * 5000 + "}\n")
    with pytest.raises(RawDataError, match=r"clips\.jsonl, line 1: an integer of thousands of digits; expected one JSON"):
        clips(tmp_path / "clips.jsonl")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"path": "a", "caption": ' + "[" * 100_000 + "]" * 100_000 + "}",
            "line 1: its values are nested too deeply; expected",
        ),
        ('{"path": "a", "path": "b", "caption": "x"}', "line 1: two values of 'path'; remove one"),
        ("[1]", r"line 1: expected a JSON object, got '\[1\]'"),
        ("{}", "is empty; expected one JSON object per line"),
    ],
    ids=range(4),
)
def test_broken_json_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "clips.jsonl").write_text(text)
    with pytest.raises(RawDataError, match=message):
        clips(tmp_path / "clips.jsonl")


@pytest.mark.parametrize("ending", ["parquet", "feather"])
def test_a_damaged_columnar_table_is_refused_in_one_line(tmp_path: Path, ending: str) -> None:
    names = [f"{number}.mp4" for number in range(2000)]
    path = columnar(tmp_path / f"clips.{ending}", {"path": names, "caption": names})
    data = path.read_bytes()
    for damaged in (data[:1000], data[:-20], b"", data[:4] + bytes(len(data) - 4), data[:600] + bytes(400) + data[1000:]):
        path.write_bytes(damaged)
        with pytest.raises(RawDataError, match=rf"clips\.{ending}.*; the file is damaged, write it again") as raised:
            clips(path)
        assert "\n" not in str(raised.value)


def test_texts_of_parquet_that_are_not_utf8_cost_only_their_rows(tmp_path: Path) -> None:
    captions = pa.array([b"sound", b"caf\xe9"])
    bad = pa.Array.from_buffers(pa.string(), 2, captions.buffers())
    by_group = {
        clip.group: clip for _, clip in clips(columnar(tmp_path / "c.parquet", {"path": ["a", "b"], "caption": bad})).values()
    }
    assert by_group["a"].captions == ("sound",)
    assert by_group["b"].reject_reason == "caption is not UTF-8"


def test_long_fields_of_a_csv_are_captions(tmp_path: Path) -> None:
    (tmp_path / "clips.csv").write_text("path,caption\na.mp4," + "x" * 1_100_000 + "\nb.mp4,y\n")
    assert [len(clip.captions[0]) for _, clip in clips(tmp_path / "clips.csv").values()] == [1_100_000, 1]


def test_files_in_the_table_are_read_as_hugging_face_stores_them(tmp_path: Path) -> None:
    cat = video_files.make("h264")
    (tmp_path / "dog.mp4").write_bytes(video_files.make("vp9"))
    values = [
        {"bytes": cat, "path": "/home/somebody/cat.mp4"}, {"bytes": None, "path": "dog.mp4"}, {"bytes": cat, "path": None},
        None,
    ]  # fmt: skip
    rows = [{"video": value, "text": f"clip {number}"} for number, value in enumerate(values)]
    for ending in ("parquet", "feather"):
        path = columnar(tmp_path / f"clips.{ending}", pa.Table.from_pylist(rows * 40))
        options = {"table": path, "size": 16, "frames": 4, "val_share": 0.3, "test_share": 0.3}
        result = build_dataset(BuildSpec("table", options), tmp_path / ending, num_workers=1)
        assert result.manifest.tally.as_json() == {"kept": 2, "rejected": {"no path": 40}, "failed": {}}
        items = [item for split in open_dataset(result.out).manifest.splits for item in open_dataset(result.out)[split]]
        by_media = {item.meta["media"]: item for item in items}
        # The same bytes are one file, whatever they are called.
        assert by_media["cat.mp4"].captions == ("clip 0", "clip 2")
        assert by_media["cat.mp4"].frames.data.shape == (4, 16, 16, 3)
        assert by_media["dog.mp4"].captions == ("clip 1",)


def test_files_in_a_table_behind_a_url_are_read(tmp_path: Path) -> None:
    values = [{"bytes": video_files.make(kind), "path": "same.mp4"} for kind in ("h264", "vp9")]
    path = columnar(tmp_path / "clips.parquet", {"video": pa.array(values), "text": ["a cat", "a dog"]})
    fsspec.filesystem("memory").pipe("/embedded/clips.parquet", path.read_bytes())
    options = {"table": "memory://embedded/clips.parquet", "size": 16, "val_share": 0.0, "test_share": 0.0}
    result = build_dataset(BuildSpec("table", options), tmp_path / "out", num_workers=1)
    assert [item.captions for item in open_dataset(result.out)["train"]] == [("a cat",), ("a dog",)]


def test_lines_of_a_text_end_only_at_newlines(tmp_path: Path) -> None:
    (tmp_path / "cat.mp4").write_bytes(b"")
    (tmp_path / "cat.txt").write_bytes("one\u2028still one\x85 and\x0b\x0c\x1c one\r\ntwo\r\n\nthree".encode())
    ((_, clip),) = clips(tmp_path).values()
    assert clip.captions == ("one still one and one", "two", "three")
    (tmp_path / "keys.txt").write_bytes("cat\u2028\n".encode())
    (tmp_path / "keys.txt").rename(tmp_path.parent / "keys.txt")
    assert len(clips(tmp_path, clip_list=tmp_path.parent / "keys.txt")) == 1


def test_endings_in_capitals_and_names_in_the_other_form_of_unicode_belong_together(tmp_path: Path) -> None:
    for name in ("cat.mp4", "DOG.MP4", "cafe\u0301.mov", "Two.mp4", "two.mp4"):
        (tmp_path / name).write_bytes(b"")
    for name in ("cat.TXT", "DOG.Txt", "caf\u00e9.txt", "two.txt", "lonely.TXT"):
        (tmp_path / name).write_text(name)
    kept, rejects = plan(tmp_path)
    captions = {clip.media.name: clip.captions for clip in kept if clip.media is not None}
    assert captions == {
        "cat.mp4": ("cat.TXT",),
        "DOG.MP4": ("DOG.Txt",),
        "cafe\u0301.mov": ("caf\u00e9.txt",),
        "two.mp4": ("two.txt",),
    }
    assert sorted(reject.reason for reject in rejects) == ["no caption", "no media file beside this text"]


def test_texts_and_names_that_cannot_be_read_are_counted(tmp_path: Path) -> None:
    for name in (b"cat.mp4", b"dog.mp4", b"owl.mp4", b"pipe.mp4", b"caf\xe9.mp4", b"ok.mp4"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).write_bytes(b"")
    (tmp_path / "cat.txt").symlink_to("nowhere.txt")
    (tmp_path / "gone.mp4").symlink_to("nowhere.mp4")
    (tmp_path / "gone.txt").write_text("gone")
    (tmp_path / "dog.txt").write_bytes(b"caf\xe9")
    (tmp_path / "owl.txt").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "ok.txt").write_text("fine")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")).write_text("a name in Latin-1")
    kept, rejects = plan(tmp_path)
    assert [clip.captions for clip in kept] == [("fine",)]
    assert sorted(reject.message for reject in rejects) == [
        "caf\\xe9.mp4: a file name that is not UTF-8",
        "cat.txt (No such file or directory): its text cannot be read",
        "dog.txt: its text is not UTF-8",
        "gone.mp4: no media file",
        "owl.mp4: no caption",
        "pipe.txt (not a regular file): its text cannot be read",
    ]
    assert BuildSpec("table", {"folder": tmp_path}).open().source()["sha256"]


def test_folders_behind_links_are_read_once(tmp_path: Path) -> None:
    disk, folder = tmp_path / "disk", tmp_path / "folder"
    for path in (disk / "deep" / "dog.mp4", folder / "cats" / "cat.mp4"):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"")
        path.with_suffix(".txt").write_text(path.stem)
    (folder / "a link").symlink_to(disk)
    (folder / "again").symlink_to(disk / "deep")
    (folder / "cats" / "up").symlink_to(folder)
    (disk / "loop").symlink_to(disk)
    (disk / "out").symlink_to(tmp_path)
    kept, rejects = plan(folder)
    assert sorted(clip.source or "" for clip in kept) == ["a link/deep/dog.mp4", "cats/cat.mp4"]
    assert not rejects


def test_paths_are_taken_as_they_stand(tmp_path: Path) -> None:
    names = ["cafe\u0301.mp4", "two  blanks.mp4", " ends.mp4 ", "a\ttab.mp4"]
    for name in (*names, "plain.mp4"):
        (tmp_path / name).write_bytes(b"")
    kept, rejects = plan(jsonl(tmp_path, *({"path": name, "caption": "x"} for name in (*names, " plain.mp4", "caf\u00e9.mp4"))))
    paths = sorted(Path(clip.media.path).name for clip in kept if clip.media is not None)
    # Both forms of the accent are one clip; blanks at the ends are left out only where no file has them.
    assert paths == sorted([*names, "plain.mp4"])
    assert not rejects


def test_all_names_of_a_file_are_one_group(tmp_path: Path) -> None:
    names = ["v/{}.mp4", "./v/{}.mp4", "v//{}.mp4", "v/../v/{}.mp4", "{root}/v/{}.mp4", "file://{root}/v/{}.mp4", "link/{}.mp4",
             "{}-hard.mp4"]  # fmt: skip
    (tmp_path / "v").mkdir()
    (tmp_path / "link").symlink_to("v")
    rows = []
    for number in range(12):
        (tmp_path / "v" / f"{number}.mp4").write_bytes(b"")
        os.link(tmp_path / "v" / f"{number}.mp4", tmp_path / f"{number}-hard.mp4")
        rows += [
            {"path": name.format(number, root=tmp_path), "caption": name, "start": index, "end": index + 1}
            for index, name in enumerate(names)
        ]
    by_group: dict[str, set[str]] = {}
    for split, clip in clips(jsonl(tmp_path, *rows), val_share=0.3, test_share=0.3).values():
        by_group.setdefault(clip.group, set()).add(split)
    assert by_group.keys() == {f"v/{number}.mp4" for number in range(12)}
    assert all(len(splits) == 1 for splits in by_group.values())


def test_one_clip_under_two_names_has_the_captions_of_both(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    by_key = clips(jsonl(tmp_path, {"path": "a.mp4", "caption": "one"}, {"path": "./a.mp4", "caption": "two"}))
    assert [clip.captions for _, clip in by_key.values()] == [("one", "two")]


def test_names_of_a_url_are_one_group(tmp_path: Path) -> None:
    urls = [
        "https://Host/v/a.mp4",
        "https://host:443/v//a.mp4",
        "https://host/./v/%61.mp4#t=1",
        "https://host/v/a.mp4?X-Amz-Date=1",
    ]
    others = ["https://host/v/a.mp4?id=2", "s3://bucket/a", "s3://bucket/./a", "s3://bucket/A"]
    rows = [{"path": url, "caption": "x", "start": number} for number, url in enumerate((*urls, *others))]
    assert len({clip.group for _, clip in clips(jsonl(tmp_path, *rows)).values()}) == 1 + 3


def test_a_group_takes_the_split_that_one_of_its_rows_gives(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"")
    row = {"caption": "x", "end": 9}
    rows = [{**row, "path": "a.mp4", "start": 0}, {**row, "path": "./a.mp4", "start": 1, "split": "val"}]
    assert {split for split, _ in clips(jsonl(tmp_path, *rows)).values()} == {"val"}
    grouped = [
        {**row, "path": f"{number}.mp4", "group": "film", "split": split} for number, split in enumerate([None, "test", ""])
    ]
    assert {split for split, _ in clips(jsonl(tmp_path, *grouped)).values()} == {"test"}
    with pytest.raises(
        RawDataError, match=r"line 2 and clips\.jsonl, line 3: the split of a\.mp4 is 'val' in one and 'test' in"
    ):
        clips(jsonl(tmp_path, *rows, {**row, "path": "a.mp4", "start": 2, "split": "test"}))
    with pytest.raises(RawDataError, match=r"line 2 and clips\.jsonl, line 4: the split of film is"):
        clips(jsonl(tmp_path, *grouped, {**row, "path": "9.mp4", "group": "film", "split": "train"}))


def test_a_file_whose_group_one_row_gives_is_in_it_with_all_its_rows(tmp_path: Path) -> None:
    rows = [{"path": "a.mp4", "caption": "x", "start": 0}, {"path": "./a.mp4", "caption": "x", "start": 1, "group": "film"}]
    assert {clip.group for _, clip in clips(jsonl(tmp_path, *rows)).values()} == {"film"}


def test_a_null_byte_and_a_name_too_long_are_missing_files(tmp_path: Path) -> None:
    kept, rejects = plan(jsonl(tmp_path, *({"path": path, "caption": "x\0y"} for path in ("a\0.mp4", "x" * 5000, "\0"))))
    assert not kept
    assert {reject.reason for reject in rejects} == {"no media file"}


def test_an_unreadable_table_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "clips.csv").mkdir()
    dataset = datasets.open("table", options={"table": tmp_path / "clips.csv"})
    for read in (dataset.source, lambda: dataset.clips("train")):
        with pytest.raises(RawDataError, match=r"cannot read .*clips\.csv: Is a directory"):
            read()


def test_groups_that_share_a_file_are_one_group(tmp_path: Path) -> None:
    rows = [("a", 0, "g1"), ("a", 1, "g2"), ("b", 0, "g2"), ("c", 0, "g3"), ("c", 1, "g1"), ("d", 0, "g4")]
    path = jsonl(tmp_path, *({"path": f"{p}.mp4", "start": s, "caption": "x", "group": g} for p, s, g in rows))
    groups = [clip.group for _, clip in clips(path, val_share=0.4, test_share=0.4).values()]
    assert sorted(groups) == ["g1"] * 5 + ["g4"]
    sides = {split for split, clip in clips(path, val_share=0.4, test_share=0.4).values() if clip.group == "g1"}
    assert len(sides) == 1


def test_a_file_with_two_groups_in_two_splits_is_refused_with_both_rows(tmp_path: Path) -> None:
    row = {"path": "a.mp4", "caption": "x"}
    path = jsonl(
        tmp_path, {**row, "end": 1, "group": "g1", "split": "train"}, {**row, "start": 1, "group": "g2", "split": "val"}
    )
    with pytest.raises(RawDataError, match=r"line 1 and clips\.jsonl, line 2: the split of g1 is 'train' in one and 'val'"):
        clips(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("foo://x/a.mp4", "path is a URL of an unknown protocol"),
        ("s3://", "path is a URL without a bucket or a name"),
        ("gs://bucket", "path is a URL without a bucket or a name"),
        ("http://", "path is a URL without a valid host"),
        ("https://[bad/a.mp4", "path is a URL without a valid host"),
        ("http://example.com:99999/a.mp4", "path is a URL without a valid host"),
        ("HTTP://example.com/a.mp4", None),
        ("https://example.com/get?id=1", None),
    ],
)
def test_a_url_that_no_file_can_have_costs_its_row(tmp_path: Path, text: str, reason: str | None) -> None:
    _, rejects = plan(jsonl(tmp_path, {"path": text, "caption": "x"}, {"path": "https://example.com/b.mp4", "caption": "y"}))
    assert [reject.reason for reject in rejects] == ([] if reason is None else [reason])


def test_all_names_of_a_file_behind_a_url_are_one_file(tmp_path: Path) -> None:
    pairs = (
        ("s3://b/a.mp4", "s3a://b/a.mp4"),
        ("gs://b/a.mp4", "gcs://b/a.mp4"),
        ("http://h/a.mp4", "https://h/a.mp4"),
        ("https://h/c/a.mp4?sv=1&se=2024&sig=A", "https://h/c/a.mp4?sv=1&se=2025&sig=B"),
    )
    for first, second in pairs:
        (_, clip), *others = clips(jsonl(tmp_path, {"path": first, "caption": "x"}, {"path": second, "caption": "y"})).values()
        assert (clip.captions, others) == (("x", "y"), [])
    queries = ({"path": f"https://h/get?id={number}", "caption": "x"} for number in range(2))
    assert len(clips(jsonl(tmp_path, *queries))) == 2


def test_file_urls_and_backslashes_lead_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "my videos").mkdir()
    (tmp_path / "my videos" / "a.mp4").write_bytes(b"x")
    quoted = str(tmp_path / "my%20videos" / "a.mp4")
    names = (f"file://{quoted}", f"FILE://localhost{tmp_path}/my videos/a.mp4", "my videos\\a.mp4")
    kept, rejects = plan(jsonl(tmp_path, *({"path": name, "caption": str(i)} for i, name in enumerate(names))))
    assert [clip.captions for clip in kept] == [("0", "1", "2")]
    assert not rejects


def test_a_folder_named_like_a_video_is_no_media_file(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").mkdir()
    os.mkfifo(tmp_path / "b.mp4")
    _, rejects = plan(jsonl(tmp_path, {"path": "a.mp4", "caption": "x"}, {"path": "b.mp4", "caption": "y"}))
    assert [reject.reason for reject in rejects] == ["no media file"] * 2


def test_a_column_of_bytes_holds_files_or_paths(tmp_path: Path) -> None:
    data = video_files.make("h264")
    table = pa.table({"video": pa.array([data, b"a.mp4"], pa.large_binary()), "caption": ["file", "path"]})
    (tmp_path / "a.mp4").write_bytes(data)
    path = columnar(tmp_path / "clips.parquet", table)
    dataset = datasets.open("table", options={"table": path, "val_share": 0.0, "test_share": 0.0, "frames": 2})
    embedded, named = dataset.clips("train")
    assert (embedded.key, named.key) == ("row-1", "a")
    assert (dataset.render(embedded).data == dataset.render(named).data).all()


def test_derived_keys_leave_the_given_ones_free(tmp_path: Path) -> None:
    by_key = clips(jsonl(tmp_path, {"path": "a.mp4", "caption": "x"}, {"path": "b.mp4", "caption": "y", "key": "a"}))
    assert by_key["a"][1].captions == ("y",)
    assert len(by_key) == 2


def test_captions_that_show_nothing_are_none(tmp_path: Path) -> None:
    texts = ("\u200b", "\u00a0\u2028", "\0", "\ufeff \u202e", "\u200bx")
    kept, rejects = plan(jsonl(tmp_path, *({"path": f"https://h/{i}.mp4", "caption": text} for i, text in enumerate(texts))))
    assert [clip.captions for clip in kept] == [("\u200bx",)]
    assert {reject.reason for reject in rejects} == {"no caption"}


def test_training_and_testing_are_splits(tmp_path: Path) -> None:
    names = ("Training", "testing", "VALIDATE")
    by_key = clips(jsonl(tmp_path, *({"path": f"{name}.mp4", "caption": "x", "split": name} for name in names)))
    assert [split for split, _ in by_key.values()] == ["train", "val", "test"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x1f\x8b\x08\0", "is compressed by gzip; unpack it"),
        (b"PK\x03\x04\x14\0", "is a zip archive; unpack it"),
        (b"PAR1\x15", "is a parquet file; let its name end in .parquet"),
        ("path,caption\n".encode("utf-16-le"), "is UTF-16; save it as UTF-8"),
    ],
)
def test_a_file_that_is_no_text_is_called_what_it_is(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "clips.csv").write_bytes(content)
    with pytest.raises(RawDataError, match=message):
        clips(tmp_path / "clips.csv")


def test_json_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "clips.json").write_bytes(b'[\n{"path": "a.mp4",\n"caption": "caf\xe9"}]')
    with pytest.raises(RawDataError, match=r"clips\.json, line 3: byte 0xe9 is not UTF-8; save the file as UTF-8"):
        clips(tmp_path / "clips.json")


def test_texts_beside_media_are_found_by_either_name(tmp_path: Path) -> None:
    names = ("a.mp4.mkv", "a.txt", "b.mp4", "b.mp4.TXT", "c.mp4", "c.TXT", "c.txt", "._d.mp4", "._d.txt")
    for name in names:
        (tmp_path / name).write_text(name)
    kept, rejects = plan(tmp_path, val_share=0.0, test_share=0.0)
    assert [clip.captions[0] for clip in kept] == ["a.txt", "b.mp4.TXT", "c.txt"]
    assert [reject.message for reject in rejects] == ["c.TXT: no media file beside this text"]


def test_a_folder_that_cannot_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    # Root may read any folder, but not one whose path is longer than 4,096 bytes.
    monkeypatch.chdir(tmp_path)
    for _ in range(20):
        os.mkdir("n" * 250)
        os.chdir("n" * 250)
    with pytest.raises(RawDataError, match=r"cannot read the folder .*nnn: File name too long"):
        clips(tmp_path)

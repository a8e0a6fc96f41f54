"""Builds from a user's table or folder, valid and faulty."""

from __future__ import annotations

import itertools
import json
import os
import random
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import servers
from media import video_files
from PIL import Image

from t2vdata import datasets
from t2vdata.build.run import BuildResult, BuildSpec, build_dataset
from t2vdata.cli import main
from t2vdata.errors import RawDataError, RequestError
from t2vdata.format import tables
from t2vdata.format.dataset import open_dataset
from t2vdata.media.encode import encoding

NUM_REAL = 185
# Files of less than this many bytes, which take a quarter of the time of all.
SMALL_BYTES = 350_000
NUM_SMALL = 161
NUM_MUTATED = 60


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two videos, a picture and a broken file; tests add tables to it."""
    folder = tmp_path_factory.mktemp("media")
    (folder / "cat.mp4").write_bytes(video_files.make("h264"))
    (folder / "more").mkdir()
    (folder / "more" / "dog v1.2.webm").write_bytes(video_files.make("vp9"))
    Image.new("RGB", (80, 60), "red").save(folder / "red.png")
    (folder / "broken.mp4").write_bytes(b"not a video")
    return folder


def table(media: Path, text: str | bytes, name: str = "clips.csv") -> Path:
    path = media / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def clips(path: Path, **options: object) -> dict[str, list[object]]:
    """Return {split: clips} of a table."""
    dataset = datasets.open("table", options={"table": path, **options})
    return {split: list(dataset.clips(split)) for split in dataset.SPLITS}


def all_clips(path: Path, **options: object) -> list[object]:
    return [clip for split in clips(path, **options).values() for clip in split]


def build(out: Path, path: Path, **options: object) -> BuildResult:
    source = {"folder": path} if path.is_dir() else {"table": path}
    values = {"size": 32, "val_share": 0.0, "test_share": 0.0, **source, **options}
    return build_dataset(BuildSpec("table", values, encoding=encoding("jpeg")), out, num_workers=1, max_failures=1)


def rejects(out: Path) -> dict[str, str]:
    return {row["key"]: row["message"] for row in pq.read_table(out / "rejects.parquet").to_pylist()}


def test_a_table_becomes_shards_that_a_loader_reads(media: Path, tmp_path: Path) -> None:
    path = table(
        media,
        "path,caption,start,end\ncat.mp4,a cat runs,0,0.5\ncat.mp4,it runs,0,0.5\nmore/dog v1.2.webm,dog,,\nred.png,red,,\n",
    )
    result = build(tmp_path / "out", path, fps=10.0)
    assert result.manifest.tally.kept == 3
    cat, dog, red = open_dataset(tmp_path / "out")["train"]
    assert cat.captions == ("a cat runs", "it runs")
    assert (cat.key, cat.frames.data.shape, red.frames.data.shape) == ("cat-0-0_5", (5, 32, 32, 3), (1, 32, 32, 3))
    assert cat.meta["original"] == {"codec": "h264", "fps": 25.0, "hdr": False, "height": 48, "width": 64}
    assert dog.key.startswith("more_dog_v1_2-")
    assert (red.frames.data[..., 0] > 250).all()
    from t2vdata.loading import Loader, LoadSpec

    (batch,) = Loader(open_dataset(tmp_path / "out")["train"], LoadSpec(batch_size=3, num_frames=4))
    assert tuple(batch.video.shape) == (3, 3, 4, 32, 32)


def test_unusable_rows_and_files_are_left_out_with_their_line(media: Path, tmp_path: Path) -> None:
    path = table(
        media,
        "path,caption,start,end\ncat.mp4,sound,,\nlost.mp4,x,,\nbroken.mp4,x,,\nred.png,,,\n"
        "cat.mp4,x,one,2\ncat.mp4,x,3,2\n,x,,\ncat.mp4,x,50,60\n",
    )
    result = build(tmp_path / "out", path)
    tally = result.manifest.tally
    assert (tally.kept, tally.seen) == (1, 8)
    reasons = {"ends before it starts", "no caption", "no media file", "no path", "start or end is no number of seconds"}
    assert dict(tally.rejected) == dict.fromkeys(reasons, 1)
    messages = " | ".join(rejects(tmp_path / "out").values())
    for part in (
        "clips.csv, line 3: no media file",
        "clips.csv, line 4: no video container (begins with text)",
        "clips.csv, line 5: no caption",
        "clips.csv, line 6 (start 'one', end '2'): start or end is no number",
        "clips.csv, line 7 (start 3, end 2): ends before it starts",
        "clips.csv, line 8: no path",
        "clips.csv, line 9: no frame from 50 s on: the file ends at 0.96 s",
    ):
        assert part in messages


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "path,words\na,b\n",
            "none of the columns caption, captions, .*; it has 'path', 'words': name the column with --caption-column",
        ),
        ("path;caption\na;b\n", "its fields seem to be separated by semicolons; expected commas"),
        ("", "clips.csv is empty; expected a line of column names"),
        ("path,caption\n", "clips.csv has no rows"),
        (
            "path,caption\na.mp4,one, two\n",
            "line 2: 3 fields, but 2 columns; put a text that contains a comma into double quotes",
        ),
        ('path,caption\na.mp4,"one\nb.mp4,two\n', "line 2: unexpected end of data; write a double quote within"),
        ("path,caption,caption\na,b,c\n", "has two columns 'caption'; rename one"),
        (b"path,caption\na.mp4,caf\xe9\n", r"line 2: byte 0xe9 is not UTF-8 \(in Latin-1 the line reads 'a.mp4,café'\)"),
        ("path,caption\na,b\n".encode("utf-16"), "is UTF-16; save it as UTF-8"),
        ("path,caption,split\na.mp4,b,trian\n", "line 2: no split 'trian'; expected one of train, val,"),
        (
            "path,caption,split\na,b,val\na,c,test\n",
            "line 2 and clips.csv, line 3: the split of a is 'val' in one and 'test' in",
        ),
        ("path,caption,key\na,b,k\nc,d,k\n", "line 2 and clips.csv, line 3 share the key 'k', but differ in path or span"),
        ("path,caption,key\na,b,k.1\n", "line 2: illegal key 'k.1'.*; without the column, keys are derived"),
    ],
    ids=range(13),
)
def test_an_invalid_table_is_refused_with_the_line_and_a_remedy(media: Path, text: str | bytes, message: str) -> None:
    with pytest.raises(RawDataError, match=message):
        clips(table(media, text))


def test_an_unknown_column_is_reported_with_the_nearest(media: Path) -> None:
    path = table(media, "movie,said\na.mp4,b\n")
    with pytest.raises(RawDataError, match=r"no column 'sayd' \(--caption-column\); did you mean 'said'"):
        clips(path, path_column="movie", caption_column="sayd")
    (clip,) = all_clips(path, path_column="movie", caption_column="said")
    assert clip.captions == ("b",)


def test_byte_order_marks_quotes_tabs_and_line_ends_are_read(media: Path) -> None:
    csv = table(media, b'\xef\xbb\xbfpath,caption\r\na.mp4,"one, ""two""\nthree"\r\n\r\nb.mp4,four\r\n')
    assert [clip.captions for clip in all_clips(csv)] == [('one, "two" three',), ("four",)]
    assert all_clips(csv)[1].source == "clips.csv, line 5"
    tsv = table(media, "path\tcaption\na.mp4\tone, two\n", "clips.tsv")
    assert [clip.captions for clip in all_clips(tsv)] == [("one, two",)]


def test_jsonl_and_parquet_may_hold_lists_of_captions(media: Path) -> None:
    rows = [{"video": "a.mp4", "captions": ["one", "two"], "start": 1.5, "end": "0:03"}, {"video": "b.mp4", "captions": ["x"]}]
    jsonl = table(media, "\n".join(map(json.dumps, rows)), "clips.jsonl")
    pq.write_table(pa.Table.from_pylist([{**row, "end": 3.0} for row in rows]), media / "clips.parquet")
    for path in (jsonl, media / "clips.parquet"):
        first, _ = sorted(all_clips(path), key=lambda clip: clip.key)
        assert (first.captions, first.start_seconds, first.end_seconds) == (("one", "two"), 1.5, 3.0)
    with pytest.raises(RawDataError, match=r"line 2: .*; expected one JSON object per line"):
        clips(table(media, '{"path": "a", "caption": "b"}\n{"path": \n', "bad.jsonl"))


def test_clips_of_a_video_share_a_split_and_keep_it_as_the_table_grows(media: Path) -> None:
    lines = [f"v{number % 50}.mp4,word {number},{number},{number + 1}" for number in range(200)]
    few, many = (table(media, "path,caption,start,end\n" + "\n".join(lines[:count]), f"{count}.csv") for count in (100, 200))
    shares = {"val_share": 0.2, "test_share": 0.2}
    before, after = (
        {clip.key: (split, clip.group) for split, members in clips(path, **shares).items() for clip in members}
        for path in (few, many)
    )
    assert before.items() <= after.items()
    assert len({group for _, group in after.values()}) == len(set(after.values())) == 50
    assert len({split for split, _ in after.values()}) == 3


def test_a_changed_table_is_read_again(media: Path) -> None:
    assert len(all_clips(table(media, "path,caption\na,x\n"))) == 1
    assert len(all_clips(table(media, "path,caption\na,x\nb,y\n"))) == 2


def test_the_split_column_takes_precedence_and_accepts_other_names(media: Path) -> None:
    by_split = clips(table(media, "path,caption,split\na,x,Train\nb,y,validation\nc,z,test\n"))
    assert {split: [clip.group for clip in members] for split, members in by_split.items()} == {
        "train": ["a"],
        "val": ["b"],
        "test": ["c"],
    }


def test_keys_are_legal_and_distinct(media: Path) -> None:
    paths = ["a b.mp4", "a_b.mp4", "a.b.mp4", "a.b.avi", "ü.mp4", "x" * 90 + ".mp4", "s3://bucket/a/b.mp4", "-id_1_2.avi"]
    keys = [
        clip.key
        for clip in all_clips(table(media, "path,caption\n" + "\n".join(f"{path},x" for path in paths)), frames=8, windows=2)
    ]
    assert len(set(keys)) == 2 * len(paths)


def test_a_folder_has_captions_in_text_files_beside_its_media(media: Path, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "cat.MP4").write_bytes((media / "cat.mp4").read_bytes())
    (folder / "deep" / "cat.txt").write_text("a cat\n\nit runs\n")
    (folder / "silent.mp4").write_bytes((media / "cat.mp4").read_bytes())
    (folder / "lonely.txt").write_text("nothing to see")
    result = build(tmp_path / "out", folder)
    assert [item.captions for item in open_dataset(tmp_path / "out")["train"]] == [("a cat", "it runs")]
    assert dict(result.manifest.tally.rejected) == {"no caption": 1, "no media file beside this text": 1}


def test_missing_or_invalid_options_are_reported(media: Path, tmp_path: Path) -> None:
    for options, message in (
        ({}, r"table: give it either --table FILE \(csv, jsonl, parquet \.\.\.\) or --folder DIR"),
        ({"table": tmp_path / "none.csv"}, r"table: no file .*none\.csv \(--table\)"),
        ({"folder": tmp_path / "none"}, "table: no folder"),
    ):
        with pytest.raises(RawDataError, match=message):
            build_dataset(BuildSpec("table", options), tmp_path / "out")
    with pytest.raises(
        RawDataError, match=r"expected a file that ends in \.csv, \.tsv, \.jsonl, \.json, \.parquet, \.feather, got \.xlsx"
    ):
        clips(table(media, "x", "clips.xlsx"))
    with pytest.raises(RequestError, match="expected 0 to 1 in all"):
        clips(table(media, "path,caption\na,b\n"), val_share=0.9, test_share=0.2)


def test_the_content_of_a_file_decides_not_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        video_files.KINDS, "hdr", ("mp4", "libx264", "yuv420p10le", (64, 48), {"color_trc": 16, "color_primaries": 9})
    )
    h264 = video_files.make("h264")
    files = {
        "avi": video_files.make("mpeg4-avi"),
        "late": video_files.make("h264-mpegts"),
        # Its title is not UTF-8.
        "tagged": video_files.titled("cafe").replace(b"cafe", b"caf\xe9"),
        "hdr": video_files.make("hdr"),
        "header": h264[:40],
        "playlist": b"#EXTM3U\n#EXTINF:1,\navi.mp4\n",
        "text": b"<html>404</html>",
    }
    for name, data in files.items():
        (tmp_path / f"{name}.mp4").write_bytes(data)
    rows = "".join(f"{name}.mp4,a square moves,{name}\n" for name in files)
    result = build(tmp_path / "out", table(tmp_path, f"path,caption,key\n{rows}"))
    assert [item.key for item in open_dataset(result.out)["train"]] == ["avi", "late", "tagged"]
    assert dict(result.manifest.tally.rejected) == {"high dynamic range": 1}
    assert dict(result.manifest.tally.failed) == {"DecodeError": 3}


def outermost_atoms(data: bytearray) -> list[bytearray]:
    """Return the outermost atoms of an MP4 file, the last to the end of the file; none for another container."""
    atoms, start = list[bytearray](), 0
    while data[4:8] == b"ftyp" and start + 8 <= len(data):
        size = int.from_bytes(data[start : start + 4], "big")
        end = start + size if 8 <= size <= len(data) - start else len(data)
        atoms.append(data[start:end])
        start = end
    return atoms


def mutated(data: bytes, seed: int) -> bytes:
    """Return a damaged file: bits flipped, the end cut off, two pieces (atoms of an MP4) swapped, or all of these."""
    rng = random.Random(seed)
    damaged = bytearray(data)
    if seed % 3 != 1:
        for _ in range(rng.choice([1, 8, 64])):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    if seed % 3 != 0:
        del damaged[rng.randrange(len(damaged)) :]
    if seed % 4 == 0 and len(atoms := outermost_atoms(damaged)) > 1:
        left, right = sorted(rng.sample(range(len(atoms)), 2))
        atoms[left], atoms[right] = atoms[right], atoms[left]
        damaged = bytearray().join(atoms)
    elif seed % 4 == 0 and len(damaged) > 16:
        size = len(damaged) // 4
        left, right = (slice(start, start + size) for start in sorted(rng.sample(range(len(damaged) - size), 2)))
        damaged[left], damaged[right] = damaged[right], damaged[left]
    return bytes(damaged)


def test_mutated_files_are_flipped_cut_and_have_their_atoms_swapped() -> None:
    data = video_files.make("h264")
    kinds = [bytes(atom[4:8]) for atom in outermost_atoms(bytearray(data))]
    assert {b"ftyp", b"moov", b"mdat"} <= set(kinds)
    assert b"".join(outermost_atoms(bytearray(data))) == data
    assert {len(mutated(data, seed)) < len(data) for seed in range(12)} == {True, False}
    assert len(mutated(data, 12)) == len(data)
    orders = [[bytes(atom[4:8]) for atom in outermost_atoms(bytearray(mutated(data, seed)))] for seed in range(0, 120, 12)]
    assert any(sorted(order) == sorted(kinds) and order != kinds for order in orders)


@pytest.mark.real
@pytest.mark.parametrize(
    ("max_bytes", "num_real"), [(SMALL_BYTES, NUM_SMALL), pytest.param(None, NUM_REAL, marks=pytest.mark.long)]
)
def test_damaged_files_do_not_affect_others(shared: Path, tmp_path: Path, max_bytes: int | None, num_real: int) -> None:
    count = int(os.environ.get("T2VDATA_NUM_MUTATED", NUM_MUTATED))
    real = [path for path in sorted((shared / "data" / "real").rglob("*")) if path.suffix not in
            (".json", ".csv", ".txt", ".tsv", ".md", ".jsonl") and path.is_file()]  # fmt: skip
    real = [path for path in real if max_bytes is None or path.stat().st_size < max_bytes]
    assert len(real) == num_real
    small = [path for path in real if path.stat().st_size < 1_000_000]
    bad = []
    for seed in range(count):
        path = small[seed * 7 % len(small)]
        bad.append(tmp_path / f"{seed}{path.suffix}")
        bad[-1].write_bytes(mutated(path.read_bytes(), seed))
    header, options = "path,caption,key\n", {"fps": 5.0, "frames": 4, "timeout": 20.0}
    good = [f"{path},x,good{number}" for number, path in enumerate(real)]
    lines = [f"{path},x,bad{number}" for number, path in enumerate(bad)]
    both = [line for pair in itertools.zip_longest(good, lines) for line in pair if line]
    start = time.monotonic()
    alone = build(tmp_path / "alone", table(tmp_path, header + "\n".join(good), "good.csv"), **options)
    mixed = build(tmp_path / "mixed", table(tmp_path, header + "\n".join(both), "both.csv"), **options)
    assert time.monotonic() - start < 120 + count
    assert alone.manifest.tally.seen == len(real)
    assert mixed.manifest.tally.seen == len(both) == len(real) + count
    left_out = [reject.key for reject in tables.read_rejects(mixed.out)]
    kept = [item.key for item in open_dataset(mixed.out)["train"]]
    assert sorted(kept + left_out) == sorted(line.rsplit(",", 1)[1] for line in both)
    keys = [set(pq.read_table(f"{result.out}/index.parquet", columns=["key"])["key"].to_pylist()) for result in (alone, mixed)]
    assert {key for key in keys[1] if key.startswith("good")} == keys[0]
    first, second = (open_dataset(result.out)["train"] for result in (alone, mixed))
    for key, number in first.keys.items():
        assert np.array_equal(first[number].frames.data, second[second.keys[key]].frames.data)


def test_a_table_and_its_files_can_be_on_a_server(media: Path, tmp_path: Path) -> None:
    table(media, "path,caption\ncat.mp4,a cat\nmore/dog v1.2.webm,a dog\nlost.mp4,nothing\nred.png,red\n")
    with servers.plain_server(media) as url:
        result = build_dataset(
            BuildSpec("table", {"table": f"{url}/clips.csv", "size": 32, "val_share": 0.0, "test_share": 0.0}),
            tmp_path / "out",
            num_workers=1,
            max_failures=1,
        )
    assert [item.key for item in open_dataset(tmp_path / "out")["train"]][:1] == ["cat"]
    assert (result.manifest.tally.kept, dict(result.manifest.tally.rejected)) == (3, {"no media file": 1})
    assert url.encode() not in (tmp_path / "out" / "manifest.json").read_bytes()
    assert "--table clips.csv" in (tmp_path / "out" / "README.md").read_text()


def test_a_file_too_large_to_download_fails(media: Path, tmp_path: Path) -> None:
    (media / "large.mp4").write_bytes(b"\0" * 1_000_001)
    table(media, "path,caption\nlarge.mp4,a film\ncat.mp4,a cat\n")
    with servers.plain_server(media) as url:
        options = {"table": f"{url}/clips.csv", "size": 32, "max_file_mb": 1, "val_share": 0.0, "test_share": 0.0}
        build_dataset(BuildSpec("table", options), tmp_path / "out", num_workers=1, max_failures=1)
    assert "large.mp4 has over 1 MB; allow more with --max-file-mb" in rejects(tmp_path / "out")["large"]


def test_a_table_missing_on_the_server_is_reported(media: Path, tmp_path: Path) -> None:
    with (
        servers.plain_server(media) as url,
        pytest.raises(RawDataError, match=r"cannot read .*/nowhere\.csv \(--table\)"),
    ):
        build_dataset(BuildSpec("table", {"table": f"{url}/nowhere.csv"}), tmp_path / "out")


def test_the_command_line_takes_a_url(media: Path, tmp_path: Path) -> None:
    table(media, "path,caption,split\ncat.mp4,a cat,train\n")
    with servers.plain_server(media) as url:
        words = [
            "build",
            "table",
            "--table",
            f"{url}/clips.csv",
            "--size",
            "32",
            "--workers",
            "1",
            "--out",
            str(tmp_path / "out"),
        ]
        main(words, standalone_mode=False)
    assert open_dataset(tmp_path / "out").manifest.tally.kept == 1

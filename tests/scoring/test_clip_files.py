"""Clips are read from arrays and folders of files, captions from text files and lists."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import real_clips

from t2vdata.errors import RequestError
from t2vdata.media import encode
from t2vdata.scoring import clip_files
from t2vdata.scoring.score import score
from t2vdata.types import Frames


def test_arrays_and_files_are_scored_alike(tmp_path: Path) -> None:
    videos, captions = real_clips("32x32", "test", 40)
    np.save(tmp_path / "clips.npy", np.stack(videos))
    (tmp_path / "captions.txt").write_text("\n".join(captions) + "\n")
    (tmp_path / "files").mkdir()
    names = [f"{number:02d}.{('npy', 'gif', 'mp4')[number % 3]}" for number in range(len(videos))]
    for name, video in zip(names, videos, strict=True):
        if name.endswith("npy"):
            np.save(tmp_path / "files" / name, video)
        elif name.endswith("mp4"):
            (tmp_path / "files" / name).write_bytes(encode.H264().encode(Frames(video, 25.0)).data)
        else:
            first, *rest = [Image.fromarray(frame[..., 0]) for frame in video]
            first.save(tmp_path / "files" / name, save_all=True, append_images=rest, duration=40)
    listed = list(zip(names, captions, strict=True))
    (tmp_path / "list.csv").write_text("file,caption\n" + "".join(f"{name},{caption}\n" for name, caption in listed[::-1]))
    (tmp_path / "list.jsonl").write_text("".join(json.dumps({"path": name, "text": text}) + "\n" for name, text in listed))
    of_array = score(*clip_files.read_files(str(tmp_path / "clips.npy"), str(tmp_path / "captions.txt")))
    for name in ("captions.txt", "list.csv", "list.jsonl"):
        of_folder = score(*clip_files.read_files(str(tmp_path / "files"), str(tmp_path / name)))
        assert (of_folder.caption, of_folder.direction) == (of_array.caption, of_array.direction)


@pytest.mark.parametrize(
    ("path", "captions", "message"),
    [
        ("nowhere", "captions.txt", r"is neither a folder nor a \.npy file"),
        ("clips.npy", "nowhere.txt", r"no file .*nowhere\.txt \(--captions\)"),
        ("text.npy", "captions.txt", r"is not an array of numbers .*; expected a \.npy file of uint8"),
        ("one.npy", "captions.txt", r"one\.npy has shape \(4, 8, 8\); expected \(N, T, H, W\)"),
        (".", "captions.txt", r"3 clips in .*, but 1 captions in .*captions\.txt; expected one for each"),
        (".", "list.csv", "expected the columns file and caption; found 'a', 'b'"),
        ("clips.npy", "list.json", r"expected \.txt with one caption per line, or \.csv or \.jsonl"),
    ],
)
def test_mismatched_clips_and_captions_are_refused(tmp_path: Path, path: str, captions: str, message: str) -> None:
    np.save(tmp_path / "clips.npy", np.zeros((1, 4, 8, 8), np.uint8))
    np.save(tmp_path / "one.npy", np.zeros((4, 8, 8), np.uint8))
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "captions.txt").write_text("the digit 7 is moving up and down\n")
    (tmp_path / "list.csv").write_text("a,b\n1,2\n")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(RequestError, match=message):
        clip_files.read_files(str(tmp_path / path), str(tmp_path / captions))


def numbered(tmp_path: Path, names: list[str]) -> Path:
    """Write a clip of one grey level for each name: the first is 0, the second 1, and so on."""
    folder = tmp_path / "numbered"
    for level, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / name, np.full((2, 4, 4), level, np.uint8))
    (tmp_path / "captions.txt").write_text("".join(f"caption {level}\n" for level in range(len(names))))
    return folder


def levels(tmp_path: Path, captions: str = "captions.txt") -> list[int]:
    """Return the grey levels of the clips in the order of their captions."""
    videos, texts = clip_files.read_files(str(tmp_path / "numbered"), str(tmp_path / captions))
    assert texts == [f"caption {level}" for level in range(len(texts))]
    return [int(video[0, 0, 0]) for video in videos]


@pytest.mark.parametrize(
    "names",
    [
        [f"{number}.npy" for number in range(12)],
        [f"clip-{number}.npy" for number in range(8, 12)],
        [f"sample_{number:02d}.npy" for number in (9, 10, 99, 100)],
        [f"step900_clip{number}.NPY" for number in (2, 10)],
        [f"digit{digit}_{number}.npy" for digit in (2, 10) for number in (9, 10)],
        [f"v1.0-{number}.npy" for number in (9, 10)],
        [f"{number}.npy" for number in ("9", "10", "18446744073709551617")],
        ["alpha.npy", "beta.npy", "gamma.npy"],
        ["2024-01-31T09.npy", "2024-02-01T10.npy"],
    ],
)
def test_clips_are_in_the_order_of_the_numbers_in_their_names(tmp_path: Path, names: list[str]) -> None:
    numbered(tmp_path, names)
    assert levels(tmp_path) == list(range(len(names)))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["1.npy", "01.npy"], r"has '0?1\.npy' and '0?1\.npy': which comes first is uncertain; name the file of each caption"),
        (["7.npy", "clips/8.npy"], r"has clips in sub-folders, such as 'clips.8\.npy': their order is uncertain"),
        (["a1.npy", "A1.npy"], "which comes first is uncertain"),
        (["clip9.npy", "clip10.npy", "final.npy"], r"'clip9\.npy' and 'clip10\.npy', which differ in more than whole numbers"),
        (["0.5.npy", "0.25.npy"], "which differ in more than whole numbers"),
        (["-9.npy", "-10.npy"], "which differ in more than whole numbers"),
        (["B.npy", "a.npy"], "which differ in more than whole numbers"),
        (["c\uff19.npy", "c\uff11\uff10.npy"], "has 'c\uff11\uff10.npy', a number not written in digits 0 to 9"),
        (["caf\u00e9.npy", "cafe\u0301.npy"], "which comes first is uncertain"),
    ],
)
def test_an_uncertain_order_of_clips_is_refused(tmp_path: Path, names: list[str], message: str) -> None:
    numbered(tmp_path, names)
    with pytest.raises(RequestError, match=message):
        levels(tmp_path)
    # A list that names the files settles it.
    rows = [json.dumps({"file": name, "caption": f"caption {level}"}) for level, name in enumerate(names)]
    (tmp_path / "list.jsonl").write_text("\n".join(rows))
    assert levels(tmp_path, "list.jsonl") == list(range(len(names)))


def test_one_name_as_video_and_as_array_is_refused(tmp_path: Path) -> None:
    (numbered(tmp_path, ["1.npy", "2.npy"]) / "1.mp4").write_bytes(b"")
    with pytest.raises(RequestError, match=r"has '1\.mp4' and '1\.npy': which comes first is uncertain"):
        levels(tmp_path)


def test_hidden_files_and_other_files_are_not_clips(tmp_path: Path) -> None:
    folder = numbered(tmp_path, ["1.npy", "2.npy"])
    (folder / "._1.npy").write_bytes(b"resource fork")
    (folder / "notes.txt").write_text("none")
    (folder / "frames").mkdir()
    assert levels(tmp_path) == [0, 1]


def test_a_caption_ends_at_a_newline_only(tmp_path: Path) -> None:
    numbered(tmp_path, ["1.npy", "2.npy"])
    (tmp_path / "captions.txt").write_bytes("\ufeffone\u2028line\r\n\n two\x0cwords\n".encode())
    _, texts = clip_files.read_files(str(tmp_path / "numbered"), str(tmp_path / "captions.txt"))
    assert texts == ["one\u2028line", "two\x0cwords"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("list.csv", "file,caption\n1.npy,a\n1.npy,b\n", r"line 3: '1\.npy' is named on line 2 too; expected one caption"),
        ("list.csv", "file,caption\n1.npy,a, b\n", "line 2: 3 fields, but 2 columns; put a text with a comma into quotes"),
        ("list.csv", 'file,caption\n1.npy,"a\n', "line 2: unexpected end of data; close every quote"),
        ("list.csv", "file,caption\n8.npy,a\n", r"line 2: no file '8\.npy' in "),
        ("list.jsonl", '{"path": "1.npy", "text": null}', "line 1: text is None; expected text"),
        ("list.jsonl", '\n{"path": "1.npy", "text": "a"}\n{"path": "2.npy"}', "line 3: text is None; expected text"),
        ("list.jsonl", "[1]", r"line 1: expected a JSON object, got '\[1\]'"),
        ("list.jsonl", '{"path": ', "line 1: Expecting value: .*; expected one JSON object per line"),
        ("list.jsonl", "[" * 100_000, "line 1: .*; expected one JSON object per line"),
        ("list.txt", b"good\nb\xe4d\n", r"list\.txt, line 2: not UTF-8; save the file as UTF-8"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_with_its_line(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    numbered(tmp_path, ["1.npy", "2.npy"])
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(RequestError, match=message):
        levels(tmp_path, name)


def test_rows_of_a_list_may_have_different_names(tmp_path: Path) -> None:
    numbered(tmp_path, ["1.npy", "2.npy"])
    rows = [{"file": "1.npy", "text": "caption 0"}, {"name": "second", "text": "caption 1", "file": "2.npy"}]
    (tmp_path / "list.JSONL").write_text("\n".join(map(json.dumps, rows)))
    assert levels(tmp_path, "list.JSONL") == [0, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"1\.npy is not an array of numbers"),
        (b"PK\x03\x04 cut short", r"1\.npy is not an array of numbers"),
        (b"\x93NUMPY\x01\x00\x46\x00{'descr': '|u1', 'fortran_order': False, 'shape': (9999999999999,)}   \n", "not an array"),
    ],
)
def test_a_damaged_array_is_refused_with_its_name(tmp_path: Path, content: bytes, message: str) -> None:
    (numbered(tmp_path, ["1.npy"]) / "1.npy").write_bytes(content)
    with pytest.raises(RequestError, match=message):
        levels(tmp_path)


def test_a_clip_of_another_type_or_a_damaged_video_is_refused_with_its_name(tmp_path: Path) -> None:
    folder = numbered(tmp_path, ["1.npy"])
    np.save(folder / "1.npy", np.zeros((2, 4, 4), np.float32))
    with pytest.raises(RequestError, match=r"1\.npy: a clip of shape \(2, 4, 4\) float32; expected"):
        levels(tmp_path)
    (folder / "1.npy").rename(folder / "1.mp4")
    with pytest.raises(RequestError, match=r"1\.mp4: "):
        levels(tmp_path)


def test_more_clips_than_a_process_may_keep_open_are_read(tmp_path: Path) -> None:
    numbered(tmp_path, [f"{number}.npy" for number in range(200)])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 100, hard))
    try:
        assert levels(tmp_path) == list(range(200))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

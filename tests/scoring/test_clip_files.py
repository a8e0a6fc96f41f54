"""Clips are read from arrays and folders of files, captions from text files and lists."""

from __future__ import annotations

import json
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
        (".", "list.csv", "expected the columns file and caption; found a, b"),
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

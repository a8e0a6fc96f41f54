"""Builds of files that are easily misread: kept as they are meant, or failed with their reason."""

from __future__ import annotations

import io
import os
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from media import video_files
from media.heif_files import heic
from PIL import Image

from t2vdata.build.run import BuildResult, BuildSpec, build_dataset
from t2vdata.format.dataset import open_dataset
from t2vdata.media.encode import encoding

COLOURS = video_files.pictures(1, 64, 48)[0]


def build(
    folder: Path, files: dict[str, bytes], *, more: tuple[str, ...] = (), encoding_name: str = "lossless", **options: object
) -> BuildResult:
    """Build clips of these files, and of ``more`` files that are there."""
    for name, data in files.items():
        (folder / name).write_bytes(data)
    rows = "".join(f"{name},a caption,{Path(name).stem}\n" for name in (*files, *more))
    (folder / "clips.csv").write_text(f"path,caption,key\n{rows}")
    values = {"table": folder / "clips.csv", "size": 0, "val_share": 0.0, "test_share": 0.0, **options}
    return build_dataset(BuildSpec("table", values, encoding=encoding(encoding_name)), folder / "out", num_workers=1)


def failures(folder: Path) -> dict[str, str]:
    return {row["key"]: row["message"] for row in pq.read_table(folder / "out" / "rejects.parquet").to_pylist()}


def saved(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(COLOURS).save(file, kind, **options)
    return file.getvalue()


def strip() -> bytes:
    """Return a video of 4096x16."""
    return video_files.of_pictures(np.tile(video_files.pictures(2, 64, 16), (1, 1, 64, 1)))


def with_broken_exif() -> bytes:
    """Return a picture of orientation 6 whose width is a float in its EXIF tags."""
    entries = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0) + struct.pack("<HHIf", 0x0100, 11, 1, 48.0)
    return saved("JPEG", exif=b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + entries + bytes(4))


def test_files_are_kept_in_the_shape_in_which_they_are_shown(tmp_path: Path) -> None:
    upright = video_files.make("h264")
    files = {
        "plain.mp4": upright,
        "mirrored.mp4": video_files.with_matrix(upright, (-1, 0, 0, 1)),
        "turned.mp4": video_files.with_matrix(upright, (0, 1, -1, 0)),
        "wide.mp4": video_files.anamorphic(Fraction(4, 3)),
        "changing.mkv": video_files.changing([(64, 48), (48, 64)]),
        "exif.jpg": with_broken_exif(),
        "tiles.heic": heic(COLOURS, 1, 1, (48, 64), turns=1),
    }
    result = build(tmp_path, files)
    assert result.manifest.tally.kept == len(files)
    shapes = {sample.key: sample.frames.data.shape[:3] for sample in open_dataset(result.out)["train"]}
    assert shapes == {
        "plain": (24, 48, 64),
        "mirrored": (24, 48, 64),
        "turned": (24, 64, 48),
        "wide": (4, 48, 85),
        "changing": (5, 48, 64),
        "exif": (1, 64, 48),
        "tiles": (1, 64, 48),
    }
    frames = {sample.key: sample.frames.data for sample in open_dataset(result.out)["train"]}
    assert np.array_equal(frames["mirrored"], frames["plain"][:, :, ::-1])


def test_one_file_that_cannot_be_used_ends_no_build(tmp_path: Path) -> None:
    pictures = video_files.pictures(3, 64, 48)
    files = {
        "good.mp4": video_files.make("h264"),
        "strip.mp4": strip(),
        "ycgco.mp4": video_files.of_pictures(pictures, colorspace=8),
        "ictcp.mp4": video_files.of_pictures(pictures, colorspace=14),
    }
    # Reading it from the start is an input/output error, as of a failing disk.
    os.symlink("/proc/self/mem", tmp_path / "unreadable.mp4")
    result = build(tmp_path, files, more=("unreadable.mp4",), encoding_name="jpeg", size=1024, frames=2)
    assert [sample.key for sample in open_dataset(result.out)["train"]] == ["good"]
    assert dict(result.manifest.tally.failed) == {"DecodeError": 4}
    messages = failures(tmp_path)
    assert "4096x16 would be scaled to 262144x1024" in messages["strip"]
    assert "its colours are tagged as YCgCo" in messages["ycgco"]
    assert "its colours are tagged as ICtCp" in messages["ictcp"]
    assert "the file cannot be read: Input/output error" in messages["unreadable"]


def test_files_of_odd_size_are_kept_as_h264(tmp_path: Path) -> None:
    files = {"odd.mp4": video_files.make("odd-size"), "even.mp4": video_files.make("h264")}
    result = build(tmp_path, files, encoding_name="h264")
    odd, even = sorted(open_dataset(result.out)["train"], key=lambda sample: sample.key, reverse=True)
    assert (odd.frames.data.shape, even.frames.data.shape) == ((24, 46, 62, 3), (24, 48, 64, 3))
    assert odd.meta["original"]["width"] == 63


def test_an_animated_picture_has_the_frames_of_the_gif_of_the_same(tmp_path: Path) -> None:
    pictures = [Image.fromarray(picture) for picture in video_files.pictures(5, 64, 48)]
    options = {"save_all": True, "append_images": pictures[1:], "duration": 100}
    files = {}
    for name, kind, settings in (("a.webp", "WEBP", {"lossless": True}), ("b.png", "PNG", {}), ("c.gif", "GIF", {})):
        file = io.BytesIO()
        pictures[0].save(file, kind, **options, **settings)
        files[name] = file.getvalue()
    files["still.webp"] = saved("WEBP")
    result = build(tmp_path, files, frames=4, min_frames=4)
    counts = {sample.key: (sample.frames.num_frames, sample.frames.fps) for sample in open_dataset(result.out)["train"]}
    assert counts == {"a": (4, 10.0), "b": (4, 10.0), "c": (4, 10.0), "still": (1, 1.0)}


def test_a_build_that_deinterlaces_says_so(tmp_path: Path) -> None:
    result = build(tmp_path, {"still.jpg": saved("JPEG")}, deinterlace=True)
    assert result.manifest.spec["options"]["deinterlace"] is True
    card = (tmp_path / "out" / "README.md").read_text()
    assert " --deinterlace " in card
    assert "True" not in card

"""A clip as files and as a row of the index: both agree."""

from __future__ import annotations

import hashlib
import io
import json
from typing import Any

import numpy as np
import pytest

from t2vdata.format import sample
from t2vdata.format.shards import ShardWriter, read_members
from t2vdata.media.encode import H264, Encoded, Lossless
from t2vdata.types import Clip, Frames, MediaRef, Sample

META = {"label": "9", "meaning": "9 down", "speed": 1.5}
CLIP = Clip("train-0001", ("a caption", "another: \N{SNOWMAN}"), group="g", meta=META)
FRAMES = Frames(np.arange(8 * 16 * 24 * 3, dtype=np.uint8).reshape(8, 16, 24, 3), 12.5)


def encode_clip(clip: Clip = CLIP, encoding: Lossless | H264 | None = None) -> tuple[Sample, dict[str, Any], Encoded]:
    chosen = encoding or Lossless()
    encoded = chosen.encode(FRAMES)
    return *sample.to_sample(clip, "train", FRAMES, encoded, chosen.extension), encoded


def test_the_members_are_pixels_text_and_json() -> None:
    files = encode_clip()[0].files
    assert set(files) == {"npy.zst", "txt", "json"}
    assert files["npy.zst"] == Lossless().encode(FRAMES).data
    assert files["txt"] == b"a caption"


def test_the_json_has_everything_but_the_pixels() -> None:
    assert json.loads(encode_clip()[0].files["json"]) == {
        "key": "train-0001", "split": "train", "captions": list(CLIP.captions), "group": "g", "num_frames": 8, "fps": 12.5,
        "height": 16, "width": 24, "channels": 3, "label": "9", "meaning": "9 down", "speed": 1.5,
    }  # fmt: skip


def test_the_bytes_of_the_json_do_not_depend_on_the_order_of_meta() -> None:
    turned = Clip(CLIP.key, CLIP.captions, group="g", meta=dict(reversed(CLIP.meta.items())))
    assert encode_clip(turned)[0].files["json"] == encode_clip()[0].files["json"]


def test_meta_cannot_override_the_fields_of_the_toolkit() -> None:
    clip = Clip("a", ("a caption",), meta={"key": "b", "num_frames": 99})
    metadata = json.loads(encode_clip(clip)[0].files["json"])
    assert (metadata["key"], metadata["num_frames"]) == ("a", 8)


def test_a_clip_of_a_media_file_has_its_span() -> None:
    clip = Clip("a", ("a caption",), media=MediaRef("videos/a.mp4"), start_seconds=1.5)
    metadata = json.loads(encode_clip(clip)[0].files["json"])
    assert (metadata["media"], metadata["start_seconds"], metadata["end_seconds"]) == ("videos/a.mp4", 1.5, None)
    assert "media" not in json.loads(encode_clip()[0].files["json"])


def test_the_published_json_of_a_media_clip_is_pinned_byte_for_byte() -> None:
    """Typed fields of a clip keep their JSON keys: ``source``, ``window``, and ``media``, the file's name below the root."""
    media = MediaRef("s3://bucket/train/part_0.tar.gz", "train/a.mp4", 1234, 512, is_gzipped=True)
    clip = Clip("a-w1", ("a caption",), media, 1.5, 4.0, "g", {"label": "9", "speed": 1.5}, "train.csv, line 2", 1, "a reason")
    assert encode_clip(clip)[0].files["json"] == (
        b'{"captions":["a caption"],"channels":3,"end_seconds":4.0,"fps":12.5,"group":"g","height":16,"key":"a-w1","label":"9",'
        b'"media":"train/a.mp4","num_frames":8,"source":"train.csv, line 2","speed":1.5,"split":"train","start_seconds":1.5,'
        b'"width":24,"window":1}'
    )


def test_the_row_agrees_with_the_json() -> None:
    files, row, _ = encode_clip()
    metadata = json.loads(files.files["json"])
    shared = set(row) & set(metadata)
    assert shared == set(metadata) - {"speed"}
    assert all(json.loads(json.dumps(row[name])) == metadata[name] for name in shared)
    assert row["extension"] == "npy.zst"
    assert (row["pts"], row["key_frames"], row["time_base"]) == (None, None, None)


def test_the_row_of_a_video_has_its_timing() -> None:
    files, row, encoded = encode_clip(encoding=H264(gop=4))
    assert set(files.files) == {"mp4", "txt", "json"}
    assert row["extension"] == "mp4"
    assert row["pts"] == encoded.pts
    assert row["key_frames"] == (True, False, False, False) * 2
    assert row["time_base"] == encoded.time_base


def test_a_clip_without_label_has_none() -> None:
    row = encode_clip(Clip("a", ("a caption",)))[1]
    assert (row["label"], row["meaning"], row["group"]) == (None, None, "")


@pytest.mark.parametrize("encoding", [Lossless(), H264()], ids=["lossless", "h264"])
def test_the_row_has_the_offsets_of_the_members(encoding: Lossless | H264) -> None:
    sample_files = encode_clip(encoding=encoding)[0]
    file = io.BytesIO()
    writer = ShardWriter(file)
    writer.add(Sample("before", {"txt": b"x" * 700}))
    row = sample.to_row(sample_files, writer.add(sample_files), "shard.tar")
    writer.close()
    shard = file.getvalue()
    for role, extension in (("pixels", encoding.extension), ("txt", "txt"), ("json", "json")):
        offset, size = row[f"{role}_offset"], row[f"{role}_size"]
        assert shard[offset : offset + size] == sample_files.files[extension]
    assert row["shard"] == "shard.tar"
    assert len(list(read_members(io.BytesIO(shard)))) == 4


def test_the_hash_covers_all_members_in_the_order_of_their_extensions() -> None:
    sample_files = Sample("a", {"txt": b"3", "json": b"1", "npy.zst": b"2"})
    assert sample.sha256(sample_files) == hashlib.sha256(b"123").hexdigest()

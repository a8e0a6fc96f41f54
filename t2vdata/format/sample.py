"""A clip as files of a sample, and as a row of the index."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from typing import Any

import orjson

from t2vdata.format.shards import Member
from t2vdata.media import phash
from t2vdata.media.encode import Encoded
from t2vdata.types import Clip, Frames, Sample


def to_sample(clip: Clip, split: str, frames: Frames, encoded: Encoded, extension: str) -> tuple[Sample, dict[str, Any]]:
    """Return the files of a clip, and its index columns that do not depend on the position in a shard.

    Members are the pixels under ``extension``, ``txt`` with the first caption, and ``json`` with everything else.
    """
    facts = {
        "key": clip.key,
        "split": split,
        "captions": clip.captions,
        "group": clip.group,
        "num_frames": encoded.num_frames,
        "fps": frames.fps,
        "height": frames.height,
        "width": frames.width,
        "channels": frames.channels,
    }
    origin = {"source": clip.source, "window": clip.window}
    about = {**clip.meta, **{name: value for name, value in origin.items() if value is not None}, **frames.about, **facts}
    if clip.media is not None:
        # The name if it has one: the location of raw files must not affect the output.
        about["media"] = clip.media.path if clip.media.name is None else clip.media.name
        # The span that the decoder took, where it says so: a window or a shot is only part of the clip's.
        span = {"start_seconds": clip.start_seconds, "end_seconds": clip.end_seconds}
        about |= {name: frames.about.get(name, seconds) for name, seconds in span.items()}
    files = {
        extension: encoded.data,
        "json": orjson.dumps(about, option=orjson.OPT_SORT_KEYS),
        "txt": clip.captions[0].encode(),
    }
    row = {
        **facts,
        "extension": extension,
        "label": clip.meta.get("label"),
        "meaning": clip.meta.get("meaning"),
        "pts": encoded.pts,
        "key_frames": encoded.key_frames,
        "time_base": encoded.time_base,
    }
    if clip.media is not None:
        row["phash"] = phash.perceptual_hash(frames)
    return Sample(clip.key, files), row


def to_row(sample: Sample, members: Sequence[Member], shard: str) -> dict[str, Any]:
    """Return the index columns with the position of a sample in its shard, and its hash."""
    row: dict[str, Any] = {"shard": shard, "sha256": sha256(sample)}
    for extension, member in zip(sorted(sample.files), members, strict=True):
        offset, size = _columns(extension)
        row[offset], row[size] = member.offset, member.size
    return row


def sha256(sample: Sample) -> str:
    """Return the SHA-256 of a sample: of the contents of its files, concatenated in the order of their extensions."""
    digest = hashlib.sha256()
    for extension in sorted(sample.files):
        digest.update(sample.files[extension])
    return digest.hexdigest()


@functools.cache
def _columns(extension: str) -> tuple[str, str]:
    role = extension if extension in ("txt", "json") else "pixels"
    return f"{role}_offset", f"{role}_size"

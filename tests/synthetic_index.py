"""Indexes of millions of clips without shards: planning, merging and opening need only the index."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

from t2vdata.format import manifest, tables
from t2vdata.format.manifest import Manifest, ShardEntry, SplitEntry
from t2vdata.storage import Folder
from t2vdata.types import Tally

_SHARD_BYTES = 30_720_000


def write(folder: Path, num_clips: int, *, shard_size: int = 1000) -> None:
    """Write index and manifest of a dataset whose clips have distinct captions, keys and hashes, and 700 labels."""
    folder.mkdir(parents=True)
    schema = tables.index_schema()
    entries = []
    with tables.parquet_writer(folder / "index.parquet", schema) as writer:
        for first in range(0, num_clips, shard_size):
            numbers = np.arange(first, min(first + shard_size, num_clips))
            name = f"synthetic-train-{first // shard_size:06d}.tar"
            writer.write_table(_rows(numbers, name, schema), row_group_size=len(numbers))
            entries.append(ShardEntry(name, len(numbers), _SHARD_BYTES, hashlib.sha256(name.encode()).hexdigest()))
    splits = {"train": SplitEntry(tuple(entries), Tally(num_clips))}
    manifest.write(Folder(str(folder)), Manifest("synthetic", manifest.fingerprint({}), {}, splits, "none", "none", {}))


def _rows(numbers: np.ndarray, shard: str, schema: pa.Schema) -> pa.Table:
    count = len(numbers)
    random = np.random.default_rng(int(numbers[0])).bytes(32 * count)
    columns = {
        "key": [f"clip-{number:09d}" for number in numbers],
        "split": ["train"] * count,
        "shard": [shard] * count,
        "sha256": [random[32 * row : 32 * row + 32].hex() for row in range(count)],
        "extension": ["mp4"] * count,
        "pixels_offset": numbers % 1000 * 30720 + 1536,
        "pixels_size": 20_000 + numbers % 5000,
        "txt_offset": numbers % 1000 * 30720 + 27_000,
        "txt_size": np.full(count, 40),
        "json_offset": numbers % 1000 * 30720 + 512,
        "json_size": np.full(count, 700),
        "captions": [[f"a person is number {number} doing thing {number % 700}"] for number in numbers],
        "label": [f"thing {number % 700}" for number in numbers],
        "group": [f"video-{number // 3}" for number in numbers],
        "num_frames": np.full(count, 32),
        "fps": np.full(count, 16.0),
        "height": np.full(count, 64),
        "width": np.full(count, 64),
        "channels": np.full(count, 3),
    }
    arrays = [pa.array(columns.get(field.name, [None] * count)).cast(field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]))

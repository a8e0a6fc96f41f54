"""The columns of the tables of a dataset folder, and the names of the tables. docs/format.md explains each column."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

INDEX, REJECTS = "index.parquet", "rejects.parquet"

# Columns of the index without nulls; the others may have them.
REQUIRED = ("key", "split", "shard", "sha256", "extension", "pixels_offset", "pixels_size", "txt_offset", "txt_size",
            "json_offset", "json_size", "captions", "num_frames", "fps", "height", "width", "channels")  # fmt: skip


def index_schema() -> pa.Schema:
    """Return the schema of index.parquet; docs/format.md explains each column."""
    import pyarrow as pa

    types: dict[str, pa.DataType] = {
        "key": pa.string(),
        "split": pa.string(),
        "shard": pa.string(),
        "sha256": pa.string(),
        "extension": pa.string(),
        **{f"{member}_{what}": pa.int64() for member in ("pixels", "txt", "json") for what in ("offset", "size")},
        "captions": pa.list_(pa.string()),
        "label": pa.string(),
        "meaning": pa.string(),
        "group": pa.string(),
        "num_frames": pa.int32(),
        "fps": pa.float64(),
        "height": pa.int32(),
        "width": pa.int32(),
        "channels": pa.int8(),
        "pts": pa.list_(pa.int64()),
        "key_frames": pa.list_(pa.bool_()),
        "time_base": pa.string(),
        "phash": pa.string(),
    }
    return pa.schema([pa.field(name, kind, nullable=name not in REQUIRED) for name, kind in types.items()])


def rejects_schema() -> pa.Schema:
    """Return the schema of rejects.parquet; docs/format.md explains each column."""
    import pyarrow as pa

    names = ("key", "split", "stage", "kind", "reason", "message")
    return pa.schema([pa.field(name, pa.string(), nullable=False) for name in names])

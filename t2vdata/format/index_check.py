"""Check index.parquet before it is believed: its columns, the counts in its footer, and the rows of a shard.

Everything here raises SchemaError, which names the field, its value and what was expected. The footer is checked before any
row is read: a few megabytes of parquet can hold billions of equal values.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from t2vdata.format import schema
from t2vdata.format.manifest import ShardEntry
from t2vdata.format.schema import SchemaError
from t2vdata.format.shards import BLOCK

if TYPE_CHECKING:
    import pyarrow as pa

# Each row has a SHA-256, which compression cannot shorten below 32 bytes.
_MIN_ROW_BYTES = 32
# Limits of a column in one row group, which is one shard: values in lists, and bytes of text.
_MAX_VALUES, _MAX_TEXT_BYTES = 1 << 26, 1 << 30
# Pixels of all frames of a clip: what the decoders of shards accept.
_MAX_CLIP_PIXELS = 1 << 30
_MAX_SIDE = 1 << 16
# Frames per second, or seconds per frame.
_MAX_RATE = 1e6

_HEXADECIMAL = b"0123456789abcdef"
_KEY = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
# {column: (bytes that its text may have, fewest, most)}
_ALPHABETS = {"key": (_KEY, 1, 72), "sha256": (_HEXADECIMAL, 64, 64), "phash": (_HEXADECIMAL, 48, 48)}
_OWN_SHARD = "{shard}: the index names a shard that is not in the manifest there"
# {column: (least, most)} of numbers.
_RANGES = {
    # A member follows its header.
    **{f"{role}_offset": (BLOCK, schema.MAX_WHOLE) for role in ("pixels", "txt", "json")},
    **{f"{role}_size": (least, schema.MAX_WHOLE) for role, least in (("pixels", 1), ("txt", 0), ("json", 1))},
    "num_frames": (1, (1 << 31) - 1),
    "height": (1, _MAX_SIDE),
    "width": (1, _MAX_SIDE),
    "channels": (1, 3),
}


def check_columns(own: pa.Schema, expected: pa.Schema, required: Sequence[str]) -> None:
    """Check the names and types of the columns; unknown ones are ignored, as a newer version may write them."""
    for name in required:
        if name not in own.names:
            raise SchemaError(f"column {name} is missing")
    for column in expected:
        if own.names.count(column.name) > 1:
            raise SchemaError(f"column {column.name} exists {own.names.count(column.name)} times; expected it once")
        if column.name in own.names and (kind := own.field(column.name).type) != column.type:
            raise SchemaError(f"column {column.name} has type {kind}; expected {column.type}")


def check_footer(metadata: Any, file_bytes: int, groups: Sequence[int], entries: Sequence[ShardEntry] | None) -> None:
    """Check the counts in the footer of a table of samples against the size of the file and the manifest's shards.

    ``groups`` are the row groups that will be read, and ``entries`` their shards, if known.
    """
    if metadata.num_rows * _MIN_ROW_BYTES > file_bytes:
        raise SchemaError(
            f"it claims {metadata.num_rows:,} rows in {file_bytes:,} bytes; expected at most {file_bytes // _MIN_ROW_BYTES:,}"
        )
    for position, group in enumerate(groups):
        if group >= metadata.num_row_groups:
            raise SchemaError(f"it has {metadata.num_row_groups} row groups; expected one per shard, at least {group + 1}")
        rows = metadata.row_group(group)
        if entries is not None and rows.num_rows != entries[position].num_samples:
            raise SchemaError(
                f"it has {rows.num_rows:,} rows of {entries[position].name}; expected {entries[position].num_samples:,}"
            )
        _check_group(rows)


def check_group_sizes(metadata: Any) -> None:
    """Check the sizes of all row groups of a table in its footer."""
    for group in range(metadata.num_row_groups):
        _check_group(metadata.row_group(group))


def _check_group(rows: Any) -> None:
    for index in range(rows.num_columns):
        column = rows.column(index)
        if column.num_values > _MAX_VALUES or column.total_uncompressed_size > _MAX_TEXT_BYTES:
            raise SchemaError(
                f"column {column.path_in_schema} claims {column.num_values:,} values of {column.total_uncompressed_size:,} "
                f"bytes in one row group; expected at most {_MAX_VALUES:,} of {_MAX_TEXT_BYTES:,}"
            )


def plain_text(table: pa.Table, expected: pa.Schema) -> pa.Table:
    """Return a table whose columns of text were read as dictionaries, with each value written out.

    A dictionary can repeat a text of megabytes millions of times, so the size is checked first.
    """
    import pyarrow as pa

    for index, name in enumerate(table.column_names):
        kind = expected.field(name).type
        column = table[name]
        if column.type != kind:
            _check_text_bytes(name, column)
            column = pa.chunked_array([_cast(chunk, kind) for chunk in column.chunks], kind)
            table = table.set_column(index, table.field(index).with_type(kind), column)
    return table


def _cast(chunk: Any, kind: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_list(kind):
        return pa.ListArray.from_arrays(chunk.offsets, chunk.values.cast(kind.value_type), mask=_mask(chunk))
    return chunk.cast(kind)


def _mask(chunk: Any) -> Any:
    return chunk.is_null() if chunk.null_count and not chunk.offset else None


def _check_text_bytes(name: str, column: Any) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    num_bytes = 0
    for chunk in column.chunks:
        coded = chunk.values if pa.types.is_list(chunk.type) else chunk
        lengths = pc.cast(pc.binary_length(coded.dictionary), pa.int64())
        num_bytes += pc.sum(pc.take(lengths, coded.indices)).as_py() or 0
    if num_bytes > _MAX_TEXT_BYTES * max(1, column.num_chunks):
        raise SchemaError(f"column {name} has {num_bytes:,} bytes of text; expected at most {_MAX_TEXT_BYTES:,} in a row group")


def check_rows(rows: pa.Table, entries: Sequence[ShardEntry], required: Sequence[str]) -> None:
    """Check the values in the rows of some shards, in order, of all columns that ``rows`` has."""
    if not len(rows):
        return
    for name, is_bad, expected in _findings(rows, entries, required):
        if is_bad.any():
            index = int(is_bad.argmax())
            value, entry = rows[name][index].as_py(), entries[-1]
            for entry in entries:
                if index < entry.num_samples:
                    break
                index -= entry.num_samples
            text = expected.format(shard=entry.name, num_bytes=entry.num_bytes)
            raise SchemaError(f"row {index} of {entry.name}: {name} is {schema.shown(value)}; expected {text}")


# In NumPy: comparing with a number makes pyarrow import pandas, which takes half a second. All shards at once: a hundred
# thousand small shards would take minutes otherwise.
def _findings(rows: pa.Table, entries: Sequence[ShardEntry], required: Sequence[str]) -> Iterator[tuple[str, Any, str]]:
    """Yield (column, (N,) whether each of its values is bad, what was expected)."""
    names = set(rows.column_names)
    for name in required:
        if name in names and rows[name].null_count:
            yield name, _array(rows[name].is_null()), "a value"
    if "shard" in names:
        yield (
            "shard",
            _other_shards(rows["shard"], entries),
            _OWN_SHARD,
        )
    for name, (least, most) in _RANGES.items():
        if name in names:
            values = _array(rows[name])
            yield name, (values < least) | (values > most), f"{least} to {most}"
    if "channels" in names:
        yield "channels", _array(rows["channels"]) == 2, "1 or 3"
    if "fps" in names:
        # Not a number is in no range.
        fps = _array(rows["fps"])
        yield "fps", ~((fps >= 1 / _MAX_RATE) & (fps <= _MAX_RATE)), f"{1 / _MAX_RATE:g} to {_MAX_RATE:g}"
    if "captions" in names:
        yield "captions", _without_captions(rows["captions"]), "one caption or more"
    for name, (allowed, least, most) in _ALPHABETS.items():
        if name in names:
            shown = f"{least} to {most}" if least < most else least
            yield (
                name,
                _outside_alphabet(rows[name], allowed, least, most),
                f"{shown} of the characters {_shown_ranges(allowed)}",
            )
    yield from _positions(rows, entries)
    yield from _shapes(rows)


def _other_shards(column: Any, entries: Sequence[ShardEntry]) -> Any:
    """Return (N,) whether each row names another shard than its own."""
    import numpy as np

    # Not by pa.array, which imports pandas.
    encoded = column.dictionary_encode().combine_chunks()
    numbers = {entry.name: number for number, entry in enumerate(entries)}
    number_of = np.array([numbers.get(name, -1) for name in encoded.dictionary.to_pylist()], np.int32)
    expected = np.repeat(np.arange(len(entries), dtype=np.int32), [entry.num_samples for entry in entries])
    return number_of[np.from_dlpack(encoded.indices)] != expected


def _outside_alphabet(column: Any, allowed: bytes, least: int, most: int) -> Any:
    """Return (N,) whether each text has other characters than those allowed, or fewer or more of them; null has not."""
    import numpy as np

    array = column.combine_chunks()
    _, offsets_buffer, data = array.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[array.offset : array.offset + len(array) + 1]
    lengths = np.diff(offsets)
    is_bad = (lengths < least) | (lengths > most)
    is_allowed = np.zeros(256, bool)
    is_allowed[list(allowed)] = True
    text = np.frombuffer(data, np.uint8)[: offsets[-1]] if data is not None else np.zeros(0, np.uint8)
    is_odd = ~is_allowed[text[offsets[0] :]]
    if is_odd.any():
        rows_of_odd = np.searchsorted(offsets, offsets[0] + np.flatnonzero(is_odd), side="right") - 1
        is_bad[rows_of_odd] = True
    return is_bad & ~_array(column.is_null()) if column.null_count else is_bad


def _shown_ranges(allowed: bytes) -> str:
    return {_KEY: "A-Z a-z 0-9 _ -", _HEXADECIMAL: "0-9 a-f"}[allowed]


def _array(column: Any) -> Any:
    """Return a column without nulls in NumPy. ``to_numpy`` would import pandas."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    values = column.combine_chunks()
    if pa.types.is_boolean(values.type):
        return np.from_dlpack(pc.cast(values, "uint8")).astype(bool)
    return np.from_dlpack(values)


def _positions(rows: pa.Table, entries: Sequence[ShardEntry]) -> Iterator[tuple[str, Any, str]]:
    import numpy as np

    num_bytes = np.repeat(np.array([entry.num_bytes for entry in entries], np.int64), [entry.num_samples for entry in entries])
    for role in ("pixels", "txt", "json"):
        offset, size = f"{role}_offset", f"{role}_size"
        if offset in rows.column_names and size in rows.column_names:
            offsets, sizes = _array(rows[offset]), _array(rows[size])
            yield offset, offsets > num_bytes, "at most {num_bytes}, the size of the shard"
            # Subtracting from what both are at most does not overflow.
            yield size, sizes > num_bytes - offsets, "an end within the {num_bytes} bytes of the shard"


def _shapes(rows: pa.Table) -> Iterator[tuple[str, Any, str]]:
    if not {"num_frames", "height", "width"} <= set(rows.column_names):
        return
    # At most 2**16 * 2**16 * 2**31, which needs floating point.
    pixels = _array(rows["num_frames"]).astype(float)
    for name in ("height", "width"):
        pixels = pixels * _array(rows[name])
    yield "num_frames", pixels > _MAX_CLIP_PIXELS, f"a clip of at most {_MAX_CLIP_PIXELS:,} pixels"


def _without_captions(column: Any) -> Any:
    import numpy as np
    import pyarrow.compute as pc

    is_bad = _array(pc.list_value_length(column)) < 1
    if pc.list_flatten(column).null_count:
        # Rare, so it may be slow.
        is_bad = is_bad | np.array([None in captions for captions in column.to_pylist()])
    return is_bad


def columns_to_read_as_dictionaries(metadata: Any, groups: Sequence[int]) -> list[str]:
    """Return the columns of text whose dictionary, repeated for all values, might exceed the limit."""
    names: dict[str, None] = {}
    for group in groups:
        rows = metadata.row_group(group)
        for index in range(rows.num_columns):
            column = rows.column(index)
            is_text = column.physical_type == "BYTE_ARRAY"
            if is_text and column.total_uncompressed_size * column.num_values > _MAX_TEXT_BYTES:
                names[column.path_in_schema] = None
    return list(names)


def check_rejects_footer(metadata: Any, max_rows: int) -> None:
    """Check the counts in the footer of rejects.parquet."""
    if metadata.num_rows > max_rows:
        raise SchemaError(f"it claims {metadata.num_rows:,} rows; expected at most {max_rows:,}")
    check_group_sizes(metadata)


def check_rejects(rows: pa.Table) -> None:
    """Check the values of all columns of rejects.parquet."""
    for name in rows.column_names:
        if rows[name].null_count:
            raise SchemaError(f"column {name} has {rows[name].null_count} nulls; expected none")
    kinds = set(rows["kind"].unique().to_pylist())
    if kinds - {"rejected", "failed"}:
        raise schema.fail(min(kinds - {"rejected", "failed"}), "kind", "rejected or failed")

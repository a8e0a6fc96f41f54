"""The index of one split as arrays: the location, properties, label and captions of each sample."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from t2vdata.errors import DataError, RequestError
from t2vdata.format import tables
from t2vdata.format.manifest import ShardEntry

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from t2vdata.format.dataset import Split

_NUMBERS = ("pixels_offset", "pixels_size", "num_frames", "fps", "height", "width", "channels")
# A part with more captions than this shows whether captions repeat.
_MIN_CAPTIONS_TO_JUDGE = 10_000
_COLUMNS = ("key", "extension", "captions", "label", *_NUMBERS)


@dataclass(frozen=True)
class SplitIndex:
    """All samples of a split, numbered consecutively across its shards."""

    shards: tuple[ShardEntry, ...]
    shard: NDArray[np.int32]
    """(N,) index of each sample's shard in ``shards``."""
    numbers: dict[str, NDArray[Any]]
    """{column: (N,)} of the index's numeric columns."""
    extension: NDArray[np.int32]
    """(N,) index into ``extensions``."""
    extensions: tuple[str, ...]
    label: NDArray[np.int64]
    """(N,) index into ``labels``, -1 for samples without a label."""
    labels: tuple[str, ...]
    """The labels of the whole dataset, sorted, so that an id means the same in every split."""
    _keys: pa.ChunkedArray
    _caption_ends: NDArray[np.int64]
    """(N + 1,) where each sample's captions start in ``_caption_ids``."""
    _caption_ids: NDArray[np.int32]
    _captions: pa.ChunkedArray
    """Each distinct caption once; if nearly all differ, in the order of the samples."""

    @classmethod
    def read(cls, split: Split) -> SplitIndex:
        """Read the index of a split, part by part: a million rows take a second and 200 MB.

        Raises DataError if it is damaged, RequestError if the split is empty.
        """
        import numpy as np
        import pyarrow as pa

        sizes = [entry.num_samples for entry in split.entries]
        count = sum(sizes)
        if not count:
            raise RequestError(f"split {split.name!r} of {split.path} has no clips; there is nothing to load")
        elsewhere = tables.distinct_values(split.path, "label", outside=split.shards)
        numbers: dict[str, NDArray[Any]] = {}
        extension, label = _CodedColumn(count), _CodedColumn(count)
        captions, keys = _CaptionColumn(count), []
        first = 0
        for part in tables.read_index_in_parts(split.path, _COLUMNS, shards=split.shards, entries=split.entries):
            rows = slice(first, first + len(part))
            first = rows.stop
            for name in _NUMBERS:
                values = part[name].to_numpy()
                numbers.setdefault(name, np.empty(count, values.dtype))[rows] = values
            extension.add(rows, part["extension"])
            label.add(rows, part["label"])
            captions.add(rows, part["captions"].combine_chunks())
            keys.append(part["key"].combine_chunks())
        if first != count:
            raise DataError(
                f"the index of {split.path} has {first} rows of {split.name!r}, expected {count}; check with `t2vdata verify "
                f"{split.path}`"
            )
        labels = tuple(sorted({*elsewhere, *label.values}))
        label_of = {text: number for number, text in enumerate(labels)}
        return cls(
            shards=split.entries,
            shard=np.repeat(np.arange(len(sizes), dtype=np.int32), sizes),
            numbers=numbers,
            extension=extension.codes,
            extensions=tuple(extension.values),
            label=np.array([*(label_of[text] for text in label.values), -1], np.int64)[label.codes],
            labels=labels,
            _keys=pa.chunked_array(keys, pa.string()),
            _caption_ends=captions.ends,
            _caption_ids=captions.all_ids(),
            _captions=captions.texts(),
        )

    def __len__(self) -> int:
        return len(self.shard)

    @property
    def shard_sizes(self) -> list[int]:
        return [entry.num_samples for entry in self.shards]

    def keys(self, rows: Sequence[int]) -> list[str]:
        return [self._keys[row].as_py() for row in rows]

    def captions_of(self, row: int) -> list[int]:
        """Return the ids of a sample's captions, in their order."""
        ids: list[int] = self._caption_ids[self._caption_ends[row] : self._caption_ends[row + 1]].tolist()
        return ids

    def first_captions(self, rows: Sequence[int]) -> list[int]:
        """Return the id of the first caption of each sample."""
        ids: list[int] = self._caption_ids[self._caption_ends[rows]].tolist()
        return ids

    @functools.cached_property
    def has_one_caption_each(self) -> bool:
        return len(self._caption_ids) == len(self)

    def caption(self, caption_id: int) -> str:
        """Return the text of a caption."""
        text: str = self._captions[caption_id].as_py()
        return text

    @property
    def num_captions(self) -> int:
        """The number of distinct captions."""
        return len(self._captions)

    def common_value(self, column: str) -> int | None:
        """Return the value of a column if all samples have the same, else None."""
        values = self.numbers[column]
        return int(values[0]) if (values == values[0]).all() else None


class _CodedColumn:
    """A column with few distinct values, as integer codes; -1 for null."""

    def __init__(self, count: int) -> None:
        import numpy as np

        self.codes = np.empty(count, np.int32)
        self.values: dict[Any, int] = {}

    def add(self, rows: slice, column: Any) -> None:
        import numpy as np

        coded = column.combine_chunks().dictionary_encode()
        codes = [self.values.setdefault(value, len(self.values)) for value in coded.dictionary.to_pylist()]
        self.codes[rows] = np.array([*codes, -1], np.int32)[coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]


class _CaptionColumn:
    """The captions of all samples, added part by part."""

    def __init__(self, count: int) -> None:
        import numpy as np

        self.ends = np.zeros(count + 1, np.int64)
        self._ids: list[NDArray[np.int32]] = []
        self._texts: list[Any] = []
        self._num_texts = 0
        # Repeated captions are stored once. If few repeat, finding them takes longer than everything else.
        self._id_of: dict[str, int] | None = {}

    def add(self, rows: slice, lists: Any) -> None:
        import numpy as np
        import pyarrow as pa

        offsets = lists.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
        self.ends[rows.start + 1 : rows.stop + 1] = self.ends[rows.start] + offsets[1:] - offsets[0]
        texts = lists.flatten()
        coded = texts.dictionary_encode() if self._id_of is not None else None
        if coded is not None and 2 * len(coded.dictionary) > len(texts) and len(texts) > _MIN_CAPTIONS_TO_JUDGE:
            self._id_of, coded = None, None
        if coded is None or self._id_of is None:
            self._ids.append(np.arange(self._num_texts, self._num_texts + len(texts), dtype=np.int32))
            self._add_texts(texts)
            return
        ids, new = list[int](), list[str]()
        for text in coded.dictionary.to_pylist():
            caption_id = self._id_of.setdefault(text, self._num_texts + len(new))
            if caption_id == self._num_texts + len(new):
                new.append(text)
            ids.append(caption_id)
        self._ids.append(np.array(ids, np.int32)[coded.indices.to_numpy(zero_copy_only=False)])
        self._add_texts(pa.array(new, pa.string()))

    def all_ids(self) -> NDArray[np.int32]:
        import numpy as np

        return np.concatenate(self._ids)

    def texts(self) -> Any:
        import pyarrow as pa

        return pa.chunked_array(self._texts, pa.string())

    def _add_texts(self, texts: Any) -> None:
        self._texts.append(texts)
        self._num_texts += len(texts)

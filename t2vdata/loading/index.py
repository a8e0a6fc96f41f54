"""The index of one split as arrays: where each sample lies, what it is, what is said of it."""

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
# Captions of a part, above which it says whether they come again.
_FEW = 10_000
_COLUMNS = ("key", "extension", "captions", "label", *_NUMBERS)


@dataclass(frozen=True)
class SplitTable:
    """All samples of a split, numbered through its shards."""

    shards: tuple[ShardEntry, ...]
    shard: NDArray[np.int32]
    """(N,) place of each sample's shard in ``shards``."""
    numbers: dict[str, NDArray[Any]]
    """{column: (N,)} of the index's numbers."""
    extension: NDArray[np.int32]
    """(N,) place in ``extensions``."""
    extensions: tuple[str, ...]
    label: NDArray[np.int64]
    """(N,) place in ``labels``, -1 where there is none."""
    labels: tuple[str, ...]
    """The labels of the whole dataset, sorted: an id means the same in every split."""
    _keys: pa.ChunkedArray
    _caption_ends: NDArray[np.int64]
    """(N + 1,) where each sample's captions begin in ``_caption_ids``."""
    _caption_ids: NDArray[np.int32]
    _captions: pa.ChunkedArray
    """Each different caption once; where nearly all differ, as they come."""

    @classmethod
    def read(cls, split: Split) -> SplitTable:
        """Read the index of a split. Raises DataError when it is damaged, RequestError when the split is empty.

        A part of it at a time, and of each part only what is kept: a million rows take a second and 200 MB.
        """
        import numpy as np
        import pyarrow as pa

        sizes = [entry.num_samples for entry in split.entries]
        count = sum(sizes)
        if not count:
            raise RequestError(f"split {split.name!r} of {split.path} has no clips; there is nothing to load")
        elsewhere = tables.distinct_values(split.path, "label", outside=split.shards)
        numbers: dict[str, NDArray[Any]] = {}
        extension, label = _Coded(count), _Coded(count)
        captions, keys = _Captions(count), []
        first = 0
        for part in tables.read_index_in_parts(split.path, _COLUMNS, shards=split.shards):
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
            raise DataError(f"the index of {split.path} has {first} rows of {split.name!r}, not {count}; run verify")
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
        """Return the numbers of a sample's captions, among all different ones, in their order."""
        found: list[int] = self._caption_ids[self._caption_ends[row] : self._caption_ends[row + 1]].tolist()
        return found

    def first_captions(self, rows: Sequence[int]) -> list[int]:
        """Return the number of the first caption of each sample."""
        found: list[int] = self._caption_ids[self._caption_ends[rows]].tolist()
        return found

    @functools.cached_property
    def has_one_caption_each(self) -> bool:
        return len(self._caption_ids) == len(self)

    def caption(self, number: int) -> str:
        """Return the text of a caption by its number."""
        text: str = self._captions[number].as_py()
        return text

    @property
    def num_captions(self) -> int:
        """How many different captions there are."""
        return len(self._captions)

    def same(self, column: str) -> int | None:
        """Return the one value that a column has in all samples, or None when there are several."""
        values = self.numbers[column]
        return int(values[0]) if (values == values[0]).all() else None


class _Coded:
    """A column of a few different values, as numbers; -1 where it is null."""

    def __init__(self, count: int) -> None:
        import numpy as np

        self.codes = np.empty(count, np.int32)
        self.values: dict[Any, int] = {}

    def add(self, rows: slice, column: Any) -> None:
        import numpy as np

        coded = column.combine_chunks().dictionary_encode()
        own = [self.values.setdefault(value, len(self.values)) for value in coded.dictionary.to_pylist()]
        self.codes[rows] = np.array([*own, -1], np.int32)[coded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]


class _Captions:
    """The captions of all samples, taken in part by part."""

    def __init__(self, count: int) -> None:
        import numpy as np

        self.ends = np.zeros(count + 1, np.int64)
        self._ids: list[NDArray[np.int32]] = []
        self._texts: list[Any] = []
        self._num_texts = 0
        # Texts that come again are kept once. Where few do, to look for them takes longer than all the rest.
        self._once: dict[str, int] | None = {}

    def add(self, rows: slice, lists: Any) -> None:
        import numpy as np
        import pyarrow as pa

        offsets = lists.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
        self.ends[rows.start + 1 : rows.stop + 1] = self.ends[rows.start] + offsets[1:] - offsets[0]
        texts = lists.flatten()
        coded = texts.dictionary_encode() if self._once is not None else None
        if coded is not None and 2 * len(coded.dictionary) > len(texts) and len(texts) > _FEW:
            self._once, coded = None, None
        if coded is None or self._once is None:
            self._ids.append(np.arange(self._num_texts, self._num_texts + len(texts), dtype=np.int32))
            self._keep(texts)
            return
        own, new = list[int](), list[str]()
        for text in coded.dictionary.to_pylist():
            known = self._once.setdefault(text, self._num_texts + len(new))
            if known == self._num_texts + len(new):
                new.append(text)
            own.append(known)
        self._ids.append(np.array(own, np.int32)[coded.indices.to_numpy(zero_copy_only=False)])
        self._keep(pa.array(new, pa.string()))

    def all_ids(self) -> NDArray[np.int32]:
        import numpy as np

        return np.concatenate(self._ids)

    def texts(self) -> Any:
        import pyarrow as pa

        return pa.chunked_array(self._texts, pa.string())

    def _keep(self, texts: Any) -> None:
        self._texts.append(texts)
        self._num_texts += len(texts)

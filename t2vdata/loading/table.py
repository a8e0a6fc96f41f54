"""The index of one split as arrays: where each sample lies, what it is, what is said of it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from t2vdata import manifest
from t2vdata.errors import RequestError
from t2vdata.manifest import ShardEntry

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from t2vdata.dataset import Split

_NUMBERS = ("pixels_offset", "pixels_size", "num_frames", "fps", "height", "width", "channels")
_COLUMNS = ("key", "extension", "captions", "label", *_NUMBERS)


@dataclass(frozen=True)
class SplitTable:
    """All samples of a split, numbered through its shards."""

    shards: tuple[ShardEntry, ...]
    shard: NDArray[np.int64]
    """(N,) place of each sample's shard in ``shards``."""
    numbers: dict[str, NDArray[Any]]
    """{column: (N,)} of the index's numbers."""
    extension: NDArray[np.int64]
    """(N,) place in ``extensions``."""
    extensions: tuple[str, ...]
    label: NDArray[np.int64]
    """(N,) place in ``labels``, -1 where there is none."""
    labels: tuple[str, ...]
    """The labels of the whole dataset, sorted: an id means the same in every split."""
    _keys: pa.Array
    _caption_ends: NDArray[np.int64]
    """(N + 1,) where each sample's captions begin in ``_caption_ids``."""
    _caption_ids: NDArray[np.int64]
    _captions: pa.Array
    """Each different caption once."""

    @classmethod
    def read(cls, split: Split) -> SplitTable:
        """Read the index of a split. Raises DataError when it is damaged, RequestError when the split is empty."""
        import numpy as np
        import pyarrow as pa

        table = manifest.read_index(split.path, _COLUMNS, shards=split.shards)
        if not table.num_rows:
            raise RequestError(f"split {split.name!r} of {split.path} has no clips; there is nothing to load")
        sizes = [entry.samples for entry in split.entries]
        captions = table["captions"].combine_chunks()
        texts = captions.flatten().dictionary_encode()
        extensions = table["extension"].combine_chunks().dictionary_encode()
        labels = _labels(split.path)
        label_of = {label: number for number, label in enumerate(labels)}
        own = table["label"].combine_chunks().dictionary_encode()
        ids = np.array([label_of[label] for label in own.dictionary.to_pylist()] + [-1], np.int64)
        return cls(
            shards=split.entries,
            shard=np.repeat(np.arange(len(sizes)), sizes),
            numbers={name: table[name].combine_chunks().to_numpy(zero_copy_only=False) for name in _NUMBERS},
            extension=extensions.indices.to_numpy(zero_copy_only=False).astype(np.int64),
            extensions=tuple(extensions.dictionary.to_pylist()),
            label=ids[own.indices.fill_null(-1).to_numpy(zero_copy_only=False)],
            labels=labels,
            _keys=table["key"].combine_chunks(),
            _caption_ends=captions.offsets.to_numpy(zero_copy_only=False).astype(np.int64) - captions.offsets[0].as_py(),
            _caption_ids=texts.indices.to_numpy(zero_copy_only=False).astype(np.int64),
            _captions=texts.dictionary.cast(pa.string()),
        )

    def __len__(self) -> int:
        return len(self.shard)

    @property
    def shard_sizes(self) -> list[int]:
        return [entry.samples for entry in self.shards]

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


def _labels(path: str) -> tuple[str, ...]:
    column = manifest.read_index(path, ["label"])["label"]
    return tuple(sorted(manifest.count_values(column)))

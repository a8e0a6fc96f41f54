"""Captions of a batch: which of several, mirrored or not, as text and as tokens."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from t2vdata.loading.order import Draws, below
from t2vdata.loading.spec import LoadSpec
from t2vdata.loading.table import SplitTable
from t2vdata.loading.transforms import mirrored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Different captions whose tokens are kept; a hundred bytes each.
_KEPT = 1 << 16


class Encoder(Protocol):
    """A ``Vocabulary`` or a ``TokenizersFile``."""

    @property
    def pad_id(self) -> int: ...
    def encode(self, caption: str, *, max_length: int | None = None) -> list[int]: ...


class Tokens(NamedTuple):
    tokens: NDArray[np.int64]
    lengths: NDArray[np.int64]


class Texts:
    """Chooses and encodes captions; each different one is encoded once."""

    def __init__(self, spec: LoadSpec, table: SplitTable, vocabulary: Encoder | None) -> None:
        self._spec, self._table, self._vocabulary = spec, table, vocabulary
        self._text = functools.lru_cache(_KEPT)(self._read)
        self._ids = (
            None
            if vocabulary is None
            else functools.lru_cache(_KEPT)(functools.partial(vocabulary.encode, max_length=spec.max_length))
        )

    def choose(self, rows: Sequence[int], draws: Sequence[Draws] | None, flips: Sequence[int]) -> list[Any]:
        """Return the caption of each sample, or with ``captions="all"`` a tuple of all of its captions."""
        mirrors = [bool(flip) and self._spec.flip_captions for flip in flips]
        if self._spec.captions == "all":
            every = map(self._table.captions_of, rows)
            return [tuple(self._text(one, mirror) for one in own) for own, mirror in zip(every, mirrors, strict=True)]
        if self._spec.captions == "first" or self._table.has_one_caption_each or draws is None:
            chosen = self._table.first_captions(rows)
        else:
            several = zip(map(self._table.captions_of, rows), draws, strict=True)
            chosen = [own[below(drawn.caption, len(own))] for own, drawn in several]
        return [self._text(one, mirror) for one, mirror in zip(chosen, mirrors, strict=True)]

    def encode(self, captions: Sequence[Any]) -> Tokens | None:
        """Return tokens (B, L) and lengths (B,), of all captions (B, K, L) and (B, K); None without a vocabulary."""
        import numpy as np

        if self._vocabulary is None or self._ids is None:
            return None
        grouped = self._spec.captions == "all"
        flat = [caption for group in captions for caption in group] if grouped else captions
        rows = [self._ids(caption) for caption in flat]
        longest = max(map(len, rows), default=0)
        tokens = np.full((len(rows), longest), self._vocabulary.pad_id, np.int64)
        for place, ids in enumerate(rows):
            tokens[place, : len(ids)] = ids
        lengths = np.array([len(ids) for ids in rows], np.int64)
        if not grouped:
            return Tokens(tokens, lengths)
        return _grouped(tokens, lengths, [len(group) for group in captions], self._vocabulary.pad_id)

    def _read(self, number: int, mirror: bool) -> str:
        text = self._table.caption(number)
        return mirrored(text) if mirror else text


def _grouped(tokens: NDArray[np.int64], lengths: NDArray[np.int64], counts: Sequence[int], pad_id: int) -> Tokens:
    """Return the captions of each clip side by side, filled up to the most that a clip has."""
    import numpy as np

    most = max(counts, default=0)
    clip = np.repeat(np.arange(len(counts)), counts)
    place = np.concatenate([np.arange(count) for count in counts]) if counts else clip
    grouped = np.full((len(counts), most, tokens.shape[1]), pad_id, np.int64)
    grouped[clip, place] = tokens
    of_each = np.zeros((len(counts), most), np.int64)
    of_each[clip, place] = lengths
    return Tokens(grouped, of_each)

"""Captions of a batch: which of several, mirrored or not, as text and as tokens."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Protocol

from t2vdata.loading.index import SplitTable
from t2vdata.loading.order import Draws, below
from t2vdata.loading.spec import LoadSpec
from t2vdata.loading.transforms import mirrored
from t2vdata.text.vocabulary import Encoded, padded

# Different captions whose tokens are kept; a hundred bytes each.
_KEPT = 1 << 16


class Encoder(Protocol):
    """A ``Vocabulary`` or a ``TokenizersFile``."""

    @property
    def pad_id(self) -> int: ...
    def encode(self, caption: str, *, max_length: int | None = None) -> list[int]: ...


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

    def encode(self, captions: Sequence[Any]) -> Encoded | None:
        """Return tokens (B, L) and lengths (B,), of all captions (B, K, L) and (B, K); None without a vocabulary."""
        if self._vocabulary is None or self._ids is None:
            return None
        pad_id = self._vocabulary.pad_id
        if self._spec.captions != "all":
            return padded([self._ids(caption) for caption in captions], pad_id)
        flat = padded([self._ids(caption) for group in captions for caption in group], pad_id)
        return _grouped(flat, [len(group) for group in captions], pad_id)

    def _read(self, number: int, mirror: bool) -> str:
        text = self._table.caption(number)
        return mirrored(text) if mirror else text


def _grouped(flat: Encoded, counts: Sequence[int], pad_id: int) -> Encoded:
    """Return the captions of each clip side by side, filled up to the most that a clip has."""
    import numpy as np

    most = max(counts, default=0)
    clip = np.repeat(np.arange(len(counts)), counts)
    place = np.concatenate([np.arange(count) for count in counts]) if counts else clip
    grouped = np.full((len(counts), most, flat.tokens.shape[1]), pad_id, np.int64)
    grouped[clip, place] = flat.tokens
    lengths = np.zeros((len(counts), most), np.int64)
    lengths[clip, place] = flat.lengths
    return Encoded(grouped, lengths)

"""Choose the captions of a batch and encode them as tokens."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, Protocol

from t2vdata.loading.index import SplitIndex
from t2vdata.loading.order import RandomNumbers, choose
from t2vdata.loading.spec import LoadSpec
from t2vdata.loading.transforms import swap_sides
from t2vdata.text.vocabulary import Encoded, padded

# Maximum number of distinct captions whose tokens are cached, at a hundred bytes each.
_CACHED = 1 << 16


class Encoder(Protocol):
    """A ``Vocabulary`` or a ``TokenizersFile``."""

    @property
    def pad_id(self) -> int: ...
    def encode(self, caption: str, *, max_length: int | None = None) -> list[int]: ...


class CaptionSampler:
    """Chooses and encodes captions; each distinct caption is encoded once."""

    def __init__(self, spec: LoadSpec, index: SplitIndex, vocabulary: Encoder | None) -> None:
        self._spec, self._index, self._vocabulary = spec, index, vocabulary
        self._text = functools.lru_cache(_CACHED)(self._read)
        self._ids = (
            None
            if vocabulary is None
            else functools.lru_cache(_CACHED)(functools.partial(vocabulary.encode, max_length=spec.max_length))
        )

    def choose(self, rows: Sequence[int], random_numbers: Sequence[RandomNumbers] | None, flips: Sequence[int]) -> list[Any]:
        """Return the caption of each sample, or with ``captions="all"`` a tuple of all its captions."""
        mirrors = [bool(flip) and self._spec.flip_captions for flip in flips]
        if self._spec.captions == "all":
            all_captions = map(self._index.captions_of, rows)
            return [
                tuple(self._text(caption, mirror) for caption in captions)
                for captions, mirror in zip(all_captions, mirrors, strict=True)
            ]
        if self._spec.captions == "first" or self._index.has_one_caption_each or random_numbers is None:
            chosen = self._index.first_captions(rows)
        else:
            all_captions = map(self._index.captions_of, rows)
            chosen = [
                captions[choose(numbers.caption, len(captions))]
                for captions, numbers in zip(all_captions, random_numbers, strict=True)
            ]
        return [self._text(caption, mirror) for caption, mirror in zip(chosen, mirrors, strict=True)]

    def encode(self, captions: Sequence[Any]) -> Encoded | None:
        """Return tokens (B, L) and lengths (B,), or (B, K, L) and (B, K) for all captions; None without a vocabulary."""
        if self._vocabulary is None or self._ids is None:
            return None
        pad_id = self._vocabulary.pad_id
        if self._spec.captions != "all":
            return padded([self._ids(caption) for caption in captions], pad_id)
        flat = padded([self._ids(caption) for group in captions for caption in group], pad_id)
        return _grouped(flat, [len(group) for group in captions], pad_id)

    def _read(self, caption_id: int, mirror: bool) -> str:
        text = self._index.caption(caption_id)
        return swap_sides(text) if mirror else text


def _grouped(flat: Encoded, counts: Sequence[int], pad_id: int) -> Encoded:
    """Return the captions of each clip as a row, padded to the most captions that a clip has."""
    import numpy as np

    most = max(counts, default=0)
    clip = np.repeat(np.arange(len(counts)), counts)
    caption = np.concatenate([np.arange(count) for count in counts]) if counts else clip
    grouped = np.full((len(counts), most, flat.tokens.shape[1]), pad_id, np.int64)
    grouped[clip, caption] = flat.tokens
    lengths = np.zeros((len(counts), most), np.int64)
    lengths[clip, caption] = flat.lengths
    return Encoded(grouped, lengths)

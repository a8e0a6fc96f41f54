"""Token ids of captions: a vocabulary counted from training captions, and the share of captions that it covers.

A ``Vocabulary`` is saved as JSON with the settings of its tokeniser and the fingerprint of its dataset; with another dataset
it is refused.
"""

from __future__ import annotations

import functools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from t2vdata import storage
from t2vdata.errors import DataError, RequestError
from t2vdata.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = "t2vdata-vocabulary/1"
PAD, START, END, UNKNOWN = "<pad>", "<start>", "<end>", "<unk>"
# Ten million words.
_MAX_BYTES = 1 << 28
SPECIAL = (PAD, START, END, UNKNOWN)


@dataclass(frozen=True)
class Encoded:
    """Captions as one array."""

    tokens: NDArray[np.int64]
    """(B, L) int64, padded with the id of ``<pad>``; (B, K, L) from a loader that yields all captions of a clip."""
    lengths: NDArray[np.int64]
    """(B,) or (B, K) int64: number of tokens per caption, including ``<start>`` and ``<end>``."""


@runtime_checkable
class HasCaptions(Protocol):
    """A split of a dataset: its captions, its name, and the dataset's fingerprint."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    def count_captions(self) -> Counter[str]: ...


@dataclass(frozen=True)
class Vocabulary:
    """Words and their ids: ``<pad>`` 0, ``<start>`` 1, ``<end>`` 2, ``<unk>`` 3, then words by descending count."""

    words: tuple[str, ...]
    """The word of each id."""
    counts: tuple[int, ...]
    """Number of occurrences of each word; 0 for special words."""
    tokenizer: Tokenizer = field(default_factory=Tokenizer)
    fingerprint: str | None = None
    """Fingerprint of the dataset it was counted from; None for a vocabulary of bare captions."""

    def __post_init__(self) -> None:
        if self.words[: len(SPECIAL)] != SPECIAL:
            raise RequestError(f"expected a vocabulary that begins with {' '.join(SPECIAL)}, got {' '.join(self.words[:4])}")
        if len(set(self.words)) != len(self.words) or len(self.counts) != len(self.words):
            raise RequestError("expected each word of a vocabulary once, with a count")

    @classmethod
    def build(
        cls,
        captions: Iterable[str] | Mapping[str, int] | HasCaptions,
        *,
        min_count: int = 1,
        max_size: int | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> Vocabulary:
        """Return the vocabulary of captions: a dataset's ``train`` split, {caption: count}, or texts.

        Words that occur fewer than ``min_count`` times are left out; ``max_size`` limits the number of words, including the
        four special words. Words with equal counts are in alphabetical order. Raises RequestError for a split other than
        ``train``: counting words of a held-out split leaks information into training.
        """
        tokenizer = tokenizer or Tokenizer()
        if min_count < 1:
            raise RequestError(f"--min-count {min_count}: expected 1 or more")
        if max_size is not None and max_size <= len(SPECIAL):
            raise RequestError(f"--max-size {max_size}: expected more than {len(SPECIAL)}, the special words")
        fingerprint = None
        if isinstance(captions, Mapping):
            caption_counts: Mapping[str, int] = captions
        elif isinstance(captions, HasCaptions):
            if captions.name != "train":
                raise RequestError(f"a vocabulary of split {captions.name!r}; expected 'train', or texts")
            caption_counts, fingerprint = captions.count_captions(), captions.fingerprint
        elif isinstance(captions, str):
            raise RequestError(f"one text, {captions[:40]!r}; expected a list of captions")
        else:
            caption_counts = Counter(captions)
        counts = count_words(caption_counts, tokenizer)
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        kept = [(word, count) for word, count in ranked if count >= min_count and word not in SPECIAL]
        kept = kept[: None if max_size is None else max_size - len(SPECIAL)]
        words = (*SPECIAL, *(word for word, _ in kept))
        return cls(words, (0,) * len(SPECIAL) + tuple(count for _, count in kept), tokenizer, fingerprint)

    @property
    def pad_id(self) -> int:
        return 0

    def __len__(self) -> int:
        return len(self.words)

    @functools.cached_property
    def ids(self) -> dict[str, int]:
        """{word: id}"""
        return {word: number for number, word in enumerate(self.words)}

    def encode(self, caption: str, *, max_length: int | None = None) -> list[int]:
        """Return the ids of a caption between ``<start>`` and ``<end>``.

        A caption over ``max_length`` ids loses its last words, but not its ``<end>``.
        """
        words = self.tokenizer(caption)
        if max_length is not None:
            words = words[: _max_words(max_length)]
        # A special word in the text of a caption is an unknown word.
        unknown = self.ids[UNKNOWN]
        ids = [unknown if word in SPECIAL else self.ids.get(word, unknown) for word in words]
        return [self.ids[START], *ids, self.ids[END]]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids: up to ``<end>``, without ``<start>`` and ``<pad>``, unknown words as ``<unk>``."""
        words = []
        for token_id in map(int, ids):
            if not 0 <= token_id < len(self.words):
                raise RequestError(f"id {token_id} is not in a vocabulary of {len(self.words)} words")
            if self.words[token_id] == END:
                break
            if self.words[token_id] not in (PAD, START):
                words.append(self.words[token_id])
        return self.tokenizer.join(words)

    def encode_batch(self, captions: Sequence[str], *, max_length: int | None = None) -> Encoded:
        """Return the ids of captions as one array, padded to the longest caption."""
        return padded([self.encode(caption, max_length=max_length) for caption in captions], self.pad_id)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary as JSON."""
        storage.write_whole(os.fspath(path), self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the file's content: JSON, one word per line, equal for equal captions."""
        header = {"format": FORMAT, "fingerprint": self.fingerprint, "tokenizer": asdict(self.tokenizer)}
        text = json.dumps(header, indent=1, ensure_ascii=False)[:-2]
        rows = [json.dumps([word, count], ensure_ascii=False) for word, count in zip(self.words, self.counts, strict=True)]
        return (text + ',\n "words": [\n  ' + ",\n  ".join(rows) + "\n ]\n}\n").encode()

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, fingerprint: str | None = None) -> Vocabulary:
        """Read a vocabulary from a file or URL.

        ``fingerprint`` is that of the dataset to use it with: a vocabulary of another dataset raises RequestError. Raises
        DataError for a file that is missing or not a vocabulary.
        """
        path = os.fspath(path)
        try:
            body = json.loads(storage.retry_reading(lambda: storage.read_bytes(path, max_bytes=_MAX_BYTES)))
            if body["format"] != FORMAT:
                raise DataError(f"{path} has format {body['format']!r}, expected {FORMAT!r}")
            words, counts = zip(*body["words"], strict=True)
            if not all(isinstance(word, str) for word in words) or not all(isinstance(count, int) for count in counts):
                raise DataError(f"{path} is not a vocabulary: expected a list of [word, count] as its words")
            vocabulary = cls(words, counts, Tokenizer(**body["tokenizer"]), body["fingerprint"])
            if not isinstance(vocabulary.fingerprint, str | None):
                raise DataError(f"{path} is not a vocabulary: its fingerprint is no text")
        except FileNotFoundError:
            raise DataError(f"no vocabulary at {path}; make one with `t2vdata vocab PATH --out {path}`") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(f"{path} is not a vocabulary: {error!r}") from error
        if fingerprint is not None and vocabulary.fingerprint != fingerprint:
            source = "bare captions" if vocabulary.fingerprint is None else f"another dataset ({vocabulary.fingerprint[:12]})"
            raise RequestError(
                f"{path} was counted from {source}, not from this dataset ({fingerprint[:12]}); its ids stand for other words: "
                "make one with `t2vdata vocab`, or load it without a fingerprint"
            )
        return vocabulary


@dataclass(frozen=True)
class Coverage:
    """How much of a set of captions a vocabulary covers."""

    tokens: int
    unknown: int
    """Number of tokens that are not in the vocabulary."""
    captions: int
    captions_with_unknown: int
    commonest_unknown: tuple[tuple[str, int], ...]

    @property
    def rate(self) -> float:
        """Share of tokens that are not in the vocabulary."""
        return self.unknown / self.tokens if self.tokens else 0.0


def coverage(vocabulary: Vocabulary, captions: Mapping[str, int]) -> Coverage:
    """Return how much of {caption: count} a vocabulary covers."""
    unknown = Counter[str]()
    tokens = with_unknown = 0
    for caption, count in captions.items():
        words = vocabulary.tokenizer(caption)
        missing = [word for word in words if word not in vocabulary.ids or word in SPECIAL]
        tokens += count * len(words)
        with_unknown += count if missing else 0
        for word in missing:
            unknown[word] += count
    ranked = sorted(unknown.items(), key=lambda item: (-item[1], item[0]))
    return Coverage(tokens, sum(unknown.values()), sum(captions.values()), with_unknown, tuple(ranked[:20]))


def count_words(captions: Mapping[str, int], tokenizer: Callable[[str], list[str]]) -> Counter[str]:
    """Return {word: count} of {caption: count}; each distinct caption is split once."""
    counts = Counter[str]()
    for caption, count in captions.items():
        for word in tokenizer(caption):
            counts[word] += count
    return counts


def _max_words(max_length: int) -> int:
    if max_length < 2:
        raise RequestError(f"max_length {max_length}: expected 2 or more, for {START} and {END}")
    return max_length - 2


def padded(rows: Sequence[Sequence[int]], pad_id: int) -> Encoded:
    """Return the ids of captions as one array, padded with ``pad_id`` to the longest caption."""
    import numpy as np

    lengths = np.array([len(row) for row in rows], np.int64)
    tokens = np.full((len(rows), int(lengths.max(initial=0))), pad_id, np.int64)
    for index, row in enumerate(rows):
        tokens[index, : len(row)] = row
    return Encoded(tokens, lengths)

"""Captions as numbers: tokenisers that need no downloaded data, and vocabularies that say what they were made from.

A ``Vocabulary`` is counted from training captions only, and saved as JSON with its tokeniser's settings and the fingerprint of
its dataset; beside another dataset it is refused. A Hugging Face ``tokenizers`` file is used through the same methods.
"""

from __future__ import annotations

import functools
import json
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from t2vdata import storage
from t2vdata.errors import DataError, RequestError, unknown_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT = "t2vdata-vocabulary/1"
PAD, START, END, UNKNOWN = "<pad>", "<start>", "<end>", "<unk>"
SPECIAL = (PAD, START, END, UNKNOWN)

TokenizerName = Literal["wordpunct", "treebank", "tweet", "whitespace", "characters"]

# Of NLTK's WordPunctTokenizer, written here because importing NLTK takes longer than building a small dataset.
_WORDPUNCT = re.compile(r"\w+|[^\w\s]+")


@dataclass(frozen=True)
class Tokenizer:
    """How a caption becomes words; every choice is recorded in the vocabulary's file."""

    name: TokenizerName = "wordpunct"
    """``wordpunct``, ``treebank`` and ``tweet`` are NLTK's; ``whitespace`` splits at blanks, ``characters`` everywhere."""
    lower: bool = True
    """Whether capitals become small letters."""
    unicode: Literal["NFC", "NFKC", "none"] = "NFC"
    """Unicode normal form, so that a letter with its accent is one word however it was typed."""
    punctuation: Literal["keep", "drop"] = "keep"
    """Whether words without any letter or digit are kept."""

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise unknown_name(f"{name} of a tokeniser", str(getattr(self, name)), allowed)

    def __call__(self, text: str) -> list[str]:
        """Return the words of a caption, in order."""
        if self.unicode != "none":
            text = unicodedata.normalize(self.unicode, text)
        # Lower first: NLTK's rules are the same for both, and a capital can be two small letters.
        found = _split_with(self.name)(text.lower() if self.lower else text)
        if self.punctuation == "keep":
            return found
        return [word for word in found if any(character.isalnum() or character.isspace() for character in word)]

    def join(self, words: Iterable[str]) -> str:
        """Return words as one text: with blanks between, or for characters with nothing."""
        return ("" if self.name == "characters" else " ").join(words)


_CHOICES: dict[str, tuple[str, ...]] = {
    "name": ("wordpunct", "treebank", "tweet", "whitespace", "characters"),
    "unicode": ("NFC", "NFKC", "none"),
    "punctuation": ("keep", "drop"),
}


@functools.cache
def _split_with(name: TokenizerName) -> Callable[[str], list[str]]:
    match name:
        case "wordpunct":
            return _WORDPUNCT.findall
        case "whitespace":
            return str.split
        case "characters":
            return list
        case "treebank":
            from nltk.tokenize.treebank import TreebankWordTokenizer

            return TreebankWordTokenizer().tokenize  # type: ignore[no-any-return]
        case "tweet":
            from nltk.tokenize.casual import TweetTokenizer

            # Case is our own choice, made before.
            return TweetTokenizer(preserve_case=True).tokenize  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Encoded:
    """Captions as one array."""

    tokens: NDArray[np.int64]
    """(B, L) int64, padded with the id of ``<pad>``; a loader that takes all captions of a clip has (B, K, L)."""
    lengths: NDArray[np.int64]
    """(B,) or (B, K) int64: tokens of each caption, ``<start>`` and ``<end>`` among them."""


@runtime_checkable
class HasCaptions(Protocol):
    """A split of a dataset: its captions, its name, and whose it is."""

    @property
    def name(self) -> str: ...
    @property
    def fingerprint(self) -> str: ...
    def count_captions(self) -> Counter[str]: ...


@dataclass(frozen=True)
class Vocabulary:
    """Words and their ids: ``<pad>`` 0, ``<start>`` 1, ``<end>`` 2, ``<unk>`` 3, then words by falling count."""

    words: tuple[str, ...]
    """Word of each id."""
    counts: tuple[int, ...]
    """How often each word was seen; 0 for the special ones."""
    tokenizer: Tokenizer = field(default_factory=Tokenizer)
    fingerprint: str | None = None
    """That of the dataset that it was counted from; None when it was made from bare captions."""

    def __post_init__(self) -> None:
        if self.words[: len(SPECIAL)] != SPECIAL:
            raise RequestError(f"a vocabulary begins with {' '.join(SPECIAL)}, this one with {' '.join(self.words[:4])}")
        if len(set(self.words)) != len(self.words) or len(self.counts) != len(self.words):
            raise RequestError("a vocabulary has each word once, with its count")

    @classmethod
    def build(
        cls,
        captions: Iterable[str] | Mapping[str, int] | HasCaptions,
        *,
        min_count: int = 1,
        max_size: int | None = None,
        tokenizer: Tokenizer | None = None,
    ) -> Vocabulary:
        """Return the vocabulary of captions: a dataset's ``train`` split, {caption: times}, or texts.

        Words seen fewer than ``min_count`` times are left out; ``max_size`` bounds the number of words, the four special ones
        among them. Words of one count are in the order of their letters. Raises RequestError for any other split than
        ``train``: what is counted elsewhere leaks into training.
        """
        tokenizer = tokenizer or Tokenizer()
        if min_count < 1:
            raise RequestError(f"--min-count {min_count}: expected 1 or more")
        if max_size is not None and max_size <= len(SPECIAL):
            raise RequestError(f"--max-size {max_size}: expected more than {len(SPECIAL)}, the special words")
        fingerprint = None
        if isinstance(captions, Mapping):
            times: Mapping[str, int] = captions
        elif isinstance(captions, HasCaptions):
            if captions.name != "train":
                raise RequestError(f"a vocabulary of split {captions.name!r}; expected 'train', or texts of your own choice")
            times, fingerprint = captions.count_captions(), captions.fingerprint
        elif isinstance(captions, str):
            raise RequestError(f"one text, {captions[:40]!r}; expected a list of captions")
        else:
            times = Counter(captions)
        counts = count_words(times, tokenizer)
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

        A caption over ``max_length`` ids loses its last words, never its ``<end>``.
        """
        words = self.tokenizer(caption)
        if max_length is not None:
            words = words[: _room_for_words(max_length)]
        # A special word that somebody typed is a word that is not known, not a command.
        unknown = self.ids[UNKNOWN]
        ids = [unknown if word in SPECIAL else self.ids.get(word, unknown) for word in words]
        return [self.ids[START], *ids, self.ids[END]]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids: up to ``<end>``, without ``<start>`` and ``<pad>``, unknown words as ``<unk>``."""
        words = []
        for number in map(int, ids):
            if not 0 <= number < len(self.words):
                raise RequestError(f"id {number} is not in a vocabulary of {len(self.words)} words")
            if self.words[number] == END:
                break
            if self.words[number] not in (PAD, START):
                words.append(self.words[number])
        return self.tokenizer.join(words)

    def encode_batch(self, captions: Sequence[str], *, max_length: int | None = None) -> Encoded:
        """Return the ids of captions as one array, padded to the longest of them."""
        return padded([self.encode(caption, max_length=max_length) for caption in captions], self.pad_id)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the vocabulary as JSON."""
        storage.write_whole(os.fspath(path), self.to_bytes())

    def to_bytes(self) -> bytes:
        """Return the file: JSON, one word a line, the same for the same captions everywhere."""
        head = {"format": FORMAT, "fingerprint": self.fingerprint, "tokenizer": asdict(self.tokenizer)}
        text = json.dumps(head, indent=1, ensure_ascii=False)[:-2]
        rows = [json.dumps([word, count], ensure_ascii=False) for word, count in zip(self.words, self.counts, strict=True)]
        return (text + ',\n "words": [\n  ' + ",\n  ".join(rows) + "\n ]\n}\n").encode()

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, fingerprint: str | None = None) -> Vocabulary:
        """Read a vocabulary from a file or URL.

        With ``fingerprint``, that of the dataset it is to be used with, one that was counted from another dataset is refused.
        Raises DataError for what is no vocabulary.
        """
        place = os.fspath(path)
        try:
            body = json.loads(storage.read_bytes(place))
            if body["format"] != FORMAT:
                raise DataError(f"{place} has format {body['format']!r}, expected {FORMAT!r}")
            words, counts = zip(*body["words"], strict=True)
            found = cls(words, counts, Tokenizer(**body["tokenizer"]), body["fingerprint"])
        except FileNotFoundError:
            raise DataError(f"no vocabulary at {place}; make one with `t2vdata vocab PATH --out {place}`") from None
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{place} is no vocabulary: {error!r}") from error
        if fingerprint is not None and found.fingerprint != fingerprint:
            source = "bare captions" if found.fingerprint is None else f"another dataset ({found.fingerprint[:12]})"
            raise RequestError(
                f"{place} was counted from {source}, not from this dataset ({fingerprint[:12]}); its ids mean other words: "
                "make one with `t2vdata vocab`, or load it without a fingerprint if that is what you want"
            )
        return found


class TokenizersFile:
    """A Hugging Face ``tokenizers`` JSON file (BPE, WordPiece ...) with the methods of a Vocabulary.

    The file says how text is split, which ids begin and end it (its post-processor), and which pads it.
    """

    def __init__(self, path: str | os.PathLike[str], *, pad: str | None = None) -> None:
        """Read the file. ``pad`` names its padding token where the file has no padding of its own and no usual name for it."""
        try:
            from tokenizers import Tokenizer as Implementation
        except ImportError as error:
            raise RequestError("a tokenizers file needs the package: pip install tokenizers") from error
        place = os.fspath(path)
        try:
            self._tokenizer = Implementation.from_str(storage.read_bytes(place).decode())
        except FileNotFoundError:
            raise DataError(f"no tokenizers file at {place}") from None
        except Exception as error:  # The library raises bare Exception for a file that it cannot read.
            raise DataError(f"{place} is no tokenizers file: {error}") from error
        own = self._tokenizer.padding
        names = [pad] if pad is not None else [*([own["pad_token"]] if own else []), "[PAD]", PAD, "<|pad|>", "<|endoftext|>"]
        ids = [self._tokenizer.token_to_id(name) for name in names]
        known = [number for number in ids if number is not None]
        if not known:
            raise RequestError(f"{place} has no padding token among {', '.join(names)}; name it with pad=")
        self.pad_id: int = known[0]
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    def encode(self, caption: str, *, max_length: int | None = None) -> list[int]:
        """Return the ids of a caption with what the file puts around it; over ``max_length``, the text is cut, not that."""
        found = self._tokenizer.encode(caption)
        if max_length is None or len(found.ids) <= max_length:
            return list(found.ids)
        around = sum(found.special_tokens_mask)
        if max_length < around:
            raise RequestError(f"max_length {max_length}: expected {around} or more, for what the file puts around a caption")
        text_left = max_length - around
        ids = []
        for number, is_special in zip(found.ids, found.special_tokens_mask, strict=True):
            if is_special or text_left > 0:
                ids.append(int(number))
                text_left -= 0 if is_special else 1
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids, without special tokens."""
        return str(self._tokenizer.decode([int(number) for number in ids], skip_special_tokens=True))

    def encode_batch(self, captions: Sequence[str], *, max_length: int | None = None) -> Encoded:
        """Return the ids of captions as one array, padded to the longest of them."""
        return padded([self.encode(caption, max_length=max_length) for caption in captions], self.pad_id)


@dataclass(frozen=True)
class Coverage:
    """How much of some captions a vocabulary knows."""

    tokens: int
    unknown: int
    """Tokens that are not in the vocabulary."""
    captions: int
    captions_with_unknown: int
    commonest_unknown: tuple[tuple[str, int], ...]

    @property
    def rate(self) -> float:
        """Share of tokens that are not in the vocabulary."""
        return self.unknown / self.tokens if self.tokens else 0.0


def coverage(vocabulary: Vocabulary, captions: Mapping[str, int]) -> Coverage:
    """Return how much of {caption: times} a vocabulary knows."""
    unknown = Counter[str]()
    tokens = with_unknown = 0
    for caption, times in captions.items():
        words = vocabulary.tokenizer(caption)
        missing = [word for word in words if word not in vocabulary.ids or word in SPECIAL]
        tokens += times * len(words)
        with_unknown += times if missing else 0
        for word in missing:
            unknown[word] += times
    ranked = sorted(unknown.items(), key=lambda item: (-item[1], item[0]))
    return Coverage(tokens, sum(unknown.values()), sum(captions.values()), with_unknown, tuple(ranked[:20]))


def count_words(captions: Mapping[str, int], tokenizer: Callable[[str], list[str]]) -> Counter[str]:
    """Return {word: times} of {caption: times}; each different caption is split once."""
    counts = Counter[str]()
    for caption, times in captions.items():
        for word in tokenizer(caption):
            counts[word] += times
    return counts


def _room_for_words(max_length: int) -> int:
    if max_length < 2:
        raise RequestError(f"max_length {max_length}: expected 2 or more, for {START} and {END}")
    return max_length - 2


def padded(rows: Sequence[Sequence[int]], pad_id: int) -> Encoded:
    """Return the ids of captions as one array, filled up with ``pad_id`` to the longest of them."""
    import numpy as np

    lengths = np.array([len(row) for row in rows], np.int64)
    tokens = np.full((len(rows), int(lengths.max(initial=0))), pad_id, np.int64)
    for place, row in enumerate(rows):
        tokens[place, : len(row)] = row
    return Encoded(tokens, lengths)

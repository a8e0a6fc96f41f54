"""Tokenisers: captions as lists of words, without downloads."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from t2vdata.errors import unknown_name

TokenizerName = Literal["wordpunct", "treebank", "tweet", "whitespace", "characters"]

# The pattern of NLTK's WordPunctTokenizer; importing NLTK takes longer than building a small dataset.
_WORDPUNCT = re.compile(r"\w+|[^\w\s]+")


@dataclass(frozen=True)
class Tokenizer:
    """Splits captions into words; the vocabulary's file records all settings."""

    name: TokenizerName = "wordpunct"
    """``wordpunct``, ``treebank`` and ``tweet`` are NLTK's; ``whitespace`` splits at whitespace, ``characters`` everywhere."""
    lower: bool = True
    """Whether captions are converted to lower case."""
    unicode: Literal["NFC", "NFKC", "none"] = "NFC"
    """Unicode normal form, so that an accented letter is the same however it was typed."""
    punctuation: Literal["keep", "drop"] = "keep"
    """Whether words without a letter or a digit are kept."""

    def __post_init__(self) -> None:
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                kind = "tokeniser" if name == "name" else f"{name} setting of a tokeniser"
                raise unknown_name(kind, str(getattr(self, name)), allowed)

    def __call__(self, text: str) -> list[str]:
        """Return the words of a caption, in order."""
        if self.unicode != "none":
            text = unicodedata.normalize(self.unicode, text)
        # Lower case first: NLTK's rules ignore case, and lowering a capital can give two characters.
        words = _split_with(self.name)(text.lower() if self.lower else text)
        if self.punctuation == "keep":
            return words
        return [word for word in words if any(character.isalnum() or character.isspace() for character in word)]

    def join(self, words: Iterable[str]) -> str:
        """Return words as one text, separated by spaces; characters are joined without."""
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

            # Case was handled before.
            return TweetTokenizer(preserve_case=True).tokenize  # type: ignore[no-any-return]

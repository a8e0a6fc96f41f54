"""Hugging Face ``tokenizers`` files with the methods of a vocabulary."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from t2vdata import extras, storage
from t2vdata.errors import DataError, RequestError
from t2vdata.text.vocabulary import PAD, Encoded, padded


class TokenizersFile:
    """A Hugging Face ``tokenizers`` JSON file (BPE, WordPiece ...) with the methods of a Vocabulary.

    The file defines how text is split, which ids begin and end it (its post-processor), and the padding id.
    """

    def __init__(self, path: str | os.PathLike[str], *, pad: str | None = None) -> None:
        """Read the file. ``pad`` names the padding token, for files without padding settings or a common padding token."""
        tokenizers = extras.load("tokenizers", "a tokenizers file")
        path = os.fspath(path)
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(storage.read_bytes(path).decode())
        except FileNotFoundError:
            raise DataError(f"no tokenizers file at {path}") from None
        except Exception as error:  # The library raises bare Exception for an unreadable file.
            raise DataError(f"{path} is not a tokenizers file: {error}") from error
        padding = self._tokenizer.padding
        names = (
            [pad]
            if pad is not None
            else [*([padding["pad_token"]] if padding else []), "[PAD]", PAD, "<|pad|>", "<|endoftext|>"]
        )
        ids = [self._tokenizer.token_to_id(name) for name in names]
        pad_ids = [token_id for token_id in ids if token_id is not None]
        if not pad_ids:
            raise RequestError(f"{path} has none of the padding tokens {', '.join(names)}; name its padding token with pad=")
        self.pad_id: int = pad_ids[0]
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def __len__(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    def encode(self, caption: str, *, max_length: int | None = None) -> list[int]:
        """Return the ids of a caption with the special tokens that the file adds; ``max_length`` cuts the text, not these."""
        encoding = self._tokenizer.encode(caption)
        if max_length is None or len(encoding.ids) <= max_length:
            return list(encoding.ids)
        num_special = sum(encoding.special_tokens_mask)
        if max_length < num_special:
            raise RequestError(f"max_length {max_length}: expected {num_special} or more, for the special tokens")
        text_left = max_length - num_special
        ids = []
        for token_id, is_special in zip(encoding.ids, encoding.special_tokens_mask, strict=True):
            if is_special or text_left > 0:
                ids.append(int(token_id))
                text_left -= 0 if is_special else 1
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids, without special tokens."""
        return str(self._tokenizer.decode([int(token_id) for token_id in ids], skip_special_tokens=True))

    def encode_batch(self, captions: Sequence[str], *, max_length: int | None = None) -> Encoded:
        """Return the ids of captions as one array, padded to the longest caption."""
        return padded([self.encode(caption, max_length=max_length) for caption in captions], self.pad_id)

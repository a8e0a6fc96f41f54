"""What a clip is to show, in the forms that a flow can take: an image of context or a vector.

N clips, V numbers in a vector, L tokens in a caption.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from t2vdata.scoring import grammar


class LabelImages(nn.Module):
    """An image for each label, as large as a frame, N(0, 1) at the start: the form of arXiv:1910.11106, which did not learn.

    With a loss per dimension its entries receive gradients of about 1e-9, below the 1e-8 that Adam adds to their root mean
    square, and the few times that a label occurs do not move them.
    """

    def __init__(self, num_labels: int, channels: int, height: int, width: int) -> None:
        super().__init__()
        self.images = nn.Parameter(torch.randn(num_labels, channels, height, width))

    def forward(self, labels_N: torch.Tensor) -> torch.Tensor:
        """Return (N, channels, height, width)."""
        return self.images[labels_N]


class LabelVectors(nn.Module):
    """A vector for each label, N(0, 1) at the start; what reads it starts at zero."""

    def __init__(self, num_labels: int, size: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(num_labels, size)

    def forward(self, labels_N: torch.Tensor) -> torch.Tensor:
        """Return (N, size)."""
        vectors: torch.Tensor = self.vectors(labels_N)
        return vectors


class MeaningVectors(nn.Module):
    """The same for meanings: one for the digit and one for the direction, side by side, each learned from all its clips."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.digits = nn.Embedding(10, (size + 1) // 2)
        self.directions = nn.Embedding(len(grammar.DIRECTIONS), size // 2)

    def forward(self, labels_N: torch.Tensor) -> torch.Tensor:
        """Return (N, size)."""
        digits, directions = labels_N // len(grammar.DIRECTIONS), labels_N % len(grammar.DIRECTIONS)
        return torch.cat([self.digits(digits), self.directions(directions)], dim=1)


class Places(nn.Module):
    """A vector for each place in a clip; those of longer clips than were learned have the last one."""

    def __init__(self, num_places: int, size: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(num_places, size)

    def forward(self, numbers_N: torch.Tensor) -> torch.Tensor:
        """Return (N, size)."""
        vectors: torch.Tensor = self.vectors(numbers_N.clamp(max=self.vectors.num_embeddings - 1))
        return vectors


class Sentences(nn.Module):
    """A vector for each caption: its words, read from both ends by gated recurrent units."""

    def __init__(self, num_words: int, size: int) -> None:
        super().__init__()
        self.words = nn.Embedding(num_words, size)
        self.reader = nn.GRU(size, size, batch_first=True, bidirectional=True)
        self.joined = nn.Linear(2 * size, size)

    def forward(self, tokens_NL: torch.Tensor, lengths_N: torch.Tensor) -> torch.Tensor:
        """Return (N, size). Padding changes nothing: it is not read."""
        packed = pack_padded_sequence(self.words(tokens_NL), lengths_N.cpu(), batch_first=True, enforce_sorted=False)
        # The last state of each reader, not the output at the last place, which for short captions is padding.
        _, last = self.reader(packed)
        vector: torch.Tensor = self.joined(torch.cat([last[0], last[1]], dim=1))
        return vector


NUM_MEANINGS = 10 * len(grammar.DIRECTIONS)


def meaning_number(caption: str) -> int:
    """Return 0 to 39 for a caption of one moving digit: its digit and where it goes first. Others raise RequestError."""
    meaning = grammar.meaning_of(caption)
    return meaning.digit * len(grammar.DIRECTIONS) + grammar.DIRECTIONS.index(meaning.direction)

"""Encoders of a clip's label or caption, and of a frame's position: an image of context, or a vector.

Shapes: N clips, V numbers in a vector, L tokens in a caption.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

from t2vdata.scoring import grammar


class LabelImages(nn.Module):
    """An image per label, as large as a frame, initialised from N(0, 1): the form of arXiv:1910.11106, which did not learn.

    With a loss per dimension its entries receive gradients of about 1e-9, below the 1e-8 that Adam adds to their root mean
    square, and the few times that a label occurs do not move them.
    """

    def __init__(self, num_labels: int, num_channels: int, height: int, width: int) -> None:
        super().__init__()
        self.images = nn.Parameter(torch.randn(num_labels, num_channels, height, width))

    def forward(self, labels_N: torch.Tensor) -> torch.Tensor:
        """Return (N, num_channels, height, width)."""
        return self.images[labels_N]


class LabelVectors(nn.Module):
    """A vector for each label, initialised from N(0, 1); the layers that use it start at zero."""

    def __init__(self, num_labels: int, size: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(num_labels, size)

    def forward(self, labels_N: torch.Tensor) -> torch.Tensor:
        """Return (N, V)."""
        vectors_NV: torch.Tensor = self.vectors(labels_N)
        return vectors_NV


class MeaningVectors(nn.Module):
    """Vectors of meanings: those of the digit and of the direction, concatenated, so that each learns from all its clips."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.digits = nn.Embedding(10, (size + 1) // 2)
        self.directions = nn.Embedding(len(grammar.DIRECTIONS), size // 2)

    def forward(self, labels_N: torch.Tensor) -> torch.Tensor:
        """Return (N, V)."""
        digits_N, directions_N = labels_N // len(grammar.DIRECTIONS), labels_N % len(grammar.DIRECTIONS)
        return torch.cat([self.digits(digits_N), self.directions(directions_N)], dim=1)


class FramePositions(nn.Module):
    """A vector for each frame position in a clip; positions beyond the training length use the last one."""

    def __init__(self, num_positions: int, size: int) -> None:
        super().__init__()
        self.vectors = nn.Embedding(num_positions, size)

    def forward(self, positions_N: torch.Tensor) -> torch.Tensor:
        """Return (N, V)."""
        vectors_NV: torch.Tensor = self.vectors(positions_N.clamp(max=self.vectors.num_embeddings - 1))
        return vectors_NV


class CaptionEncoder(nn.Module):
    """A vector for each caption, from a bidirectional GRU over its words."""

    def __init__(self, num_words: int, size: int) -> None:
        super().__init__()
        self.words = nn.Embedding(num_words, size)
        self.reader = nn.GRU(size, size, batch_first=True, bidirectional=True)
        self.joined = nn.Linear(2 * size, size)

    def forward(self, tokens_NL: torch.Tensor, lengths_N: torch.Tensor) -> torch.Tensor:
        """Return (N, V). Padding is not read and does not affect it."""
        packed = pack_padded_sequence(self.words(tokens_NL), lengths_N.cpu(), batch_first=True, enforce_sorted=False)
        # The last state of each direction; the output at the last position would be padding for short captions.
        _, last_2NV = self.reader(packed)
        vector_NV: torch.Tensor = self.joined(torch.cat([last_2NV[0], last_2NV[1]], dim=1))
        return vector_NV


NUM_MEANINGS = 10 * len(grammar.DIRECTIONS)


def meaning_label(caption: str) -> int:
    """Return 0 to 39 for a caption of one moving digit: its digit and first direction. Raises RequestError for others."""
    meaning = grammar.meaning_of(caption)
    return meaning.digit * len(grammar.DIRECTIONS) + grammar.DIRECTIONS.index(meaning.direction)

"""Sentence encoders: the LSTM of TGANs-C, and the autoencoder that pre-trains it.

Pan et al. 2017, "To Create What You Tell", arXiv:1804.08264, section 3.1; Dai and Le 2015, "Semi-supervised Sequence
Learning", arXiv:1511.01432. B sentences, L tokens, S sentence features, V words.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, cast

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence

from t2vdata.errors import RequestError


@dataclass(frozen=True)
class TextSpec:
    """The sentence encoder and how it is trained."""

    encoder: str = "lstm"
    """``lstm``, ``none`` for unconditional models, or the dotted path of your own function, such as
    ``mypackage.characters.encoder``: called with this spec and the number of words, it returns a ``TextEncoder``."""
    embedding: int = 128
    size: int = 256
    """Features of a sentence; a bidirectional LSTM has half of them in each direction."""
    layers: int = 1
    bidirectional: bool = False
    summary: Literal["last state", "lstm"] = "last state"
    """``lstm``: a second LSTM reads the outputs of the first, and its last state is the sentence vector, as in the paper."""
    scale: Literal["none", "standard"] = "none"
    """``standard``: standardise each feature with the mean and deviation measured in pre-training, then scale the vector to
    length 1."""
    taught_by: Literal["nobody", "discriminator", "generator"] = "nobody"
    """The player whose loss trains the encoder during GAN training; ``nobody`` freezes it as pre-trained or initialised."""
    remember: bool = False
    """Whether to encode each distinct caption once, alone, and cache its vector: for few captions and a frozen encoder."""
    pretrain_steps: int = 0
    """Steps before GAN training in which the encoder learns as a sequence autoencoder of captions."""
    teacher_forcing: float = 0.2
    """Probability, in pre-training, that the decoder gets the true previous word instead of its own."""

    def __post_init__(self) -> None:
        for name in ("embedding", "size", "layers"):
            if getattr(self, name) < 1:
                raise RequestError(f"{name} {getattr(self, name)}: expected 1 or more")
        if self.bidirectional and self.size % 2:
            raise RequestError(f"size {self.size}: expected an even number, half of it for each direction")
        if self.pretrain_steps < 0:
            raise RequestError(f"pretrain_steps {self.pretrain_steps}: expected 0 or more")
        if not 0 <= self.teacher_forcing <= 1:
            raise RequestError(f"teacher_forcing {self.teacher_forcing}: expected a probability, 0 to 1")
        if self.remember and self.taught_by != "nobody":
            raise RequestError(
                f"remember with taught_by {self.taught_by!r}: vectors that change cannot be cached; remove one of the two"
            )
        if self.scale == "standard" and not self.pretrain_steps:
            raise RequestError("scale 'standard' is measured in pre-training, but pretrain_steps is 0; set pretrain_steps")
        if self.encoder == "none" and (self.pretrain_steps or self.taught_by != "nobody"):
            raise RequestError("encoder 'none' cannot be trained; remove pretrain_steps and taught_by")


class TextEncoder(Protocol):
    """An ``nn.Module`` with a ``size`` that maps captions to vectors."""

    size: int
    """Features of a sentence."""

    def __call__(self, tokens_BL: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """Encode padded token ids (B, L) int64 with caption lengths (B,) as vectors (B, size) float."""
        ...


class SentenceEncoder(nn.Module):
    """An LSTM over words. A sentence is its state after the last word of the sentence, independent of padding."""

    def __init__(self, num_words: int, spec: TextSpec) -> None:
        super().__init__()
        self.size, self.num_words = spec.size, num_words
        self._directions = 2 if spec.bidirectional else 1
        self.embedding = nn.Embedding(num_words, spec.embedding, padding_idx=0)
        self.lstm = nn.LSTM(
            spec.embedding, spec.size // self._directions, spec.layers, batch_first=True, bidirectional=spec.bidirectional
        )
        self.summary = nn.LSTM(spec.size, spec.size, batch_first=True) if spec.summary == "lstm" else None

    def forward(self, tokens_BL: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        # Packed, so that neither direction reads padding; the last output of a padded batch is zero for short captions.
        packed = pack_padded_sequence(self.embedding(tokens_BL), lengths_B.cpu(), batch_first=True, enforce_sorted=False)
        outputs, (states, _) = self.lstm(packed)
        if self.summary is not None:
            _, (states, _) = self.summary(outputs)
            return cast(torch.Tensor, states[-1])
        return torch.cat([*states[-self._directions :]], 1)


def text_encoder(spec: TextSpec, num_words: int) -> nn.Module | None:
    """Return the ``TextEncoder`` of a spec; None for encoder ``none``."""
    if spec.encoder == "none":
        return None
    if spec.encoder == "lstm":
        return SentenceEncoder(num_words, spec)
    module, _, function = spec.encoder.rpartition(".")
    try:
        encoder = getattr(importlib.import_module(module), function)(spec, num_words)
    except (ImportError, AttributeError, ValueError) as error:
        raise RequestError(
            f"encoder {spec.encoder!r}: {error}; expected lstm, none, or the dotted path of a function(spec, num_words)"
        ) from error
    if not isinstance(encoder, nn.Module) or not isinstance(getattr(encoder, "size", None), int):
        raise RequestError(
            f"encoder {spec.encoder!r} returned a {type(encoder).__name__}; expected an nn.Module with an integer `size`"
        )
    return encoder


class Sentences(nn.Module):
    """A sentence encoder followed by the scaling of its spec; the measured statistics are buffers of the module."""

    def __init__(self, encoder: nn.Module, spec: TextSpec) -> None:
        super().__init__()
        self.encoder, self.size = encoder, cast(int, encoder.size)
        self._is_scaled = spec.scale == "standard"
        self.register_buffer("mean", torch.zeros(self.size))
        self.register_buffer("square", torch.ones(self.size))

    def forward(self, tokens_BL: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        text_BS = cast(torch.Tensor, self.encoder(tokens_BL, lengths_B)).float()
        if not self._is_scaled:
            return text_BS
        mean, square = cast(torch.Tensor, self.mean), cast(torch.Tensor, self.square)
        deviation = (square - mean.square()).clamp_min(1e-8).sqrt()
        return functional.normalize((text_BS - mean) / deviation, dim=1)

    @torch.no_grad()
    def measure(self, tokens_BL: torch.Tensor, lengths_B: torch.Tensor, share: float, *, world: int = 1) -> None:
        """Update the running means with the batches of all ranks, which get weight ``share``."""
        text_BS = cast(torch.Tensor, self.encoder(tokens_BL, lengths_B)).float()
        means = torch.stack([text_BS.mean(0), text_BS.square().mean(0)])
        if world > 1:
            torch.distributed.all_reduce(means)
        cast(torch.Tensor, self.mean).lerp_(means[0] / world, share)
        cast(torch.Tensor, self.square).lerp_(means[1] / world, share)


class Reconstruction(NamedTuple):
    """How well the decoder reconstructs sentences from their vectors, without teacher forcing."""

    words: torch.Tensor
    """Share of correct words, including ``<end>``; a scalar."""
    sentences: torch.Tensor
    """Share of entirely correct sentences; a scalar."""


class Autoencoder(nn.Module):
    """A sentence encoder and an LSTM decoder that reconstructs the sentence from its vector."""

    def __init__(self, encoder: nn.Module, num_words: int, spec: TextSpec) -> None:
        super().__init__()
        self.encoder = encoder
        self.embedding = nn.Embedding(num_words, spec.embedding, padding_idx=0)
        self.decoder = nn.LSTMCell(spec.embedding, cast(int, encoder.size))
        self.words = nn.Linear(cast(int, encoder.size), num_words)

    def forward(self, tokens_BL: torch.Tensor, lengths_B: torch.Tensor, forced_BL: torch.Tensor) -> torch.Tensor:
        """Return logits (B, L - 1, V) of the second to the last token of each row.

        Where ``forced_BL`` is true the decoder gets the true token, elsewhere its own prediction: scheduled sampling (Bengio et
        al. 2015, arXiv:1506.03099). The first token, ``<start>``, is always given.
        """
        state_BS = self.encoder(tokens_BL, lengths_B)
        memory_BS, given_B, logits = torch.zeros_like(state_BS), tokens_BL[:, 0], []
        for position in range(1, tokens_BL.shape[1]):
            state_BS, memory_BS = self.decoder(self.embedding(given_B), (state_BS, memory_BS))
            logits.append(self.words(state_BS))
            given_B = torch.where(forced_BL[:, position], tokens_BL[:, position], logits[-1].argmax(1))
        return torch.stack(logits, 1)

    def loss(self, tokens_BL: torch.Tensor, lengths_B: torch.Tensor, forced_BL: torch.Tensor) -> torch.Tensor:
        """Return the mean cross-entropy of the words, padding excluded, in nats; a scalar."""
        logits_BLV = self(tokens_BL, lengths_B, forced_BL)
        return functional.cross_entropy(logits_BLV[self._is_word(tokens_BL, lengths_B)], self._targets(tokens_BL, lengths_B))

    @torch.no_grad()
    def reconstruction(self, tokens_BL: torch.Tensor, lengths_B: torch.Tensor) -> Reconstruction:
        """Return the shares of words and sentences that the decoder reconstructs from its own predictions."""
        predicted_BL = self(tokens_BL, lengths_B, torch.zeros_like(tokens_BL, dtype=torch.bool)).argmax(2)
        is_word_BL = self._is_word(tokens_BL, lengths_B)
        right_BL = (predicted_BL == tokens_BL[:, 1:]) & is_word_BL
        return Reconstruction(right_BL.sum() / is_word_BL.sum(), (right_BL | ~is_word_BL).all(1).float().mean())

    @staticmethod
    def _is_word(tokens_BL: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        return torch.arange(1, tokens_BL.shape[1], device=tokens_BL.device) < lengths_B.to(tokens_BL.device).unsqueeze(1)

    def _targets(self, tokens_BL: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        return tokens_BL[:, 1:][self._is_word(tokens_BL, lengths_B)]

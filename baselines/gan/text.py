"""Sentences as vectors: the LSTM encoder of TGANs-C, and the autoencoder that it learns from before the GAN does.

Pan et al. 2017, "To Create What You Tell", arXiv:1804.08264, section 3.1; Dai and Le 2015, "Semi-supervised Sequence
Learning", arXiv:1511.01432. B sentences, L tokens of the longest, E numbers of an embedding, S of a sentence, V words.
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
    """How captions become vectors, and who teaches the encoder."""

    encoder: str = "lstm"
    """``lstm``, ``none`` for clips without captions, or the dotted path of a function of your own, such as
    ``mypackage.characters.encoder``: called with this spec and the number of words, it returns a ``TextEncoder``."""
    embedding: int = 128
    size: int = 256
    """Numbers of a sentence; a bidirectional LSTM has half of them in each direction."""
    layers: int = 1
    bidirectional: bool = False
    summary: Literal["last state", "lstm"] = "last state"
    """``lstm``: the outputs of the first LSTM go through a second one, whose last state is the sentence, as in the paper."""
    scale: Literal["none", "standard"] = "none"
    """``standard``: each number is brought to mean 0 and deviation 1 over captions, as measured in pre-training, and the
    sentence to length one."""
    taught_by: Literal["nobody", "discriminator", "generator"] = "nobody"
    """Whose loss changes the encoder while the GAN learns; ``nobody`` leaves it as it was pre-trained, or drawn."""
    remember: bool = False
    """Whether each different caption is read once, by itself, and its vector kept: for a few captions that come again and
    again, and an encoder that nobody teaches any more."""
    pretrain_steps: int = 0
    """Steps before the GAN's first in which the encoder learns to rebuild the batch's captions, as a sequence autoencoder."""
    teacher_forcing: float = 0.2
    """How often, in pre-training, the decoder is given the true last word and not its own."""

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
            raise RequestError(f"remember with taught_by {self.taught_by!r}: vectors that change cannot be kept; leave out one")
        if self.scale == "standard" and not self.pretrain_steps:
            raise RequestError("scale 'standard' is measured in pre-training, and there is none; set pretrain_steps")
        if self.encoder == "none" and (self.pretrain_steps or self.taught_by != "nobody"):
            raise RequestError("encoder 'none' cannot learn; leave out pretrain_steps and taught_by")


class TextEncoder(Protocol):
    """Anything that makes a vector of a caption: an ``nn.Module`` with a ``size``."""

    size: int
    """Numbers of a sentence."""

    def __call__(self, tokens_BL: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        """Return (B, size) float of ids (B, L) int64, padded, and how many of them each caption has."""
        ...


class SentenceEncoder(nn.Module):
    """An LSTM over words; the sentence is its state after the sentence's own last word, whatever the batch's padding."""

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
        # Packed, so that neither direction reads padding; the last row of padded outputs would be zeros for short captions.
        packed = pack_padded_sequence(self.embedding(tokens_BL), lengths_B.cpu(), batch_first=True, enforce_sorted=False)
        outputs, (states, _) = self.lstm(packed)
        if self.summary is not None:
            _, (states, _) = self.summary(outputs)
            return cast(torch.Tensor, states[-1])
        return torch.cat([*states[-self._directions :]], 1)


def text_encoder(spec: TextSpec, num_words: int) -> nn.Module | None:
    """Return the encoder that a spec names, a ``TextEncoder``; None where clips have no captions."""
    if spec.encoder == "none":
        return None
    if spec.encoder == "lstm":
        return SentenceEncoder(num_words, spec)
    module, _, function = spec.encoder.rpartition(".")
    try:
        made = getattr(importlib.import_module(module), function)(spec, num_words)
    except (ImportError, AttributeError, ValueError) as error:
        raise RequestError(
            f"encoder {spec.encoder!r}: {error}; expected lstm, none, or the dotted path of a function(spec, num_words)"
        ) from error
    if not isinstance(made, nn.Module) or not isinstance(getattr(made, "size", None), int):
        raise RequestError(
            f"encoder {spec.encoder!r} made a {type(made).__name__}; expected an nn.Module with a whole number `size`"
        )
    return made


class Sentences(nn.Module):
    """An encoder, and its vectors brought to the scale that a spec asks for. What was measured for that is in its state."""

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
        """Let the batches of all ranks count for ``share`` of the means."""
        text_BS = cast(torch.Tensor, self.encoder(tokens_BL, lengths_B)).float()
        means = torch.stack([text_BS.mean(0), text_BS.square().mean(0)])
        if world > 1:
            torch.distributed.all_reduce(means)
        cast(torch.Tensor, self.mean).lerp_(means[0] / world, share)
        cast(torch.Tensor, self.square).lerp_(means[1] / world, share)


class Reconstruction(NamedTuple):
    """How well sentences come back from their vectors, when the decoder hears only itself."""

    words: torch.Tensor
    """Share of words, ``<end>`` among them, that are right; a scalar."""
    sentences: torch.Tensor
    """Share of sentences that are wholly right; a scalar."""


class Autoencoder(nn.Module):
    """An encoder, and an LSTM that writes the sentence again, from the encoder's vector as its first state."""

    def __init__(self, encoder: nn.Module, num_words: int, spec: TextSpec) -> None:
        super().__init__()
        self.encoder = encoder
        self.embedding = nn.Embedding(num_words, spec.embedding, padding_idx=0)
        self.decoder = nn.LSTMCell(spec.embedding, cast(int, encoder.size))
        self.words = nn.Linear(cast(int, encoder.size), num_words)

    def forward(self, tokens_BL: torch.Tensor, lengths_B: torch.Tensor, forced_BL: torch.Tensor) -> torch.Tensor:
        """Return logits (B, L - 1, V) of the second to the last token of each row.

        Where ``forced_BL`` is true the decoder is given that token as it was, elsewhere its own guess of it: scheduled
        sampling (Bengio et al. 2015, arXiv:1506.03099). The first token, ``<start>``, is always given.
        """
        state_BS = self.encoder(tokens_BL, lengths_B)
        memory_BS, given_B, logits = torch.zeros_like(state_BS), tokens_BL[:, 0], []
        for place in range(1, tokens_BL.shape[1]):
            state_BS, memory_BS = self.decoder(self.embedding(given_B), (state_BS, memory_BS))
            logits.append(self.words(state_BS))
            given_B = torch.where(forced_BL[:, place], tokens_BL[:, place], logits[-1].argmax(1))
        return torch.stack(logits, 1)

    def loss(self, tokens_BL: torch.Tensor, lengths_B: torch.Tensor, forced_BL: torch.Tensor) -> torch.Tensor:
        """Return the cross-entropy of each word that is there, in nats, on average; a scalar."""
        logits_BLV = self(tokens_BL, lengths_B, forced_BL)
        return functional.cross_entropy(logits_BLV[self._there(tokens_BL, lengths_B)], self._wanted(tokens_BL, lengths_B))

    @torch.no_grad()
    def reconstruction(self, tokens_BL: torch.Tensor, lengths_B: torch.Tensor) -> Reconstruction:
        """Return how much of the sentences comes back without any help."""
        guesses_BL = self(tokens_BL, lengths_B, torch.zeros_like(tokens_BL, dtype=torch.bool)).argmax(2)
        there_BL = self._there(tokens_BL, lengths_B)
        right_BL = (guesses_BL == tokens_BL[:, 1:]) & there_BL
        return Reconstruction(right_BL.sum() / there_BL.sum(), (right_BL | ~there_BL).all(1).float().mean())

    @staticmethod
    def _there(tokens_BL: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        return torch.arange(1, tokens_BL.shape[1], device=tokens_BL.device) < lengths_B.to(tokens_BL.device).unsqueeze(1)

    def _wanted(self, tokens_BL: torch.Tensor, lengths_B: torch.Tensor) -> torch.Tensor:
        return tokens_BL[:, 1:][self._there(tokens_BL, lengths_B)]

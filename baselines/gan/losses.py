"""The losses of discriminators and generator. Scores are logits of any shape; every function returns a scalar, a mean.

Non-saturating: Goodfellow et al. 2014, arXiv:1406.2661. Least squares: Mao et al. 2017, arXiv:1611.04076. Hinge: Lim and Ye
2017, arXiv:1705.02894, here as in Miyato et al. 2018, arXiv:1802.05957. Wasserstein: Arjovsky et al. 2017, arXiv:1701.07875;
its penalty: Gulrajani et al. 2017, arXiv:1704.00028. R1, R2: Mescheder et al. 2018, arXiv:1801.04406. Relativistic pairs:
Jolicoeur-Martineau 2018, arXiv:1807.00734, in the form of Huang et al. 2024 (R3GAN), arXiv:2501.05441.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch.nn import functional

from t2vdata.errors import RequestError

LossName = Literal["non-saturating", "least squares", "hinge", "wasserstein", "relativistic"]
Scores = torch.Tensor


@dataclass(frozen=True)
class LossSpec:
    """The adversarial loss, its penalties and its auxiliary terms."""

    game: LossName = "non-saturating"
    """Adversarial loss. ``wasserstein`` needs ``gradient_penalty`` here or ``clip_weights`` in the discriminator's section."""
    real: float = 1 / 3
    """Weight of real clips with their captions in the discriminators' loss. The three defaults are those of TGANs-C; GAN-CLS
    uses 1, 0.5 and 0.5 (Reed et al. 2016, algorithm 1)."""
    mismatched: float = 1 / 3
    """Weight of real clips with mismatched captions; 0 leaves them out."""
    generated: float = 1 / 3
    """Weight of generated clips with the captions they were generated from."""
    negatives: Literal["derangement", "other caption", "other label"] = "derangement"
    """Where a mismatched caption comes from: any other clip, even one with the same caption; a clip with another caption; a
    clip with another label."""
    interpolated: float = 0.0
    """Weight of interpolated captions in the generator's loss: GAN-INT (Reed et al. 2016, eq. 5)."""
    between: float = 0.5
    """Interpolation coefficient of GAN-INT: 0.5 is half way between the two captions."""
    matching: float = 0.0
    """Weight, in both losses, of a contrastive term that picks the caption of a clip or frame among those of the batch, as in
    XMC-GAN (Zhang et al. 2021, arXiv:2101.04702, section 3); the discriminators learn it on real clips, the generator on its
    own. Clips soon match their captions, but become more alike. Needs ``model.match``."""
    matching_steps: int | None = None
    """Updates over which that weight falls linearly to 0; null keeps it constant."""
    temperature: float = 0.2
    """Divides the similarities in the matching loss."""
    coherence: float = 0.0
    """Weight of TGANs-C's temporal coherence constraint in the generator's loss: the mean squared difference between the
    frame maps of neighbouring frames."""
    l1: float = 0.0
    """Weight of the mean absolute distance to the real clip in the generator's loss. A caption has more than one right clip:
    this term pulls all samples of a caption towards their median, whatever the noise."""
    mask: float = 0.0
    """Weight of the mean of a two-stream generator's mask in its loss; VGAN uses 0.1."""
    gradient_penalty: float = 0.0
    """Weight of WGAN-GP's penalty; the paper uses 10."""
    r1: float = 0.0
    """Gamma of the zero-centred penalty at real clips."""
    r2: float = 0.0
    """Gamma of the zero-centred penalty at generated clips."""
    penalty_every: int = 1
    """Apply penalties every this many steps, multiplied by that number: StyleGAN2's lazy regularisation (Karras et al. 2020,
    section 3.1)."""
    generator_every: int = 1
    """Discriminator updates per generator update; WGAN uses 5."""

    def __post_init__(self) -> None:
        weights = "real mismatched generated interpolated matching coherence l1 mask gradient_penalty r1 r2"
        for name in weights.split():
            if getattr(self, name) < 0:
                raise RequestError(f"{name} {getattr(self, name)}: expected a weight, 0 or more")
        for name in ("penalty_every", "generator_every"):
            if getattr(self, name) < 1:
                raise RequestError(f"{name} {getattr(self, name)}: expected a number of steps, 1 or more")
        for name in ("matching_steps", "temperature"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise RequestError(f"{name} {getattr(self, name)}: expected more than 0")
        if not 0 <= self.between <= 1:
            raise RequestError(f"between {self.between}: expected 0 to 1; 0.5 is half way")
        if self.generated == 0:
            raise RequestError("generated 0: the discriminators would see no generated clip; expected more than 0")

    def matching_at(self, update: int) -> float:
        """Return the weight of the matching term at an update, counted from 0."""
        return self.matching * (1.0 if self.matching_steps is None else max(0.0, 1 - update / self.matching_steps))

    @property
    def has_penalty(self) -> bool:
        return self.gradient_penalty > 0 or self.r1 > 0 or self.r2 > 0


def non_saturating_real(scores: Scores) -> torch.Tensor:
    """Return -log D(x), where D is the sigmoid of the score (Goodfellow et al. 2014, eq. 1)."""
    return functional.softplus(-scores).mean()


def non_saturating_fake(scores: Scores) -> torch.Tensor:
    """Return -log(1 - D(x)) (Goodfellow et al. 2014, eq. 1)."""
    return functional.softplus(scores).mean()


def non_saturating_generator(scores: Scores) -> torch.Tensor:
    """Return -log D(G(z)), which does not saturate as log(1 - D(G(z))) does (Goodfellow et al. 2014, section 3)."""
    return functional.softplus(-scores).mean()


def least_squares_real(scores: Scores) -> torch.Tensor:
    """Return (D(x) - 1)^2 / 2 (Mao et al. 2017, eq. 9)."""
    return (scores - 1).square().mean() / 2


def least_squares_fake(scores: Scores) -> torch.Tensor:
    """Return D(x)^2 / 2 (Mao et al. 2017, eq. 9)."""
    return scores.square().mean() / 2


def least_squares_generator(scores: Scores) -> torch.Tensor:
    """Return (D(G(z)) - 1)^2 / 2 (Mao et al. 2017, eq. 9)."""
    return (scores - 1).square().mean() / 2


def hinge_real(scores: Scores) -> torch.Tensor:
    """Return max(0, 1 - D(x)) (Miyato et al. 2018, eq. 16)."""
    return functional.relu(1 - scores).mean()


def hinge_fake(scores: Scores) -> torch.Tensor:
    """Return max(0, 1 + D(x)) (Miyato et al. 2018, eq. 16)."""
    return functional.relu(1 + scores).mean()


def hinge_generator(scores: Scores) -> torch.Tensor:
    """Return -D(G(z)) (Miyato et al. 2018, eq. 17)."""
    return -scores.mean()


def wasserstein_real(scores: Scores) -> torch.Tensor:
    """Return -f(x) (Arjovsky et al. 2017, eq. 2 and algorithm 1)."""
    return -scores.mean()


def wasserstein_fake(scores: Scores) -> torch.Tensor:
    """Return f(x) (Arjovsky et al. 2017, algorithm 1)."""
    return scores.mean()


def wasserstein_generator(scores: Scores) -> torch.Tensor:
    """Return -f(G(z)) (Arjovsky et al. 2017, algorithm 1)."""
    return -scores.mean()


def relativistic_pair(better: Scores, worse: Scores) -> torch.Tensor:
    """Return log(1 + exp(-(D(better) - D(worse)))), pair by pair (Huang et al. 2024, eq. 2, with f(t) = -log(1 + exp(-t))).

    In the discriminator's loss the real clip is ``better``, in the generator's loss the generated one.
    """
    return functional.softplus(worse - better).mean()


@dataclass(frozen=True)
class _Losses:
    real: Callable[[Scores], torch.Tensor]
    fake: Callable[[Scores], torch.Tensor]
    generator: Callable[[Scores], torch.Tensor]


_LOSSES: dict[str, _Losses] = {
    "non-saturating": _Losses(non_saturating_real, non_saturating_fake, non_saturating_generator),
    "least squares": _Losses(least_squares_real, least_squares_fake, least_squares_generator),
    "hinge": _Losses(hinge_real, hinge_fake, hinge_generator),
    "wasserstein": _Losses(wasserstein_real, wasserstein_fake, wasserstein_generator),
}


def discriminator_loss(spec: LossSpec, real: Scores, mismatched: Scores | None, generated: Scores) -> torch.Tensor:
    """Return the loss of one discriminator, given scores (B, ...): TGANs-C's L_v, L_f or L_t.

    A relativistic loss pairs generated and mismatched clips with real ones, each with its own weight. ``mismatched`` may have
    fewer rows than the others; None means none.
    """
    if spec.game == "relativistic":
        loss = spec.generated * relativistic_pair(real, generated)
        if mismatched is not None:
            loss = loss + spec.mismatched * relativistic_pair(real, mismatched)
        return loss
    terms = _LOSSES[spec.game]
    loss = spec.real * terms.real(real) + spec.generated * terms.fake(generated)
    if mismatched is not None:
        loss = loss + spec.mismatched * terms.fake(mismatched)
    return loss


def generator_loss(spec: LossSpec, generated: Scores, real: Scores | None = None) -> torch.Tensor:
    """Return the generator's loss against one discriminator; a relativistic loss needs the scores of ``real`` clips."""
    if spec.game != "relativistic":
        return _LOSSES[spec.game].generator(generated)
    if real is None:
        raise RequestError(
            "a relativistic loss compares generated clips with real ones, but real is None; pass the scores of real clips"
        )
    return relativistic_pair(generated, real)


def matching_loss(similarity_BNK: torch.Tensor, caption_B: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the cross-entropy, in nats, of each clip's caption among K, by the similarity of its N frames to each."""
    captions = caption_B.repeat_interleave(similarity_BNK.shape[1])
    return functional.cross_entropy(similarity_BNK.flatten(0, 1) / temperature, captions)


def zero_centred_penalty(scores_B: Scores, inputs: torch.Tensor) -> torch.Tensor:
    """Return half the mean squared norm of the gradient of scores (B,) with respect to their inputs (B, ...).

    Multiplied by gamma, this is R1 for real inputs (Mescheder et al. 2018, eq. 9) and R2 for generated ones (eq. 10).
    """
    return gradients(scores_B, inputs).square().sum(1).mean() / 2


def unit_norm_penalty(scores_B: Scores, inputs: torch.Tensor) -> torch.Tensor:
    """Return the mean of (norm of the gradient - 1)^2: WGAN-GP's penalty without its lambda (Gulrajani et al. 2017, eq. 3)."""
    # The square root has no derivative at 0.
    norms = (gradients(scores_B, inputs).square().sum(1) + 1e-12).sqrt()
    return (norms - 1).square().mean()


def between_pairs(first: torch.Tensor, second: torch.Tensor, shares_B: torch.Tensor) -> torch.Tensor:
    """Interpolate between ``second`` (share 0) and ``first`` (share 1), one share per sample."""
    shares = shares_B.view(-1, *[1] * (first.dim() - 1))
    return shares * first + (1 - shares) * second


def gradients(scores_B: Scores, inputs: torch.Tensor) -> torch.Tensor:
    """Return the gradient of each score with respect to its input, flattened to (B, D) and differentiable."""
    (gradient,) = torch.autograd.grad(scores_B.sum(), inputs, create_graph=True)
    return gradient.flatten(1)

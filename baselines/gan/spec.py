"""The networks of a GAN. Defaults are those of TGANs-C (Pan et al. 2017, arXiv:1804.08264) at 16x48x48."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from t2vdata.errors import RequestError

GeneratorNorm = Literal["batch", "conditional batch", "conditional pixel", "none"]
DiscriminatorNorm = Literal["batch", "layer", "spectral", "none"]


@dataclass(frozen=True)
class ModelSpec:
    """The architecture of the generator and the discriminators. The clip size comes from the data."""

    generator: Literal["tgansc", "frames", "vgan", "dcgan"] = "tgansc"
    """``tgansc``: one stack of 3-D layers. ``frames``: a vector for each frame and 2-D layers shared by all frames, as in TGAN
    (Saito et al. 2017, arXiv:1611.06624), which is cheaper. ``vgan``: two streams, a moving foreground over a still background.
    ``dcgan``: pictures."""
    discriminator: Literal["tgansc", "vgan", "dcgan"] = "tgansc"
    """``tgansc``: the three discriminators that follow; ``vgan``: one for clips; ``dcgan``: one for pictures."""
    video: bool = True
    """Whether a discriminator of 3-D layers scores whole clips."""
    frame: bool = True
    """Whether a discriminator of 2-D layers scores each frame."""
    motion: bool = True
    """Whether a discriminator scores differences between the feature maps of neighbouring frames."""
    noise: int = 100
    """Noise features of a clip."""
    generator_text: int | None = None
    """Features to which the generator first projects a sentence, by a linear layer; null uses the sentence unchanged."""
    text_activation: bool = True
    """Whether a leaky ReLU follows that layer, as in GAN-CLS."""
    text_features: int = 256
    """Features to which the discriminators project a sentence before repeating it at every position of a map."""
    mix: bool = True
    """Whether a linear layer mixes noise and sentence before the first map, as in TGANs-C."""
    width: float = 1.0
    """Multiplier of the channels of all layers; 1 gives 64 channels in the largest map and 512 in the smallest."""
    discriminator_width: float | None = None
    """Multiplier for the discriminators; default: ``width``."""
    frame_width: float | None = None
    """Multiplier for the frame and motion discriminators; default: ``discriminator_width``."""
    growth: float = 2.0
    """Growth of channels from one map to the next smaller one; more gives the large, expensive maps fewer channels."""
    discriminator_growth: float | None = None
    """Growth for the discriminator of clips; default: ``growth``."""
    blocks: int = 3
    """Layers of the generator between its first map and its last layer; each doubles the map."""
    last: Literal["pointwise", "doubling"] = "pointwise"
    """``pointwise``: the last layer mixes the channels of each pixel; ``doubling``: it doubles the map once more, as at
    32x64x64 and in DCGAN."""
    last_bias: bool = False
    """Whether the last layer has a bias: clips with a dark background are then learned sooner. TGANs-C and DCGAN have none,
    VGAN always has."""
    first_frames: int | None = None
    """Frames of the generator's first map; default: as few as the doublings allow. The first blocks double time."""
    levels: int | None = None
    """Layers of the discriminators before their heads; each halves the map. Default: until its shorter side is 4 or less."""
    upsampling: Literal["transposed", "nearest"] = "transposed"
    """How a block doubles a map: a transposed 4x4x4 convolution, or nearest-neighbour upsampling and a 3x3x3
    convolution."""
    activation: Literal["leaky relu", "relu"] = "leaky relu"
    """Activation of the generator; the discriminators use leaky ReLU with slope 0.2."""
    generator_norm: GeneratorNorm = "batch"
    """``conditional batch``: noise and sentence predict scale and shift of every layer (de Vries et al. 2017,
    arXiv:1707.00683). ``conditional pixel``: the same, after normalising the channels of each pixel."""
    discriminator_norm: DiscriminatorNorm = "batch"
    """``spectral``: Miyato et al. 2018, arXiv:1802.05957. ``layer`` suits a gradient penalty, which needs independent clips."""
    condition: Literal["concatenation", "projection"] = "concatenation"
    """How discriminators condition on the sentence: concatenated with the map, or by the inner product of Miyato and
    Koyama 2018 (arXiv:1802.05637, eq. 3)."""
    hidden: int | None = None
    """Features of a linear layer before the projection; null sums the map over its positions, as in the paper."""
    head: Literal["whole", "published"] = "whole"
    """Input of the last layer of a concatenating discriminator: the ``whole`` map, or, as in code of 2018, 2x2 squares
    with stride 2, which ignore the last row and column of a 3x3 map."""
    volume: bool = True
    """Whether the video discriminator has 3-D layers; if not, frames become channels of 2-D layers, which is cheaper."""
    motion_before_activation: bool = False
    """Whether the motion discriminator takes differences before the last activation of the frame maps instead of after."""
    pairs: int | None = None
    """Pairs of neighbouring frames that the frame and motion discriminators sample from a clip at each step; null uses all
    frames."""
    match: int | None = None
    """Features of the space in which clips and captions are compared for ``loss.matching``; null turns it off. Needs projection
    and ``hidden``."""
    batch_deviation: bool = False
    """Whether the video discriminator sees the standard deviation over the batch (Karras et al. 2018, arXiv:1710.10196,
    section 3), which counters mode collapse. Needs projection and ``hidden``."""
    init: Literal["normal", "xavier", "kaiming", "orthogonal", "torch"] = "normal"
    """Initialisation of weights. ``kaiming`` (He et al. 2015, arXiv:1502.01852) applies to the discriminators' convolutions
    only; ``torch`` keeps torch's own initialisation everywhere."""
    init_std: float = 0.02
    """Standard deviation of ``normal``."""
    text_std: float | None = None
    """Standard deviation of the weights of layers whose only input is a sentence; default: as ``init``. About 0.6 suits
    sentence vectors of length 1, so that Adam's steps are small compared with the weights."""
    channels_last: bool = False
    """Whether weights use the channels-last memory format, with which some processors convolve faster."""

    def __post_init__(self) -> None:
        for name in ("noise", "generator_text", "text_features", "width", "discriminator_width", "frame_width", "growth",
                     "discriminator_growth", "blocks", "first_frames", "levels", "hidden", "pairs", "match", "init_std",
                     "text_std"):  # fmt: skip
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise RequestError(f"{name} {value}: expected more than 0")
        if self.discriminator == "tgansc" and not (self.video or self.frame or self.motion):
            raise RequestError("video, frame and motion are all false; expected one discriminator or more")
        if self.hidden is not None and self.condition != "projection":
            raise RequestError(
                f"hidden {self.hidden}: only condition 'projection' has a hidden layer; remove hidden, or set condition"
            )
        for name in ("batch_deviation", "match"):
            if getattr(self, name) and self.hidden is None:
                raise RequestError(f"{name} needs the hidden layer of condition 'projection'; set hidden, such as 128")

    @property
    def doublings(self) -> int:
        return self.blocks + (self.last == "doubling")

    def generator_channels(self, block: int) -> int:
        """Return the input channels of a block, counted from 0; ``blocks`` stands for the last layer."""
        return _channels(self.width, self.growth, self.blocks - block)

    def discriminator_channels(self, level: int, *, of_frames: bool = False) -> int:
        """Return the output channels of a level, counted from 0, of the clip tower or the frame tower."""
        widths = (self.frame_width if of_frames else None, self.discriminator_width, self.width)
        growth = self.growth if of_frames or self.discriminator_growth is None else self.discriminator_growth
        return _channels(next(width for width in widths if width is not None), growth, level)


def _channels(width: float, growth: float, times: int) -> int:
    return max(1, round(64 * width * growth**times))

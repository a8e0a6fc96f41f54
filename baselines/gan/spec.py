"""What the networks of a GAN are: the defaults are those of TGANs-C (Pan et al. 2017, arXiv:1804.08264) at 16x48x48."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from t2vdata.errors import RequestError

GeneratorNorm = Literal["batch", "conditional batch", "conditional pixel", "none"]
DiscriminatorNorm = Literal["batch", "layer", "spectral", "none"]


@dataclass(frozen=True)
class ModelSpec:
    """The shape of the generator and of the discriminators. The clip's size is the data's."""

    generator: Literal["tgansc", "frames", "vgan", "dcgan"] = "tgansc"
    """``tgansc``: one stack of 3-D layers. ``frames``: a vector for each frame, and 2-D layers that all frames share, as in
    TGAN (Saito et al. 2017, arXiv:1611.06624), which is cheaper. ``vgan``: VGAN's two streams, a moving foreground over a still
    background. ``dcgan``: pictures."""
    discriminator: Literal["tgansc", "vgan", "dcgan"] = "tgansc"
    """``tgansc`` has the three that follow; ``vgan`` judges clips, ``dcgan`` pictures, by one network each."""
    video: bool = True
    """Whether a discriminator of 3-D layers sees whole clips."""
    frame: bool = True
    """Whether one of 2-D layers sees each frame."""
    motion: bool = True
    """Whether one sees the differences between the frame maps of neighbouring frames."""
    noise: int = 100
    """Numbers of noise of a clip."""
    generator_text: int | None = None
    """Numbers to which the generator brings a sentence first, by a linear layer; null takes the sentence as it is."""
    text_activation: bool = True
    """Whether a leaky ReLU follows that layer, as in GAN-CLS."""
    text_features: int = 256
    """Numbers to which the discriminators bring a sentence, before they lay it beside every place of a map."""
    mix: bool = True
    """Whether a linear layer mixes noise and sentence before the first map, as in TGANs-C."""
    width: float = 1.0
    """Factor of the channels of all layers; 1 is 64 in the widest map and 512 in the smallest."""
    discriminator_width: float | None = None
    """The factor of the discriminators; null is ``width``."""
    frame_width: float | None = None
    """The factor of the frame map; null is that of the discriminators."""
    growth: float = 2.0
    """How many times as many channels a map has as one twice as wide; more makes the wide maps, which cost most, narrow."""
    discriminator_growth: float | None = None
    """That of the discriminator of clips; null is ``growth``."""
    blocks: int = 3
    """Layers of the generator between its first map and its last layer; each doubles the map."""
    last: Literal["pointwise", "doubling"] = "pointwise"
    """Whether the last layer mixes the channels of each pixel, or doubles the map once more, as at 32x64x64 and in DCGAN."""
    last_bias: bool = False
    """Whether the last layer has a bias, by which clips with a dark background are learned sooner; TGANs-C and DCGAN have none,
    VGAN always."""
    first_frames: int | None = None
    """Frames of the generator's first map; null is as few as the doublings allow. Time is doubled by the first blocks."""
    levels: int | None = None
    """Layers of the discriminators before their heads; each halves the map. Null halves until its shorter side is 4 or less."""
    upsampling: Literal["transposed", "nearest"] = "transposed"
    """How a block doubles a map: a transposed 4x4x4 convolution, or repeated pixels and a 3x3x3 convolution."""
    activation: Literal["leaky relu", "relu"] = "leaky relu"
    """The generator's; the discriminators' is leaky, with slope 0.2."""
    generator_norm: GeneratorNorm = "batch"
    """``conditional batch``: noise and sentence set the scale and the shift of every layer (de Vries et al. 2017,
    arXiv:1707.00683). ``conditional pixel``: likewise, after each pixel's channels are brought to length one."""
    discriminator_norm: DiscriminatorNorm = "batch"
    """``spectral``: Miyato et al. 2018, arXiv:1802.05957. ``layer`` suits a gradient penalty, which batches would blur."""
    condition: Literal["concatenation", "projection"] = "concatenation"
    """How discriminators join sentence and map: side by side, or by the inner product of Miyato and Koyama 2018
    (arXiv:1802.05637, eq. 3)."""
    hidden: int | None = None
    """Numbers to which a linear layer brings the map before the projection; null sums the map over its places, as there."""
    head: Literal["whole", "published"] = "whole"
    """What the last layer of a concatenating discriminator sees: the whole map, or as in public code of 2018 squares of 2x2,
    two apart, which on a map of 3x3 leave its last row and column out."""
    volume: bool = True
    """Whether the video discriminator has 3-D layers; without, frames are channels of 2-D layers, which is cheaper."""
    motion_before_activation: bool = False
    """Whether differences are of frame maps before their last activation, not after."""
    pairs: int | None = None
    """Pairs of neighbouring frames, drawn anew each time, that the frame and motion discriminators see of a clip; null is all
    frames."""
    match: int | None = None
    """Numbers in which discriminators of clips and frames compare a clip with captions, for ``loss.matching``; null has none of
    that. With projection and ``hidden``."""
    batch_deviation: bool = False
    """Whether the video discriminator is told how much clips of a batch differ (Karras et al. 2018, arXiv:1710.10196,
    section 3): it works against samples that are all alike. With projection and ``hidden``."""
    init: Literal["normal", "xavier", "kaiming", "orthogonal", "torch"] = "normal"
    """Of weights at the start; ``kaiming`` (He et al. 2015, arXiv:1502.01852) is of the discriminators' convolutions alone, and
    ``torch`` of none: other layers stay as torch makes them."""
    init_std: float = 0.02
    """Standard deviation of ``normal``."""
    text_std: float | None = None
    """Standard deviation of the weights of layers that take a sentence alone; null is as ``init`` says. Sentences of length one
    want about 0.6: with that, Adam's steps are small beside the weights."""
    channels_last: bool = False
    """Whether weights lie in memory with channels last, which some machines convolve faster."""

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
            raise RequestError(f"hidden {self.hidden}: it is of condition 'projection'; leave it out, or set that")
        for name in ("batch_deviation", "match"):
            if getattr(self, name) and self.hidden is None:
                raise RequestError(f"{name} needs the hidden layer of condition 'projection'; set hidden, such as 128")

    @property
    def doublings(self) -> int:
        return self.blocks + (self.last == "doubling")

    def generator_channels(self, block: int) -> int:
        """Return the channels of the map that a block gets, counted from 0; ``blocks`` is the last layer's."""
        return _channels(self.width, self.growth, self.blocks - block)

    def discriminator_channels(self, level: int, *, of_frames: bool = False) -> int:
        """Return the channels that a level of the clip's tower, or of the frame map, gives, counted from 0."""
        widths = (self.frame_width if of_frames else None, self.discriminator_width, self.width)
        growth = self.growth if of_frames or self.discriminator_growth is None else self.discriminator_growth
        return _channels(next(one for one in widths if one is not None), growth, level)


def _channels(width: float, growth: float, times: int) -> int:
    return max(1, round(64 * width * growth**times))

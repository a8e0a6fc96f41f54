"""What a recipe of a Glow says, beside its flows (flow.py) and its optimisers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from t2vdata.errors import RequestError, unknown_name


@dataclass(frozen=True)
class ModelSpec:
    """What each frame may depend on, and what a pixel is."""

    num_bits: int = 8
    """Bits of a pixel that are modelled: frames are rounded down to 2 to this power levels. Figures of different numbers
    of bits cannot be compared."""
    previous_frame: bool = True
    """Whether a later frame's flow sees the frame before."""
    state_channels: int = 16
    """Channels of the state that is carried over all frames before; 0 for none."""
    motion: int = 0
    """Reach in pixels: a later frame is modelled as the frame before, displaced by up to so much along both axes, and what is
    left; the displacement is named first and costs its own bits, and it is what a label of later frames tells. 0 for none."""
    label: Literal["none", "image", "vector", "caption"] = "none"
    """How a clip's label comes in. `image`: an image for each label, context of the head, as in arXiv:1910.11106. `vector`: a
    vector for each label, which modulates the coupling networks. `caption`: the same with a vector of the caption's words."""
    label_of: Literal["label", "meaning"] = "label"
    """`label` is the dataset's; `meaning` one of 40, the digit and the direction that a caption of one moving digit names."""
    label_size: int = 64
    """Numbers in a vector."""
    label_channels: int = 3
    """Channels of an image."""
    label_in_tail: bool = False
    """Whether the label's vector also modulates the flow of later frames; the paper's is of the first frame only."""
    number_size: int = 0
    """Numbers in a vector of a later frame's place in its clip, which modulates its flow as a label's does; 0 for none. A label
    that names the first of two directions misleads where nothing tells how far the clip is."""
    dequantisation: Literal["uniform", "variational"] = "uniform"
    """The noise that makes levels continuous: uniform, or of a small flow that learns it."""

    def __post_init__(self) -> None:
        if not 1 <= self.num_bits <= 8:
            raise RequestError(f"num_bits {self.num_bits}: expected 1 to 8")
        for name in ("label_size", "label_channels"):
            if getattr(self, name) < 1:
                raise RequestError(f"{name} {getattr(self, name)}: expected 1 or more")
        for name, what in {"state_channels": "state", "number_size": "vector", "motion": "motion"}.items():
            if getattr(self, name) < 0:
                raise RequestError(f"{name} {getattr(self, name)}: expected 0 for no {what}, or more")
        for name, known in {"label": ("none", "image", "vector", "caption"), "label_of": ("label", "meaning"),
                            "dequantisation": ("uniform", "variational")}.items():  # fmt: skip
            if getattr(self, name) not in known:
                raise unknown_name(name, str(getattr(self, name)), known)
        if self.motion and not self.previous_frame:
            raise RequestError(f"motion {self.motion} without previous_frame: it is that frame which is displaced")
        if self.label_in_tail and self.label not in ("vector", "caption"):
            raise RequestError(f"label_in_tail with label {self.label!r}: expected a label of the form vector or caption")


@dataclass(frozen=True)
class LossSpec:
    """What is minimised."""

    unit: Literal["nats", "bits_per_dim"] = "nats"
    """`nats` of a whole frame, or bits per dimension as in arXiv:1910.11106: thousands of times smaller, and so are gradients,
    which for an image of labels come near Adam's epsilon."""
    frames: int | None = None
    """Frames at a clip's beginning that are learned; null for all. The state is carried, and its gradient runs, over these."""
    tail_frames: int | None = None
    """Later frames of each clip that are learned in a step, drawn anew each time; null for all. With fewer, a step has room for
    more clips."""
    reconstruct_every: int = 50
    """Updates between two checks of how well the flows undo themselves: `reconstruction`, the largest error of
    a pixel, of 1."""

    def __post_init__(self) -> None:
        if self.unit not in ("nats", "bits_per_dim"):
            raise unknown_name("unit", str(self.unit), ("nats", "bits_per_dim"))
        if self.frames is not None and self.frames < 2:
            raise RequestError(f"frames {self.frames}: expected 2 or more, for there is a flow of later frames")
        if self.tail_frames is not None and self.tail_frames < 1:
            raise RequestError(f"tail_frames {self.tail_frames}: expected 1 or more, or null for all")
        if self.reconstruct_every < 1:
            raise RequestError(f"reconstruct_every {self.reconstruct_every}: expected 1 or more")


@dataclass(frozen=True)
class EvaluationSpec:
    """How likelihoods are measured and clips sampled."""

    noise_draws: int = 1
    """StepRandom of dequantisation noise for each frame; over several the bound becomes tighter (importance weighting)."""
    label_clips: int = 0
    """Clips of a judgement for which all other labels are tried too, to measure how much a label tells; 0 for none."""
    temperature: float = 0.7
    """Of sampled clips: the deviation of latents, 0 for the most likely ones."""
    digit_size: int | None = None
    """Side of mnist-motion's one digit in pixels, for the bound that is printed beside the first frame's figure."""

    def __post_init__(self) -> None:
        if self.noise_draws < 1 or self.label_clips < 0:
            raise RequestError(
                f"noise_draws {self.noise_draws}, label_clips {self.label_clips}: expected 1 draw or more, and 0 clips or more"
            )
        if not 0 <= self.temperature < float("inf"):
            raise RequestError(f"temperature {self.temperature}: expected 0 or more")

"""Recipe sections of a video Glow: model, loss and evaluation. Its flows are in flow.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from t2vdata.errors import RequestError, unknown_name


@dataclass(frozen=True)
class ModelSpec:
    """What frames are conditioned on, and how pixels are quantised."""

    num_bits: int = 8
    """Bits per pixel that are modelled: frames are rounded down to 2**num_bits levels. Likelihoods with different numbers of
    bits cannot be compared."""
    previous_frame: bool = True
    """Whether later frames are conditioned on the previous frame."""
    state_channels: int = 16
    """Channels of the state that is carried over all earlier frames; 0 for none."""
    motion: int = 0
    """Reach in pixels: a later frame is modelled as the previous frame, displaced by up to this much along both axes, plus a
    residual. The displacement has its own bits, and it alone depends on the label of later frames. 0 for none."""
    label: Literal["none", "image", "vector", "caption"] = "none"
    """Form of a clip's label. `image`: an image for each label as context of the head, as in arXiv:1910.11106. `vector`: a
    vector for each label, which modulates the coupling networks. `caption`: the same with a vector of the caption's words."""
    label_of: Literal["label", "meaning"] = "label"
    """`label` uses the dataset's labels; `meaning` one of 40: digit and first direction of a caption of one moving digit."""
    label_size: int = 64
    """Size of a label's vector."""
    label_channels: int = 3
    """Channels of a label's image."""
    label_in_tail: bool = False
    """Whether the label's vector also modulates the flow of later frames; in the paper, only the first frame has a label."""
    number_size: int = 0
    """Size of a vector for a later frame's position in its clip, which modulates its flow like a label's; 0 for none. Without
    it, a label that names the first of two directions misleads the tail after the turn."""
    dequantisation: Literal["uniform", "variational"] = "uniform"
    """The noise that makes levels continuous: uniform, or learned by a small flow."""

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
            raise RequestError(f"motion {self.motion} without previous_frame: the previous frame is what is displaced")
        if self.label_in_tail and self.label not in ("vector", "caption"):
            raise RequestError(f"label_in_tail with label {self.label!r}: expected label vector or caption")


@dataclass(frozen=True)
class LossSpec:
    """The loss that is minimised."""

    unit: Literal["nats", "bits_per_dim"] = "nats"
    """`nats` of a whole frame, or bits per dimension as in arXiv:1910.11106. The latter are thousands of times smaller, and so
    are gradients: those of label images come near Adam's epsilon."""
    frames: int | None = None
    """Frames from the start of each clip to train on; null for all. The state and its gradient run over these."""
    tail_frames: int | None = None
    """Later frames of each clip to train on in a step, chosen at random; null for all. With fewer, a step can hold more
    clips."""
    reconstruct_every: int = 50
    """Updates between checks of the flows' inverses, logged as `reconstruction`: the largest error of a pixel, on a range
    of 1."""

    def __post_init__(self) -> None:
        if self.unit not in ("nats", "bits_per_dim"):
            raise unknown_name("unit", str(self.unit), ("nats", "bits_per_dim"))
        if self.frames is not None and self.frames < 2:
            raise RequestError(f"frames {self.frames}: expected 2 or more, because later frames have their own flow")
        if self.tail_frames is not None and self.tail_frames < 1:
            raise RequestError(f"tail_frames {self.tail_frames}: expected 1 or more, or null for all")
        if self.reconstruct_every < 1:
            raise RequestError(f"reconstruct_every {self.reconstruct_every}: expected 1 or more")


@dataclass(frozen=True)
class EvaluationSpec:
    """How likelihoods are estimated and clips sampled."""

    noise_draws: int = 1
    """Draws of dequantisation noise per frame; several make the bound tighter (importance weighting)."""
    label_clips: int = 0
    """Clips of an evaluation for which all labels are tried, to measure the information in a label; 0 for none."""
    temperature: float = 0.7
    """Scale of the latents of sampled clips; 0 gives the most likely ones."""
    digit_size: int | None = None
    """Side of mnist-motion's single digit in pixels, for the limit reported with the first frame's likelihood."""

    def __post_init__(self) -> None:
        if self.noise_draws < 1 or self.label_clips < 0:
            raise RequestError(
                f"noise_draws {self.noise_draws}, label_clips {self.label_clips}: expected 1 draw or more, and 0 clips or more"
            )
        if not 0 <= self.temperature < float("inf"):
            raise RequestError(f"temperature {self.temperature}: expected 0 or more")

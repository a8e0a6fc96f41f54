"""Small flows and their inputs, for the tests of baselines/glow."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import nn

from baselines.glow.flow import Flow, FlowSpec
from t2vdata import datasets
from t2vdata.loading import Batch
from t2vdata.text.vocabulary import Vocabulary

KINDS = ("additive", "affine")
FORMS = ("official", "cglow")
WORDS = Vocabulary.build(
    [f"the digit {digit} is moving {way}" for digit in range(10) for way in ("up and down", "left and right")]
)


def spec(kind: str = "affine", form: str = "official", *, permutation: str = "lu", **options: object) -> FlowSpec:
    """Return the spec of a flow; default: two levels of two steps, width 8."""
    settings = {"width": 8, "levels": 2, "steps": 2, "permutation": permutation, **options}
    return FlowSpec(coupling=kind, form=form, **settings)


def shaken(module: nn.Module, size: float = 0.03, seed: int = 0) -> nn.Module:
    """Add noise to every parameter: layers that start at zero would hide mistakes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += size * torch.randn(parameter.shape, generator=generator).to(parameter.dtype)
    return module


def double_flow(shape: tuple[int, int, int], flow_spec: FlowSpec, **sizes: int) -> Flow:
    """Return a flow with noisy parameters, in float64."""
    torch.manual_seed(0)
    return shaken(Flow(shape, flow_spec, **sizes).double())


def random_features(
    num_images: int, num_channels: int, side: int, levels: int = 2, dtype: torch.dtype = torch.float64
) -> list[torch.Tensor]:
    """Return features for each level of a flow."""
    return [torch.randn(num_images, num_channels, side // 2**k, side // 2**k, dtype=dtype) for k in range(1, levels + 1)]


@functools.cache
def batch(num_clips: int = 16, frames: int = 7, size: int = 16) -> Batch:
    """Return clips of mnist-motion with their captions, and the digit as label."""
    options = {"n": 40, "val": 40, "test": 40, "frames": frames, "size": size, "digit_size": 8}
    dataset = datasets.open("mnist-motion", options=options)
    sampled = list(dataset.clips("train"))[:num_clips]
    captions = [clip.captions[0] for clip in sampled]
    words = WORDS.encode_batch(captions)
    return Batch(
        video=torch.from_numpy(np.stack([dataset.render(clip).data for clip in sampled])).permute(0, 4, 1, 2, 3).contiguous(),
        captions=captions,
        keys=[clip.key for clip in sampled],
        labels=torch.tensor([int(clip.meta["label"]) for clip in sampled]),
        tokens=torch.from_numpy(words.tokens),
        lengths=torch.from_numpy(words.lengths),
    )


def clips() -> torch.Tensor:
    """Return the clips of ``batch``: (16, 1, 7, 16, 16) uint8."""
    return batch().video

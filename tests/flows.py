"""Small flows, and what to feed them, for the tests of baselines/glow."""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import nn

from baselines.glow.flow import Flow, FlowSpec
from t2vdata import datasets

KINDS = ("additive", "affine")
FORMS = ("official", "cglow")


def spec(kind: str = "affine", form: str = "official", *, permutation: str = "lu", **options: object) -> FlowSpec:
    """Return a flow of two steps at each of two levels, unless told."""
    settings = {"width": 8, "levels": 2, "steps": 2, "permutation": permutation, **options}
    return FlowSpec(coupling=kind, form=form, **settings)


def shaken(module: nn.Module, size: float = 0.03, seed: int = 0) -> nn.Module:
    """Move every parameter at random: layers that start at zero would hide mistakes."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += size * torch.randn(parameter.shape, generator=draws).to(parameter.dtype)
    return module


def doubled(shape: tuple[int, int, int], made: FlowSpec, **widths: int) -> Flow:
    """Return a shaken flow in float64."""
    torch.manual_seed(0)
    return shaken(Flow(shape, made, **widths).double())


def context_of(num: int, channels: int, side: int, levels: int = 2, dtype: torch.dtype = torch.float64) -> list[torch.Tensor]:
    return [torch.randn(num, channels, side // 2**k, side // 2**k, dtype=dtype) for k in range(1, levels + 1)]


@functools.cache
def clips(num: int = 16, frames: int = 7, size: int = 16, split: str = "train") -> torch.Tensor:
    """Return real clips of moving digits: (num, 1, frames, size, size) uint8."""
    options = datasets.make_options(
        "mnist-motion", {"n": 40, "val": 40, "test": 40, "frames": frames, "size": size, "digit_size": 8}
    )
    module = datasets.load("mnist-motion")
    drawn = [module.render(clip, options).data for clip in module.clips(None, split, options, 0)[:num]]
    return torch.from_numpy(np.stack(drawn)).permute(0, 4, 1, 2, 3).contiguous()

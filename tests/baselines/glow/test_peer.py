"""With the same weights, the likelihood equals that of an independent Glow, and of one written out here in float64."""

from __future__ import annotations

import math

import normflows
import pytest
import torch
from flows import double_flow, shaken, spec
from torch import nn
from torch.nn import functional

from baselines.glow.flow import Flow, FlowStep
from baselines.glow.layers import SCALE_FACTOR


def peer_of(flow: Flow) -> normflows.MultiscaleFlow:
    """Return a Glow of normflows with the same weights. It lacks borders and learned priors, so ours must be zero."""
    levels, bases, merges = [], [], []
    for shape, level in reversed(list(zip(flow.latent_shapes(), flow.levels, strict=True))):
        blocks = [_block_of(step) for step in reversed(level.steps)]
        levels.append([*blocks, normflows.flows.Squeeze()])
        bases.append(normflows.distributions.DiagGaussian(shape, trainable=False))
        merges.append(normflows.flows.Merge())
    return normflows.MultiscaleFlow(bases, levels, merges[1:], class_cond=False).double()


def _block_of(step: FlowStep) -> nn.Module:
    network, channels = step.coupling.network, len(step.permutation.weight())
    block = normflows.flows.GlowBlock(channels, network.second.weight.shape[0], use_lu=False, net_actnorm=True).double()
    coupling, mixing, norm = block.flows
    convolutions = coupling.flows[1].param_map.net
    _set(convolutions[0].weight, network.first.weight[:, :-1])
    _set(convolutions[3].weight, network.second.weight)
    for theirs, ours in zip((convolutions[1], convolutions[4]), network.norms, strict=True):
        _set(theirs.actNorm.s, ours.logs * SCALE_FACTOR)
        _set(theirs.actNorm.t, ours.bias * (ours.logs * SCALE_FACTOR).exp())
        _mark_initialised(theirs)
    factor = (network.last.logs * SCALE_FACTOR).exp().flatten()
    weight, bias = network.last.convolution.weight[:, :-1] * factor[:, None, None, None], network.last.convolution.bias * factor
    # They subtract the shift where we add it.
    sign = torch.tensor([-1.0, 1.0], dtype=torch.float64).repeat(len(factor) // 2)
    _set(convolutions[6].weight, weight * sign[:, None, None, None])
    _set(convolutions[6].bias, bias * sign)
    _set(mixing.W, step.permutation.matrix)
    # Theirs is written for the other direction: z * exp(s) + t undoes (x + bias) * exp(logs).
    _set(norm.s, -step.norm.logs * SCALE_FACTOR)
    _set(norm.t, -step.norm.bias)
    _mark_initialised(norm)
    return block


def _set(theirs: nn.Parameter, ours: torch.Tensor) -> None:
    theirs.data = ours.detach().reshape(theirs.shape).clone()


def _mark_initialised(module: nn.Module) -> None:
    """Mark their norms as initialised from data."""
    for norm in module.modules():
        if hasattr(norm, "data_dep_init_done"):
            norm.data_dep_init_done.fill_(1.0)


@pytest.mark.parametrize("levels", [1, 3])
def test_normflows_gives_the_same_likelihood(levels: int) -> None:
    flow = double_flow((1, 8, 16), spec("affine", "official", permutation="plain", levels=levels, least_scale=0.0))
    with torch.no_grad():
        for level in flow.levels:
            for parameter in level.prior.parameters():
                parameter.zero_()
            for step in level.steps:
                step.coupling.network.first.weight[:, -1:] = 0
                step.coupling.network.last.convolution.weight[:, -1:] = 0
        x = torch.randn(3, 1, 8, 16, dtype=torch.float64)
        ours, theirs = flow.log_density(x), peer_of(flow).log_prob(x, None)
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-9)
    assert ours.std() > 1


@pytest.mark.parametrize("least_scale", [0.0, 0.1])
def test_a_glow_written_out_gives_the_same_likelihood(least_scale: float) -> None:
    # With borders, learned priors and the LU form, which normflows lacks: two levels of one step on an image of 4x4.
    flow = shaken(Flow((1, 4, 4), spec("affine", permutation="lu", steps=1, least_scale=least_scale)).double(), 0.1)
    x = torch.randn(1, 1, 4, 4, dtype=torch.float64)
    with torch.no_grad():
        total, kept = torch.zeros((), dtype=torch.float64), x[0]
        for index, level in enumerate(flow.levels):
            kept = torch.stack([kept[channel, i::2, j::2] for channel in range(len(kept)) for i in (0, 1) for j in (0, 1)])
            kept, logdet = _written_out(kept, level.steps[0], least_scale)
            half = len(kept) // 2
            kept, latents, inputs = (kept[:half], kept[half:], kept[:half]) if index == 0 else (None, kept, kept * 0)
            mean, logs = _last(inputs, level.prior.convolution).chunk(2)
            density = -0.5 * ((latents - mean) / logs.exp()) ** 2 - logs - 0.5 * math.log(2 * math.pi)
            total = total + logdet + density.sum()
        assert flow.log_density(x).item() == pytest.approx(total.item(), abs=1e-9)


def _written_out(x: torch.Tensor, step: FlowStep, least_scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return an image (C, H, W) after a step, and the log-determinant."""
    num_pixels = x.shape[1] * x.shape[2]
    logs = 3 * step.norm.logs[0]
    x = (x + step.norm.bias[0]) * logs.exp()
    mixing = step.permutation
    lower = torch.tril(mixing.lower, -1) + torch.eye(len(x), dtype=torch.float64)
    weight = mixing.permutation @ lower @ (torch.triu(mixing.upper, 1) + torch.diag(mixing.sign * mixing.logs.exp()))
    x = torch.einsum("oc,chw->ohw", weight, x)
    kept, changed = x.chunk(2)
    network = step.coupling.network
    hidden = functional.conv2d(_bordered(kept), network.first.weight)[0]
    for norm, after in zip(network.norms, (network.second.weight[:, :, 0, 0], None), strict=True):
        hidden = ((hidden + norm.bias[0]) * (3 * norm.logs[0]).exp()).clamp(min=0)
        hidden = torch.einsum("oc,chw->ohw", after, hidden) if after is not None else hidden
    output = _last(hidden, network.last)
    scale = least_scale + (1 - least_scale) / (1 + (-(output[1::2] + 2)).exp())
    logdet = num_pixels * (logs.sum() + torch.linalg.slogdet(weight)[1]) + scale.log().sum()
    return torch.cat([kept, (changed + output[0::2]) * scale]), logdet


def _last(x: torch.Tensor, layer: nn.Module) -> torch.Tensor:
    convolution = layer.convolution
    return functional.conv2d(_bordered(x), convolution.weight, convolution.bias)[0] * (3 * layer.logs[0]).exp()


def _bordered(x: torch.Tensor) -> torch.Tensor:
    """Return (1, C + 1, H + 2, W + 2): zeros around the image, and a channel that is 1 there."""
    ring = functional.pad(torch.zeros(1, *x.shape[1:], dtype=x.dtype), (1, 1, 1, 1), value=1.0)
    return torch.cat([functional.pad(x, (1, 1, 1, 1)), ring])[None]

"""Bits per dimension are those of a probability of discrete pixels."""

from __future__ import annotations

import math

import pytest
import torch
from flows import FORMS, clips, shaken, spec

from baselines.glow.dequantisation import (
    VariationalNoise,
    bits_per_dimension,
    dequantized,
    identity_bits,
    log_probability,
    to_levels,
    to_pixels,
)
from baselines.glow.flow import Flow


def test_pixels_are_rounded_down_to_levels_and_noise_stays_in_their_box() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    for num_bits in (1, 5, 8):
        levels = to_levels(pixels, num_bits)
        assert levels.unique().tolist() == list(range(2**num_bits))
        for noise in (0.0, 0.5, 1 - 1e-4):
            x = dequantized(levels, noise, num_bits)
            assert -0.5 <= x.min() <= x.max() < 0.5
            assert torch.equal(to_pixels(x, num_bits), (pixels >> (8 - num_bits)) << (8 - num_bits))


def test_values_out_of_range_become_the_nearest_level_and_nan_becomes_black() -> None:
    assert to_pixels(torch.tensor([-7.0, 7.0, math.nan]), 8).tolist() == [0, 255, 0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("num_bits", "constant"), [(5, 6.3257), (8, 9.3257)])
def test_a_new_additive_flow_has_the_bits_of_the_identity(form: str, num_bits: int, constant: float) -> None:
    # Its convolutions rotate and its couplings are the identity, so its density is N(0, 1) of the pixels themselves.
    torch.manual_seed(0)
    levels = to_levels(clips()[:, :, 0], num_bits)
    x = dequantized(levels, torch.rand(levels.shape), num_bits)
    flow = Flow((1, 16, 16), spec("additive", form, levels=3))
    with torch.no_grad():
        nats = -log_probability(flow.log_density(x), 256, num_bits).mean()
    expected = constant + 0.7213 * float(x.square().mean())
    assert float(bits_per_dimension(nats, 256)) == pytest.approx(expected, abs=2e-4)
    assert identity_bits(x, num_bits) == pytest.approx(expected, abs=1e-4)


def test_the_published_first_row_was_the_identity() -> None:
    # Table I of arXiv:1910.11106 says 6.4241 for 5 bits: N(0, 1) of pixels whose mean square is 0.136, a typical value.
    assert (6.4241 - identity_bits(torch.zeros(1), 5)) * 2 * math.log(2) == pytest.approx(0.1363, abs=1e-3)


def test_a_uniform_density_costs_all_bits() -> None:
    log_density = torch.zeros(1)
    assert float(bits_per_dimension(-log_probability(log_density, 12, 5), 12)) == pytest.approx(5)


def test_probabilities_of_all_levels_sum_to_one() -> None:
    # One pixel with the density N(0, 0.3^2): the mean density over the noise of a box, times its size, is the mass of the box.
    levels, deviation = torch.arange(32.0), 0.3
    noise = (torch.arange(1000) + 0.5) / 1000
    x = dequantized(levels[:, None], noise[None], 5).double()
    density = torch.exp(-0.5 * (x / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))
    mass = torch.exp(log_probability(density.mean(dim=1).log(), 1, 5)).sum()
    within = math.erf(0.5 / (deviation * math.sqrt(2)))
    assert float(mass) == pytest.approx(within, abs=1e-5)
    # The bound that training uses is below it for every level.
    bound = log_probability(density.log().mean(dim=1), 1, 5)
    assert (bound <= log_probability(density.mean(dim=1).log(), 1, 5) + 1e-12).all()


def test_variational_noise_has_the_density_that_it_returns() -> None:
    # The mean of 1/q over samples of q is the volume of their support: the unit box.
    torch.manual_seed(0)
    noise = shaken(VariationalNoise(1, width=4).double(), 0.1)
    x = torch.randn(1, 1, 2, 2, dtype=torch.float64).expand(20_000, 1, 2, 2)
    with torch.no_grad():
        samples, log_density = noise(x, torch.randn(x.shape, dtype=torch.float64))
    assert 0 < samples.min() <= samples.max() < 1
    weights = (-log_density).exp()
    error = weights.std().item() / math.sqrt(len(weights))
    assert error < 0.1
    assert weights.mean().item() == pytest.approx(1, abs=4 * error)


def test_variational_noise_depends_on_the_image_and_learns() -> None:
    noise = shaken(VariationalNoise(1, width=4), 0.1)
    normal = torch.randn(2, 1, 4, 4)
    dark, log_density = noise(torch.zeros(2, 1, 4, 4), normal)
    bright, _ = noise(torch.ones(2, 1, 4, 4), normal)
    assert (dark - bright).abs().max() > 1e-4
    log_density.sum().backward()
    assert all(parameter.grad is not None for parameter in noise.parameters())

"""Bits per dimension mean what they say."""

from __future__ import annotations

import math

import pytest
import torch
from flows import FORMS, clips, shaken, spec

from baselines.glow.dequantisation import (
    VariationalNoise,
    bits_per_dimension,
    identity_bits,
    levels_of,
    log_probability,
    pixels_of,
    place,
)
from baselines.glow.flow import Flow


def test_pixels_are_rounded_down_to_levels_and_stay_in_their_box() -> None:
    pixels = torch.arange(256, dtype=torch.uint8)
    for num_bits in (1, 5, 8):
        levels = levels_of(pixels, num_bits)
        assert levels.unique().tolist() == list(range(2**num_bits))
        for noise in (0.0, 0.5, 1 - 1e-4):
            x = place(levels, noise, num_bits)
            assert -0.5 <= x.min() <= x.max() < 0.5
            assert torch.equal(pixels_of(x, num_bits), (pixels >> (8 - num_bits)) << (8 - num_bits))


def test_places_out_of_range_become_the_nearest_level_and_no_numbers_black() -> None:
    assert pixels_of(torch.tensor([-7.0, 7.0, math.nan]), 8).tolist() == [0, 255, 0]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("num_bits", "constant"), [(5, 6.3257), (8, 9.3257)])
def test_a_new_additive_flow_has_the_bits_of_the_identity(form: str, num_bits: int, constant: float) -> None:
    # Its convolutions rotate and its couplings do nothing, so it is N(0, 1) of the pixels themselves.
    torch.manual_seed(0)
    levels = levels_of(clips()[:, :, 0], num_bits)
    x = place(levels, torch.rand(levels.shape), num_bits)
    flow = Flow((1, 16, 16), spec("additive", form, levels=3))
    with torch.no_grad():
        nats = -log_probability(flow.log_density(x), 256, num_bits).mean()
    expected = constant + 0.7213 * float(x.square().mean())
    assert float(bits_per_dimension(nats, 256)) == pytest.approx(expected, abs=2e-4)
    assert identity_bits(x, num_bits) == pytest.approx(expected, abs=1e-4)


def test_the_published_first_row_was_the_identity() -> None:
    # Table I of arXiv:1910.11106 says 6.4241 of 5 bits: N(0, 1) of pixels whose mean square is 0.136, a usual value.
    assert (6.4241 - identity_bits(torch.zeros(1), 5)) * 2 * math.log(2) == pytest.approx(0.1363, abs=1e-3)


def test_a_uniform_density_costs_all_the_bits() -> None:
    nothing = torch.zeros(1)
    assert float(bits_per_dimension(-log_probability(nothing, 12, 5), 12)) == pytest.approx(5)


def test_probabilities_of_all_levels_sum_to_one() -> None:
    # One pixel, an exact density N(0, 0.3^2): the mean over the box's noise of the density, times the box, is the box's mass.
    levels, deviation = torch.arange(32.0), 0.3
    noise = (torch.arange(1000) + 0.5) / 1000
    x = place(levels[:, None], noise[None], 5).double()
    density = torch.exp(-0.5 * (x / deviation) ** 2) / (deviation * math.sqrt(2 * math.pi))
    mass = torch.exp(log_probability(density.mean(dim=1).log(), 1, 5)).sum()
    within = math.erf(0.5 / (deviation * math.sqrt(2)))
    assert float(mass) == pytest.approx(within, abs=1e-5)
    # And the bound that training uses is below it, for every level.
    bound = log_probability(density.log().mean(dim=1), 1, 5)
    assert (bound <= log_probability(density.mean(dim=1).log(), 1, 5) + 1e-12).all()


def test_variational_noise_has_the_density_that_it_says() -> None:
    # The mean of 1/q over draws of q is the volume of where they lie: the unit box.
    torch.manual_seed(0)
    noise = shaken(VariationalNoise(1, width=4).double(), 0.1)
    x = torch.randn(1, 1, 2, 2, dtype=torch.float64).expand(20_000, 1, 2, 2)
    with torch.no_grad():
        drawn, log_density = noise(x, torch.randn(x.shape, dtype=torch.float64))
    assert 0 < drawn.min() <= drawn.max() < 1
    weights = (-log_density).exp()
    error = weights.std().item() / math.sqrt(len(weights))
    assert error < 0.1
    assert weights.mean().item() == pytest.approx(1, abs=4 * error)


def test_variational_noise_depends_on_the_image_and_learns() -> None:
    noise = shaken(VariationalNoise(1, width=4), 0.1)
    normal = torch.randn(2, 1, 4, 4)
    one, log_density = noise(torch.zeros(2, 1, 4, 4), normal)
    other, _ = noise(torch.ones(2, 1, 4, 4), normal)
    assert (one - other).abs().max() > 1e-4
    log_density.sum().backward()
    assert all(parameter.grad is not None for parameter in noise.parameters())

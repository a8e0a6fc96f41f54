"""Displacements are estimated, modelled, counted in the likelihood, and sampled."""

from __future__ import annotations

import math

import pytest
import torch
from flows import clips

from baselines.glow.dequantisation import to_levels
from baselines.glow.flow import FlowSpec
from baselines.glow.frame_flow import Conditioning, FrameFlow
from baselines.glow.motion import Motion, best_displacement, displaced, displacements, sample_displacement
from baselines.glow.spec import ModelSpec
from baselines.glow.video import build
from t2vdata.errors import RequestError


def test_all_displacements_are_listed_shortest_first() -> None:
    moves = displacements(2)
    assert moves[0] == (0, 0)
    assert len(set(moves)) == 25
    lengths = [down**2 + right**2 for down, right in moves]
    assert lengths == sorted(lengths)


def test_the_displacement_of_a_moved_frame_is_found() -> None:
    frames = torch.zeros(25, 2, 6, 7)
    frames[:, 0, 2, 3], frames[:, 1, 3, 3] = 9, 4
    moved = displaced(frames, torch.arange(25), 2)
    for index, (down, right) in enumerate(displacements(2)):
        assert moved[index, 0, 2 + down, 3 + right] == 9
        assert moved[index, 1, 3 + down, 3 + right] == 4
        assert moved[index].sum() == 13
    assert best_displacement(frames, moved, 2).tolist() == list(range(25))
    # Uncovered pixels are black, and among equals no displacement comes first.
    assert displaced(torch.full((9, 1, 2, 2), 5.0), torch.arange(9), 1).sum() == 5 * (4 + 4 * 2 + 4 * 1)
    assert best_displacement(torch.zeros(1, 1, 6, 6), torch.zeros(1, 1, 6, 6), 2).item() == 0


def test_frames_of_moving_digits_are_displaced_previous_frames() -> None:
    video = to_levels(clips(), 8).transpose(1, 2)
    previous, frames = video[:, :-1].flatten(0, 1), video[:, 1:].flatten(0, 1)
    assert torch.equal(displaced(previous, best_displacement(previous, frames, 4), 4), frames)


def test_displacement_probabilities_sum_to_one_and_depend_on_context_and_vector() -> None:
    torch.manual_seed(0)
    motion = Motion(3, reach=2, width=8, vector_size=5)
    context, vector = torch.randn(2, 3, 12, 12), torch.randn(2, 5)
    log_probabilities = motion(context, vector)
    assert log_probabilities.shape == (2, 25)
    assert torch.allclose(log_probabilities.exp().sum(dim=1), torch.ones(2))
    assert not torch.allclose(log_probabilities, motion(context, -vector))
    assert not torch.allclose(log_probabilities, motion(context.roll(3, dims=3), vector))


def test_displacements_are_sampled_by_their_probabilities() -> None:
    log_probabilities = torch.tensor([[0.5, 0.3, 0.2]]).log().expand(10_000, -1)
    uniform = torch.linspace(0, 1, 10_001)[:-1]
    assert (sample_displacement(log_probabilities, uniform, 1.0).bincount() / 10_000).tolist() == pytest.approx(
        [0.5, 0.3, 0.2], abs=1e-3
    )
    # At temperature 0.5, probabilities to the power of four, like the density of a normal distribution of half the deviation.
    powers = torch.tensor([0.5, 0.3, 0.2]) ** 4
    colder = sample_displacement(log_probabilities, uniform, 0.5).bincount() / 10_000
    assert colder.tolist() == pytest.approx((powers / powers.sum()).tolist(), abs=1e-3)
    assert set(sample_displacement(log_probabilities, uniform, 0.0).tolist()) == {0}


def test_a_frame_costs_its_displacement_and_its_residual() -> None:
    torch.manual_seed(0)
    flow = FlowSpec(coupling="affine", width=8, levels=2, steps=1)
    glow = build((1, 16, 16), ModelSpec(state_channels=2, motion=4), flow, flow, num_frames=7, num_labels=0, num_words=0)
    levels = to_levels(clips()[:4], 8).transpose(1, 2)
    noise, conditioning = torch.rand(levels.shape), Conditioning(torch.zeros(4, dtype=torch.int64))
    with torch.no_grad():
        result = glow.log_probabilities(levels, noise, conditioning)
        later = glow.later_frames(levels, noise, conditioning)
        residual_nats = glow.tail(later.levels, later.noise, later.context)
    assert torch.allclose(result.later, residual_nats.view(4, 6) + result.displacement)
    # The residual of digits that moved is nothing but noise.
    assert later.context.expected is not None
    x, _ = glow.tail.dequantized(later.levels, later.noise)
    assert glow.tail.residual(x, later.context.expected)[0].abs().max() <= 0.5 + 1e-4
    # In a new model all displacements are about equally probable.
    assert result.displacement.mean().item() == pytest.approx(-math.log(81), abs=0.3)
    chosen = torch.tensor([[1, 4]] * 4)
    with torch.no_grad():
        partial = glow.log_probabilities(levels, noise, conditioning, chosen)
    expected = residual_nats.view(4, 6).gather(1, chosen) + result.displacement.mean(dim=1, keepdim=True)
    assert torch.allclose(partial.later, expected, rtol=1e-4)


def test_residuals_are_invertible_and_return_their_log_determinant() -> None:
    tail = FrameFlow((1, 4, 4), FlowSpec(width=4, levels=1, steps=1), ModelSpec(num_bits=5), context_channels=1)
    x, expected = torch.rand(2, 1, 4, 4).double() - 0.5, torch.rand(2, 1, 4, 4).double() - 0.5
    residual, logdet = tail.residual(x, expected)
    assert logdet == pytest.approx(16 * 5 * math.log(2))
    assert torch.allclose(tail.from_residual(residual, expected), x)
    assert tail.residual(x, None) == (x, 0.0)


def test_motion_without_the_previous_frame_is_refused() -> None:
    with pytest.raises(RequestError, match="motion 3 without previous_frame: the previous frame is what is displaced"):
        ModelSpec(motion=3, previous_frame=False)
    with pytest.raises(RequestError, match="motion -1: expected 0 for no motion, or more"):
        ModelSpec(motion=-1)

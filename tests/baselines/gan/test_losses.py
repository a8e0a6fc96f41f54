from __future__ import annotations

import math

import pytest
import torch

from baselines.gan import losses
from baselines.gan.losses import LossSpec
from t2vdata.errors import RequestError

# Scores whose losses are worked out by hand.
SCORES = torch.tensor([0.0, 2.0])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (losses.non_saturating_real, (math.log(2) + math.log(1 + math.exp(-2))) / 2),
        (losses.non_saturating_fake, (math.log(2) + math.log(1 + math.exp(2))) / 2),
        (losses.non_saturating_generator, (math.log(2) + math.log(1 + math.exp(-2))) / 2),
        (losses.least_squares_real, (1 + 1) / 2 / 2),
        (losses.least_squares_fake, (0 + 4) / 2 / 2),
        (losses.least_squares_generator, (1 + 1) / 2 / 2),
        (losses.hinge_real, (1 + 0) / 2),
        (losses.hinge_fake, (1 + 3) / 2),
        (losses.hinge_generator, -1.0),
        (losses.wasserstein_real, -1.0),
        (losses.wasserstein_fake, 1.0),
        (losses.wasserstein_generator, -1.0),
    ],
)
def test_losses_match_values_worked_out_by_hand(loss: object, expected: float) -> None:
    assert callable(loss)
    assert float(loss(SCORES)) == pytest.approx(expected)


def test_a_relativistic_pair_compares_clip_by_clip() -> None:
    better, worse = torch.tensor([3.0, 0.0]), torch.tensor([1.0, 1.0])
    expected = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2
    assert float(losses.relativistic_pair(better, worse)) == pytest.approx(expected)
    # A constant added to all scores changes nothing: only differences count.
    assert float(losses.relativistic_pair(better + 5, worse + 5)) == pytest.approx(expected)


@pytest.mark.parametrize("game", ["non-saturating", "least squares", "hinge", "wasserstein", "relativistic"])
def test_each_loss_rewards_discriminators_for_real_matched_clips_and_the_generator_for_fooling_them(
    game: losses.LossName,
) -> None:
    spec = LossSpec(game=game)
    real, wrong, generated = (torch.full((4,), 0.5, requires_grad=True) for _ in range(3))
    losses.discriminator_loss(spec, real, wrong, generated).backward()
    assert real.grad is not None
    assert wrong.grad is not None
    assert generated.grad is not None
    assert (real.grad < 0).all()
    assert (wrong.grad > 0).all()
    assert (generated.grad > 0).all()
    generated.grad = None
    losses.generator_loss(spec, generated, real.detach()).backward()
    assert generated.grad is not None
    assert (generated.grad < 0).all()


def test_the_discriminator_loss_weights_real_mismatched_and_generated_clips() -> None:
    spec = LossSpec(game="wasserstein", real=1.0, mismatched=0.5, generated=0.25)
    loss = losses.discriminator_loss(spec, torch.tensor([1.0]), torch.tensor([2.0]), torch.tensor([4.0]))
    assert float(loss) == pytest.approx(-1 + 0.5 * 2 + 0.25 * 4)


def test_the_default_weights_are_a_third_each() -> None:
    nothing_known = torch.zeros(2)
    loss = losses.discriminator_loss(LossSpec(), nothing_known, nothing_known, nothing_known)
    assert float(loss) == pytest.approx(math.log(2))


def test_a_relativistic_generator_needs_real_scores() -> None:
    with pytest.raises(RequestError, match="real is None; pass the scores"):
        losses.generator_loss(LossSpec(game="relativistic"), torch.zeros(1))


def linear_critic(clips: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return (clips * weight).flatten(1).sum(1)


def test_the_zero_centred_penalty_of_a_linear_critic_is_half_its_weights_square() -> None:
    weight = torch.randn(1, 4, 3, 3)
    clips = torch.randn(5, 1, 4, 3, 3, requires_grad=True)
    penalty = losses.zero_centred_penalty(linear_critic(clips, weight), clips)
    assert float(penalty) == pytest.approx(float(weight.square().sum()) / 2, rel=1e-5)


@pytest.mark.parametrize("norm", [0.0, 0.5, 1.0, 3.0])
def test_the_unit_norm_penalty_of_a_linear_critic_depends_on_its_weights_norm_alone(norm: float) -> None:
    weight = torch.randn(1, 4, 3, 3)
    weight = norm * weight / weight.norm()
    clips = torch.randn(5, 1, 4, 3, 3, requires_grad=True)
    penalty = losses.unit_norm_penalty(linear_critic(clips, weight), clips)
    assert float(penalty) == pytest.approx((norm - 1) ** 2, abs=1e-5)


def test_penalties_have_a_gradient_for_the_critic() -> None:
    weight = torch.full((1, 2, 2, 2), 1.0, requires_grad=True)
    clips = torch.randn(3, 1, 2, 2, 2, requires_grad=True)
    losses.zero_centred_penalty(linear_critic(clips, weight), clips).backward()
    # Of |w|^2 / 2.
    assert weight.grad is not None
    assert torch.allclose(weight.grad, weight.detach())


def test_the_unit_norm_penalty_has_a_gradient_at_zero() -> None:
    weight = torch.zeros(1, 2, 2, 2, requires_grad=True)
    clips = torch.randn(3, 1, 2, 2, 2, requires_grad=True)
    losses.unit_norm_penalty(linear_critic(clips, weight), clips).backward()
    assert weight.grad is not None
    assert weight.grad.isfinite().all()


def test_interpolated_clips_have_one_share_per_clip() -> None:
    ones, zeros = torch.ones(3, 1, 2, 4, 4), torch.zeros(3, 1, 2, 4, 4)
    points = losses.between_pairs(ones, zeros, torch.tensor([0.0, 0.25, 1.0]))
    assert [point.unique().tolist() for point in points] == [[0.0], [0.25], [1.0]]


def test_matching_is_the_cross_entropy_of_the_right_caption() -> None:
    similarity = torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    loss = losses.matching_loss(similarity, torch.tensor([0, 0]), temperature=0.5)
    right, unsure, wrong = math.log(1 + math.exp(-2)), math.log(2), math.log(1 + math.exp(2))
    assert float(loss) == pytest.approx((right + unsure + wrong + wrong) / 4)


def test_the_matching_weight_decays_linearly_to_zero() -> None:
    assert [LossSpec(matching=0.5, matching_steps=10).matching_at(step) for step in (0, 5, 10, 20)] == [0.5, 0.25, 0.0, 0.0]
    assert LossSpec(matching=0.5).matching_at(10**6) == 0.5


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"l1": -1.0}, "l1 -1.0: expected a weight"),
        ({"penalty_every": 0}, "penalty_every 0: expected a number of steps"),
        ({"temperature": 0.0}, "temperature 0.0: expected more than 0"),
        ({"between": 1.5}, "between 1.5: expected 0 to 1"),
        ({"generated": 0.0}, "would see no generated clip"),
    ],
)
def test_invalid_values_are_refused(values: dict[str, float], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        LossSpec(**values)  # type: ignore[arg-type]

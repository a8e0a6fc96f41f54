"""A learner steps, averages and refuses what would ruin it."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from baselines.learner import DivergedError, Learner, OptimiserSpec
from baselines.randomness import Draws


def learner(**values: object) -> Learner:
    torch.manual_seed(0)
    return Learner(nn.Linear(3, 1), OptimiserSpec(**values))


def loss(one: Learner) -> torch.Tensor:
    return one.module(torch.arange(12.0).view(4, 3)).square().mean()


@pytest.mark.parametrize(
    ("name", "peer"),
    [
        ("adam", lambda p: torch.optim.Adam(p, 0.1, (0.5, 0.9))),
        ("adamax", lambda p: torch.optim.Adamax(p, 0.1, (0.5, 0.9))),
        ("adamw", lambda p: torch.optim.AdamW(p, 0.1, (0.5, 0.9), weight_decay=0.0)),
        ("rmsprop", lambda p: torch.optim.RMSprop(p, 0.1, alpha=0.9)),
        ("sgd", lambda p: torch.optim.SGD(p, 0.1, momentum=0.5)),
    ],
)
def test_updates_are_those_of_torchs_optimiser(name: str, peer: object) -> None:
    ours = learner(name=name, lr=0.1, betas=(0.5, 0.9))
    torch.manual_seed(0)
    module = nn.Linear(3, 1)
    optimiser = peer(module.parameters())
    for _ in range(5):
        ours.backward(loss(ours))
        ours.update()
        optimiser.zero_grad()
        module(torch.arange(12.0).view(4, 3)).square().mean().backward()
        optimiser.step()
    assert torch.equal(ours.module.weight, module.weight)


def test_the_other_player_gets_no_gradient() -> None:
    generator, critic = nn.Linear(2, 3), learner()
    one = Learner(generator, OptimiserSpec())
    one.backward(critic.module(generator(torch.ones(1, 2))).mean())
    assert generator.weight.grad is not None
    assert critic.module.weight.grad is None


@pytest.mark.parametrize(
    ("values", "rates"),
    [
        ({"warmup_steps": 4}, [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]),
        ({"decay": "linear", "decay_steps": 4}, [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]),
        ({"decay": "linear", "decay_start": 2, "decay_steps": 2}, [1.0, 1.0, 1.0, 0.5, 0.0, 0.0]),
        ({"decay": "halve", "decay_steps": 2}, [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]),
        ({"decay": "cosine", "decay_steps": 2}, [1.0, 0.5, 0.0, 0.0, 0.0, 0.0]),
    ],
)
def test_the_rate_follows_its_schedule(values: dict[str, object], rates: list[float]) -> None:
    spec = OptimiserSpec(lr=1.0, **values)
    assert [spec.rate(update) for update in range(6)] == pytest.approx(rates)


def test_the_norm_of_the_gradient_is_clipped_and_told() -> None:
    one = learner(name="sgd", lr=1.0, betas=(0.0, 0.9), clip_norm=0.5)
    before = [parameter.clone() for parameter in one.module.parameters()]
    one.backward(loss(one))
    norm = one.update()
    moved = torch.cat([(a - b).flatten() for a, b in zip(before, one.module.parameters(), strict=True)]).detach()
    assert norm > 0.5
    assert moved.norm() == pytest.approx(0.5, rel=1e-4)


def test_weights_are_clipped_where_a_critic_needs_it() -> None:
    one = learner(lr=1.0, clip_weights=0.01)
    one.backward(loss(one))
    one.update()
    assert one.module.weight.abs().max() <= 0.01


def test_the_average_follows_the_weights_slowly() -> None:
    one = learner(lr=0.1, ema=0.9)
    seen = [one.module.weight.detach().clone()]
    for _ in range(200):
        one.backward(loss(one))
        one.update()
        seen.append(one.module.weight.detach().clone())
    expected = seen[0]
    for number, weight in enumerate(seen[1:], 1):
        kept = min(0.9, number / (number + 10))
        expected = kept * expected + (1 - kept) * weight
    assert torch.allclose(one.averaged.weight, expected, atol=1e-6)
    assert not one.averaged.weight.requires_grad
    assert learner().averaged is not None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_gradients_that_are_not_finite_are_refused_and_change_nothing(bad: float) -> None:
    one = learner()
    before = one.module.weight.clone()
    one.backward(loss(one) * bad)
    with pytest.raises(DivergedError, match=r"the gradient's norm is (nan|inf)"):
        one.update()
    assert torch.equal(one.module.weight, before)


def test_a_spike_is_refused_once_it_is_known_what_is_usual() -> None:
    one = learner(name="sgd", lr=1e-9, betas=(0.0, 0.9), spike=5.0)
    for _ in range(100):
        one.backward(loss(one))
        one.update()
    one.backward(4 * loss(one))
    one.update()
    one.backward(100 * loss(one))
    with pytest.raises(DivergedError, match=r"over 5 times its usual"):
        one.update()


def test_a_learner_goes_on_from_its_state() -> None:
    one = learner(lr=0.1, ema=0.9)
    for _ in range(3):
        one.backward(loss(one))
        one.update()
    other = learner(lr=0.1, ema=0.9)
    other.load_state_dict(one.state_dict())
    for each in (one, other):
        each.backward(loss(each))
        each.update()
    assert torch.equal(one.module.weight, other.module.weight)
    assert torch.equal(one.averaged.weight, other.averaged.weight)


def test_ranks_together_draw_what_one_process_draws() -> None:
    alone = Draws(7, 3)
    ranks = [Draws(7, 3, rank=rank, world=3) for rank in range(3)]
    for name in ("normal", "uniform"):
        everything = getattr(alone, name)(6, 2)
        assert torch.equal(torch.stack([getattr(one, name)(2, 2) for one in ranks], dim=1).view(6, 2), everything)
    assert len({tuple(one.permutation(5).tolist()) for one in ranks}) == 1
    assert len({one.own_seed for one in ranks}) == 3


def test_draws_depend_on_seed_step_and_use_alone() -> None:
    first = Draws(1, 2).normal(4)
    assert torch.equal(first, Draws(1, 2).normal(4))
    for other in (Draws(2, 2), Draws(1, 3), Draws(1, 2, use="sample")):
        assert not torch.equal(first, other.normal(4))

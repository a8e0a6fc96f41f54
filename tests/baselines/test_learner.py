"""A learner updates its network, averages the weights, and refuses updates that would ruin them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from baselines.learner import DivergedError, Learner, OptimiserSpec
from baselines.randomness import StepRandom


def make_learner(**values: object) -> Learner:
    torch.manual_seed(0)
    return Learner(nn.Linear(3, 1), OptimiserSpec(**values))


def loss(learner: Learner) -> torch.Tensor:
    return learner.module(torch.arange(12.0).view(4, 3)).square().mean()


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
def test_updates_equal_those_of_torchs_optimiser(name: str, peer: object) -> None:
    ours = make_learner(name=name, lr=0.1, betas=(0.5, 0.9))
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


def test_the_other_player_receives_no_gradient() -> None:
    generator, critic = nn.Linear(2, 3), make_learner()
    Learner(generator, OptimiserSpec()).backward(critic.module(generator(torch.ones(1, 2))).mean())
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


def test_the_gradient_is_clipped_and_its_norm_returned() -> None:
    learner = make_learner(name="sgd", lr=1.0, betas=(0.0, 0.9), clip_norm=0.5)
    before = [parameter.clone() for parameter in learner.module.parameters()]
    learner.backward(loss(learner))
    norm = learner.update()
    moved = torch.cat([(a - b).flatten() for a, b in zip(before, learner.module.parameters(), strict=True)]).detach()
    assert norm > 0.5
    assert moved.norm() == pytest.approx(0.5, rel=1e-4)


def test_weights_are_clipped_on_request() -> None:
    learner = make_learner(lr=1.0, clip_weights=0.01)
    learner.backward(loss(learner))
    learner.update()
    assert learner.module.weight.abs().max() <= 0.01


def test_the_average_follows_the_weights_slowly() -> None:
    learner = make_learner(lr=0.1, ema=0.9)
    weights = [learner.module.weight.detach().clone()]
    for _ in range(200):
        learner.backward(loss(learner))
        learner.update()
        weights.append(learner.module.weight.detach().clone())
    expected = weights[0]
    for update, weight in enumerate(weights[1:], 1):
        decay = min(0.9, update / (update + 10))
        expected = decay * expected + (1 - decay) * weight
    assert torch.allclose(learner.averaged.weight, expected, atol=1e-6)
    assert not learner.averaged.weight.requires_grad
    assert make_learner().averaged is not None


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_gradients_are_refused_and_change_nothing(bad: float) -> None:
    learner = make_learner()
    before = learner.module.weight.clone()
    learner.backward(loss(learner) * bad)
    with pytest.raises(DivergedError, match=r"gradient norm is (nan|inf)"):
        learner.update()
    assert torch.equal(learner.module.weight, before)


def test_a_spike_is_refused_once_the_usual_norm_is_known() -> None:
    learner = make_learner(name="sgd", lr=1e-9, betas=(0.0, 0.9), spike=5.0)
    for _ in range(100):
        learner.backward(loss(learner))
        learner.update()
    learner.backward(4 * loss(learner))
    learner.update()
    learner.backward(100 * loss(learner))
    with pytest.raises(DivergedError, match=r"over 5 times its usual"):
        learner.update()


def test_a_learner_resumes_from_its_state() -> None:
    learner = make_learner(lr=0.1, ema=0.9)
    for _ in range(3):
        learner.backward(loss(learner))
        learner.update()
    other = make_learner(lr=0.1, ema=0.9)
    other.load_state_dict(learner.state_dict())
    for resumed in (learner, other):
        resumed.backward(loss(resumed))
        resumed.update()
    assert torch.equal(learner.module.weight, other.module.weight)
    assert torch.equal(learner.averaged.weight, other.averaged.weight)


def test_ranks_together_have_the_random_numbers_of_one_process() -> None:
    alone = StepRandom(7, 3)
    ranks = [StepRandom(7, 3, rank=rank, world=3) for rank in range(3)]
    for name in ("normal", "uniform"):
        expected = getattr(alone, name)(6, 2)
        assert torch.equal(torch.stack([getattr(rank, name)(2, 2) for rank in ranks], dim=1).view(6, 2), expected)
    assert len({tuple(rank.permutation(5).tolist()) for rank in ranks}) == 1
    assert len({rank.rank_seed for rank in ranks}) == 3


def test_random_numbers_depend_only_on_seed_step_and_purpose() -> None:
    first = StepRandom(1, 2).normal(4)
    assert torch.equal(first, StepRandom(1, 2).normal(4))
    for other in (StepRandom(2, 2), StepRandom(1, 3), StepRandom(1, 2, purpose="sample")):
        assert not torch.equal(first, other.normal(4))

"""A complete Glow is invertible, its densities integrate to one, and it has the published numbers of parameters."""

from __future__ import annotations

import math

import pytest
import torch
from flows import FORMS, KINDS, clips, double_flow, random_features, shaken, spec

from baselines.glow.coupling import Injector
from baselines.glow.dequantisation import dequantized, to_levels
from baselines.glow.flow import Flow, FlowSpec, FlowStep, log_normal
from baselines.glow.layers import data_dependent_init, from_logits, is_initialised, to_logits
from t2vdata.errors import RequestError


def num_parameters(flow: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in flow.parameters())


@pytest.mark.parametrize("permutation", ["plain", "lu"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_flow_is_invertible_at_all_levels(levels: int, kind: str, form: str, permutation: str) -> None:
    flow = double_flow((2, 8, 16), spec(kind, form, permutation=permutation, levels=levels))
    x = torch.randn(3, 2, 8, 16, dtype=torch.float64)
    latents, log_determinant = flow(x)
    assert len(latents) == levels
    assert log_determinant.shape == (3,)
    assert (flow.inverse(latents) - x).abs().max() < 1e-9
    sampled = [0.5 * torch.randn_like(level) for level in latents]
    again, _ = flow(flow.inverse(sampled))
    assert max((a - b).abs().max() for a, b in zip(again, sampled, strict=True)) < 1e-9


@pytest.mark.parametrize("conditional_priors", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_flow_is_invertible_with_context(kind: str, conditional_priors: bool) -> None:
    flow = double_flow((1, 8, 8), spec(kind, conditional_priors=conditional_priors), context_channels=3, vector_size=5)
    x, context = torch.randn(3, 1, 8, 8, dtype=torch.float64), random_features(3, 3, 8)
    vector = torch.randn(3, 5, dtype=torch.float64)
    latents, _ = flow(x, context, vector)
    assert (flow.inverse(latents, context, vector) - x).abs().max() < 1e-9
    assert (flow.inverse(latents, random_features(3, 3, 8), vector) - x).abs().max() > 1e-3


@pytest.mark.parametrize("injector", [False, True])
def test_a_flow_of_logits_is_invertible_and_returns_its_determinant(injector: bool) -> None:
    flow = double_flow((1, 4, 8), spec(pixels="logit", injector=injector), context_channels=3)
    x = torch.rand(1, 1, 4, 8, dtype=torch.float64) - 0.5
    context = [torch.randn(1, 3, *size, dtype=torch.float64) for size in ((2, 4), (1, 2))]
    latents, log_determinant = flow(x, context)
    assert (flow.inverse(latents, context) - x).abs().max() < 1e-9
    jacobian = torch.autograd.functional.jacobian(
        lambda image: torch.cat([part.flatten() for part in flow(image, context)[0]]), x
    ).reshape(32, 32)
    assert log_determinant.item() == pytest.approx(torch.linalg.slogdet(jacobian)[1].item(), abs=1e-10)


def test_an_injector_depends_only_on_the_context() -> None:
    injector = shaken(Injector(4, spec(), context_channels=3, vector_size=5).double(), 0.1)
    x, context, vector = torch.randn(2, 4, 6, 6).double(), torch.randn(2, 3, 6, 6).double(), torch.randn(2, 5).double()
    y, log_determinant = injector(x, context, vector)
    assert (injector.inverse(y, context, vector) - x).abs().max() < 1e-12
    # Factor, shift and determinant are the same for any x.
    other, same = injector(x + 1, context, vector)
    assert torch.equal(same, log_determinant)
    assert torch.allclose(injector(x + 2, context, vector)[0] - other, other - y)
    assert (other - y).log().flatten(1).sum(dim=1).tolist() == pytest.approx(log_determinant.tolist())


def test_logits_make_a_black_background_vary_as_much_as_a_digit() -> None:
    black, grey = (dequantized(torch.full((1, 1, 64, 64), level), torch.rand(1, 1, 64, 64), 8) for level in (0.0, 128.0))
    assert black.std().item() == pytest.approx(grey.std().item(), rel=0.1)
    assert to_logits(black)[0].std() > 20 * to_logits(grey)[0].std()
    assert (from_logits(to_logits(black)[0]) - black).abs().max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_every_level_depends_on_its_context_and_the_vector(kind: str) -> None:
    flow = double_flow((1, 8, 8), spec(kind), context_channels=3, vector_size=5)
    x, context, vector = torch.randn(1, 1, 8, 8).double(), random_features(1, 3, 8), torch.randn(1, 5).double()
    inputs = [tensor.requires_grad_() for tensor in (*context, vector)]
    flow.log_density(x, context, vector).sum().backward()
    assert all(tensor.grad.abs().max() > 1e-6 for tensor in inputs)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_log_determinant_is_that_of_the_jacobian(kind: str, form: str, conditional: bool) -> None:
    sizes = {"context_channels": 3, "vector_size": 5} if conditional else {}
    flow = double_flow((1, 4, 8), spec(kind, form, conditional_priors=conditional), **sizes)
    x = torch.randn(1, 1, 4, 8, dtype=torch.float64)
    conditions: tuple[object, ...] = ()
    if conditional:
        features = [torch.randn(*shape, dtype=torch.float64) for shape in ((1, 3, 2, 4), (1, 3, 1, 2))]
        conditions = (features, torch.randn(1, 5, dtype=torch.float64))

    def latents(image: torch.Tensor) -> torch.Tensor:
        return torch.cat([part.flatten() for part in flow(image, *conditions)[0]])

    jacobian = torch.autograd.functional.jacobian(latents, x).reshape(32, 32)
    assert flow(x, *conditions)[1].item() == pytest.approx(torch.linalg.slogdet(jacobian)[1].item(), abs=1e-10)


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_there_are_as_many_latents_as_pixels(levels: int) -> None:
    flow = Flow((3, 16, 32), spec(levels=levels))
    shapes = flow.latent_shapes()
    assert sum(math.prod(shape) for shape in shapes) == 3 * 16 * 32
    assert [tuple(level.shape[1:]) for level in flow(torch.randn(1, 3, 16, 32))[0]] == shapes


@pytest.mark.parametrize("kind", KINDS)
def test_a_density_integrates_to_one(kind: str) -> None:
    # Over the four pixels of an image of 2x2, by importance sampling.
    flow = double_flow((1, 2, 2), spec(kind, levels=1))
    torch.manual_seed(1)
    wide, count = 2.0, 20_000
    x = torch.randn(count, 1, 2, 2, dtype=torch.float64) * wide
    log_proposal = log_normal(x / wide) - 4 * math.log(wide)
    with torch.no_grad():
        weights = (flow.log_density(x) - log_proposal).exp()
    error = weights.std().item() / math.sqrt(count)
    assert error < 0.05
    assert weights.mean().item() == pytest.approx(1, abs=4 * error)


def test_a_density_of_two_numbers_integrates_to_one_on_a_grid() -> None:
    torch.manual_seed(0)
    step = shaken(FlowStep(2, spec("affine")).double(), 0.1)
    side = torch.linspace(-12, 12, 201, dtype=torch.float64)
    points = torch.cartesian_prod(side, side).reshape(-1, 2, 1, 1)
    with torch.no_grad():
        y, log_determinant = step(points)
        total = (log_normal(y) + log_determinant).exp().sum() * (side[1] - side[0]) ** 2
    assert total.item() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("conditional", [False, True])
def test_checkpointing_changes_neither_density_nor_gradients(conditional: bool) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 1, 8, 8, dtype=torch.float64)
    sizes = {"context_channels": 3, "vector_size": 5} if conditional else {}
    conditions = (random_features(2, 3, 8), torch.randn(2, 5, dtype=torch.float64)) if conditional else ()
    inputs = [tensor.requires_grad_() for tensor in (*conditions[0], conditions[1])] if conditional else []
    results = []
    for is_checkpointed in (False, True):
        flow = double_flow((1, 8, 8), spec(checkpoint=is_checkpointed, conditional_priors=conditional), **sizes)
        density = flow.log_density(x, *conditions)
        results.append((density, torch.autograd.grad(density.sum(), [*flow.parameters(), *inputs])))
    (plain, plain_gradients), (checkpointed, checkpointed_gradients) = results
    assert torch.equal(plain, checkpointed)
    assert all(torch.equal(a, b) for a, b in zip(plain_gradients, checkpointed_gradients, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_flow_is_invertible_in_float32_on_constant_backgrounds(kind: str) -> None:
    # Most pixels of these frames are 0, with the noise of one level in 256, which training tends to magnify.
    torch.manual_seed(0)
    frames = to_levels(clips()[:, :, 0], 8)
    flow = Flow((1, 16, 16), spec(kind))
    optimiser = torch.optim.Adamax(flow.parameters(), lr=5e-3)
    generator = torch.Generator().manual_seed(0)
    x = dequantized(frames, torch.rand(frames.shape, generator=generator), 8)
    with data_dependent_init(flow), torch.no_grad():
        flow(x)
    assert is_initialised(flow)
    losses = []
    for _ in range(50):
        x = dequantized(frames, torch.rand(frames.shape, generator=generator), 8)
        loss = -flow.log_density(x).mean() / x[0].numel()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.5
    blank = dequantized(torch.zeros(4, 1, 16, 16), torch.rand(4, 1, 16, 16, generator=generator), 8)
    flat = dequantized(torch.zeros(4, 1, 16, 16), 0.5, 8)
    with torch.no_grad():
        for images in (x, blank, flat):
            assert (flow.inverse(flow(images)[0]) - images).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("side", "levels", "kind", "permutation", "expected"),
    [
        (32, 3, "affine", "plain", 43_996_080),
        (32, 3, "affine", "lu", 44_095_536),
        (64, 4, "additive", "lu", 61_214_032),
        (64, 4, "additive", "plain", 60_816_592),
        (64, 4, "affine", "lu", 74_490_832),
    ],
)
def test_flows_have_the_published_numbers_of_parameters(
    side: int, levels: int, kind: str, permutation: str, expected: int
) -> None:
    with torch.device("meta"):
        flow = Flow((3, side, side), FlowSpec(kind, "cglow", levels=levels, permutation=permutation))
    assert num_parameters(flow) == expected


def test_the_official_form_is_larger_by_its_norms_and_borders() -> None:
    # In each step, biases become norms of twice the size, and both 3x3 convolutions gain a border channel.
    with torch.device("meta"):
        plain = num_parameters(Flow((3, 32, 32), FlowSpec("affine", "cglow")))
        official = num_parameters(Flow((3, 32, 32), FlowSpec("affine", "official")))
    outputs = (12, 24, 48)
    steps = 32 * sum(2 * 512 + 9 * 512 + 9 * num_outputs for num_outputs in outputs)
    priors = 9 * sum((12, 24, 96))
    assert official - plain == steps + priors


def test_images_that_cannot_be_halved_are_refused() -> None:
    with pytest.raises(
        RequestError, match="images of 24x20 cannot be halved 3 times; expected multiples of 8, or fewer levels"
    ):
        Flow((1, 24, 20), spec(levels=3))
    with pytest.raises(RequestError, match="a Glow of 0 levels with 2 steps each: expected 1 or more of both"):
        spec(levels=0)

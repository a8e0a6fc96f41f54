"""A whole Glow undoes itself, gives densities that are densities, and is as large as the ones in print."""

from __future__ import annotations

import math

import pytest
import torch
from flows import FORMS, KINDS, clips, context_of, doubled, shaken, spec

from baselines.glow.coupling import Injector
from baselines.glow.dequantisation import levels_of, place
from baselines.glow.flow import Flow, FlowSpec, FlowStep, log_normal
from baselines.glow.layers import is_measured, measuring, spread, unspread
from t2vdata.errors import RequestError


def size(flow: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in flow.parameters())


@pytest.mark.parametrize("permutation", ["plain", "lu"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_flow_undoes_itself_at_all_levels(levels: int, kind: str, form: str, permutation: str) -> None:
    flow = doubled((2, 8, 16), spec(kind, form, permutation=permutation, levels=levels))
    x = torch.randn(3, 2, 8, 16, dtype=torch.float64)
    latents, log_determinant = flow(x)
    assert len(latents) == levels
    assert log_determinant.shape == (3,)
    assert (flow.inverse(latents) - x).abs().max() < 1e-9
    drawn = [0.5 * torch.randn_like(one) for one in latents]
    assert max((a - b).abs().max() for a, b in zip(flow(flow.inverse(drawn))[0], drawn, strict=True)) < 1e-9


@pytest.mark.parametrize("conditional_priors", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_flow_undoes_itself_with_context(kind: str, conditional_priors: bool) -> None:
    flow = doubled((1, 8, 8), spec(kind, conditional_priors=conditional_priors), context=3, vector=5)
    x, context = torch.randn(3, 1, 8, 8, dtype=torch.float64), context_of(3, 3, 8)
    vector = torch.randn(3, 5, dtype=torch.float64)
    latents, _ = flow(x, context, vector)
    assert (flow.inverse(latents, context, vector) - x).abs().max() < 1e-9
    assert (flow.inverse(latents, context_of(3, 3, 8), vector) - x).abs().max() > 1e-3


@pytest.mark.parametrize("injector", [False, True])
def test_a_flow_of_logits_undoes_itself_and_knows_its_determinant(injector: bool) -> None:
    flow = doubled((1, 4, 8), spec(pixels="logit", injector=injector), context=3)
    x = torch.rand(1, 1, 4, 8, dtype=torch.float64) - 0.5
    context = [torch.randn(1, 3, *size, dtype=torch.float64) for size in ((2, 4), (1, 2))]
    latents, log_determinant = flow(x, context)
    assert (flow.inverse(latents, context) - x).abs().max() < 1e-9
    jacobian = torch.autograd.functional.jacobian(
        lambda one: torch.cat([part.flatten() for part in flow(one, context)[0]]), x
    ).reshape(32, 32)
    assert log_determinant.item() == pytest.approx(torch.linalg.slogdet(jacobian)[1].item(), abs=1e-10)


def test_an_injector_changes_what_context_alone_decides() -> None:
    injector = shaken(Injector(4, spec(), context=3, vector=5).double(), 0.1)
    x, context, vector = torch.randn(2, 4, 6, 6).double(), torch.randn(2, 3, 6, 6).double(), torch.randn(2, 5).double()
    y, log_determinant = injector(x, context, vector)
    assert (injector.inverse(y, context, vector) - x).abs().max() < 1e-12
    # The same factor and shift for any x, with a determinant that does not depend on it.
    other, same = injector(x + 1, context, vector)
    assert torch.equal(same, log_determinant)
    assert torch.allclose(injector(x + 2, context, vector)[0] - other, other - y)
    assert (other - y).log().flatten(1).sum(dim=1).tolist() == pytest.approx(log_determinant.tolist())


def test_logits_spread_a_black_background_as_wide_as_a_digit() -> None:
    black, grey = (place(torch.full((1, 1, 64, 64), level), torch.rand(1, 1, 64, 64), 8) for level in (0.0, 128.0))
    assert black.std().item() == pytest.approx(grey.std().item(), rel=0.1)
    assert spread(black)[0].std() > 20 * spread(grey)[0].std()
    assert (unspread(spread(black)[0]) - black).abs().max() < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_every_level_hears_its_context_and_the_vector(kind: str) -> None:
    flow = doubled((1, 8, 8), spec(kind), context=3, vector=5)
    x, context, vector = torch.randn(1, 1, 8, 8).double(), context_of(1, 3, 8), torch.randn(1, 5).double()
    heard = [one.requires_grad_() for one in (*context, vector)]
    flow.log_density(x, context, vector).sum().backward()
    assert all(one.grad.abs().max() > 1e-6 for one in heard)


@pytest.mark.parametrize("conditional", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_log_determinant_is_that_of_the_jacobian(kind: str, form: str, conditional: bool) -> None:
    widths = {"context": 3, "vector": 5} if conditional else {}
    flow = doubled((1, 4, 8), spec(kind, form, conditional_priors=conditional), **widths)
    x = torch.randn(1, 1, 4, 8, dtype=torch.float64)
    known: tuple[object, ...] = ()
    if conditional:
        sizes = ((1, 3, 2, 4), (1, 3, 1, 2))
        known = ([torch.randn(*one, dtype=torch.float64) for one in sizes], torch.randn(1, 5, dtype=torch.float64))

    def latents(one: torch.Tensor) -> torch.Tensor:
        return torch.cat([part.flatten() for part in flow(one, *known)[0]])

    jacobian = torch.autograd.functional.jacobian(latents, x).reshape(32, 32)
    assert flow(x, *known)[1].item() == pytest.approx(torch.linalg.slogdet(jacobian)[1].item(), abs=1e-10)


@pytest.mark.parametrize("levels", [1, 2, 4])
def test_latents_are_as_many_as_pixels(levels: int) -> None:
    flow = Flow((3, 16, 32), spec(levels=levels))
    shapes = flow.latent_shapes()
    assert sum(math.prod(one) for one in shapes) == 3 * 16 * 32
    assert [tuple(one.shape[1:]) for one in flow(torch.randn(1, 3, 16, 32))[0]] == shapes


@pytest.mark.parametrize("kind", KINDS)
def test_a_density_integrates_to_one(kind: str) -> None:
    # Over the four pixels of an image of 2x2, by importance sampling.
    flow = doubled((1, 2, 2), spec(kind, levels=1))
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
    widths = {"context": 3, "vector": 5} if conditional else {}
    known = (context_of(2, 3, 8), torch.randn(2, 5, dtype=torch.float64)) if conditional else ()
    heard = [one.requires_grad_() for one in (*known[0], known[1])] if conditional else []
    found = []
    for is_checkpointed in (False, True):
        flow = doubled((1, 8, 8), spec(checkpoint=is_checkpointed, conditional_priors=conditional), **widths)
        density = flow.log_density(x, *known)
        found.append((density, torch.autograd.grad(density.sum(), [*flow.parameters(), *heard])))
    assert torch.equal(found[0][0], found[1][0])
    assert all(torch.equal(a, b) for a, b in zip(found[0][1], found[1][1], strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_a_trained_flow_undoes_itself_in_float32_on_constant_backgrounds(kind: str) -> None:
    # Most pixels of these frames are 0, with the noise of one level in 256: the flow is tempted to blow them up.
    torch.manual_seed(0)
    frames = levels_of(clips()[:, :, 0], 8)
    flow = Flow((1, 16, 16), spec(kind))
    optimiser = torch.optim.Adamax(flow.parameters(), lr=5e-3)
    draws = torch.Generator().manual_seed(0)
    x = place(frames, torch.rand(frames.shape, generator=draws), 8)
    with measuring(flow), torch.no_grad():
        flow(x)
    assert is_measured(flow)
    losses = []
    for _ in range(50):
        x = place(frames, torch.rand(frames.shape, generator=draws), 8)
        loss = -flow.log_density(x).mean() / x[0].numel()
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 5.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.5
    blank = place(torch.zeros(4, 1, 16, 16), torch.rand(4, 1, 16, 16, generator=draws), 8)
    flat = place(torch.zeros(4, 1, 16, 16), 0.5, 8)
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
def test_flows_are_as_large_as_those_in_print(side: int, levels: int, kind: str, permutation: str, expected: int) -> None:
    with torch.device("meta"):
        made = FlowSpec(kind, "cglow", levels=levels, permutation=permutation)
        assert size(Flow((3, side, side), made)) == expected


def test_the_official_form_is_larger_by_its_norms_and_borders() -> None:
    # Of each step: biases become norms of twice the size, and a border channel joins the inputs of both 3x3 convolutions.
    with torch.device("meta"):
        plain = size(Flow((3, 32, 32), FlowSpec("affine", "cglow")))
        official = size(Flow((3, 32, 32), FlowSpec("affine", "official")))
    outputs = (12, 24, 48)
    steps = 32 * sum(2 * 512 + 9 * 512 + 9 * one for one in outputs)
    priors = 9 * sum((12, 24, 96))
    assert official - plain == steps + priors


def test_an_image_that_cannot_be_halved_is_refused() -> None:
    with pytest.raises(
        RequestError, match="images of 24x20 cannot be halved 3 times; expected multiples of 8, or fewer levels"
    ):
        Flow((1, 24, 20), spec(levels=3))
    with pytest.raises(RequestError, match="a Glow of 0 levels with 2 steps each: expected 1 or more of both"):
        spec(levels=0)

"""Each layer of a Glow is invertible, and its log-determinant is that of its Jacobian."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from flows import FORMS, KINDS, shaken, spec
from torch import nn

from baselines.glow.coupling import Coupling, CouplingSpec
from baselines.glow.flow import FlowStep
from baselines.glow.layers import (
    ActNorm,
    Convolution,
    Permutation,
    ZeroConvolution,
    data_dependent_init,
    is_initialised,
    squeeze,
    unsqueeze,
)
from t2vdata.errors import RequestError, UnknownNameError

CHANNELS = 4
LAYERS: dict[str, Callable[[], nn.Module]] = {
    "actnorm": lambda: ActNorm(CHANNELS),
    "plain 1x1": lambda: Permutation(CHANNELS, "plain"),
    "lu 1x1": lambda: Permutation(CHANNELS, "lu"),
    **{f"{kind} {form}": lambda k=kind, f=form: Coupling(CHANNELS, CouplingSpec(k, f, 8)) for kind in KINDS for form in FORMS},
    "step": lambda: FlowStep(CHANNELS, spec()),
}


def make_layer(name: str, dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    return shaken(LAYERS[name]().to(dtype), 0.1)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_invertible(name: str, dtype: torch.dtype, error: float) -> None:
    layer, x = make_layer(name, dtype), torch.randn(3, CHANNELS, 4, 6, dtype=dtype)
    y, log_determinant = layer(x)
    assert log_determinant.shape == (3,)
    assert (y - x).abs().max() > 0.01
    assert (layer.inverse(y) - x).abs().max() < error


@pytest.mark.parametrize("name", LAYERS)
def test_the_log_determinant_is_that_of_the_jacobian(name: str) -> None:
    layer, x = make_layer(name, torch.float64), torch.randn(1, CHANNELS, 2, 4, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda image: layer(image)[0], x).reshape(x.numel(), x.numel())
    assert layer(x)[1].item() == pytest.approx(torch.linalg.slogdet(jacobian)[1].item(), abs=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_a_coupling_layer_is_invertible_with_context_and_vector(kind: str) -> None:
    layer = shaken(Coupling(CHANNELS, CouplingSpec(kind, "official", 8), context_channels=3, vector_size=5).double())
    x, context, vector = (torch.randn(*shape, dtype=torch.float64) for shape in ((2, CHANNELS, 4, 4), (2, 3, 4, 4), (2, 5)))
    y, _ = layer(x, context, vector)
    assert (layer.inverse(y, context, vector) - x).abs().max() < 1e-9
    assert (layer(x, context + 1, vector)[0] - y).abs().max() > 1e-3
    assert (layer(x, context, vector + 1)[0] - y).abs().max() > 1e-3


def test_squeezing_moves_squares_into_channels_and_back() -> None:
    x = torch.arange(2 * 3 * 4 * 6.0).reshape(2, 3, 4, 6)
    y = squeeze(x)
    assert y.shape == (2, 12, 2, 3)
    assert torch.equal(y[0, :4, 0, 0], x[0, 0, :2, :2].flatten())
    assert torch.equal(unsqueeze(y), x)


@pytest.mark.parametrize("channels", [4, 12])
def test_the_two_kinds_of_1x1_convolution_start_as_rotations(channels: int) -> None:
    for kind in ("plain", "lu"):
        layer = Permutation(channels, kind)
        assert torch.allclose(layer.weight() @ layer.weight().T, torch.eye(channels), atol=1e-5)
        assert layer(torch.randn(1, channels, 2, 2))[1].abs() < 1e-4


# ActNorm


def test_only_the_first_batch_initialises_actnorm() -> None:
    norm, x = ActNorm(3), torch.randn(64, 3, 4, 4) * torch.tensor([0.1, 1, 5]).view(1, 3, 1, 1) + 7
    assert torch.equal(norm(x)[0], x)
    with data_dependent_init(norm):
        y, _ = norm(x)
    assert y.mean(dim=(0, 2, 3)).abs().max() < 1e-4
    assert (y.std(dim=(0, 2, 3)) - 1).abs().max() < 1e-2
    before = norm.bias.clone()
    with data_dependent_init(norm):
        norm(x + 100)
    norm(x + 100)
    assert torch.equal(norm.bias, before)


def test_a_loaded_actnorm_stays_initialised() -> None:
    norm, copy = ActNorm(2), ActNorm(2)
    with data_dependent_init(norm):
        norm(torch.randn(8, 2, 2, 2) + 3)
    assert not is_initialised(copy)
    copy.load_state_dict(norm.state_dict())
    assert is_initialised(copy)
    with data_dependent_init(copy):
        copy(torch.randn(8, 2, 2, 2) - 50)
    assert torch.equal(copy.bias, norm.bias)


def test_a_constant_channel_is_not_magnified() -> None:
    norm, x = ActNorm(2), torch.full((4, 2, 4, 4), 0.25)
    with data_dependent_init(norm):
        y, _ = norm(x)
    assert y.abs().max() < 1e-3
    assert norm(x + 1e-3)[0].abs().max() < 1.1
    assert (norm.inverse(y) - x).abs().max() < 1e-6


def test_an_actnorm_that_is_not_learned_has_buffers_instead_of_parameters() -> None:
    norm = ActNorm(2, is_learned=False)
    assert not list(norm.parameters())
    assert set(norm.state_dict()) == {"bias", "logs", "initialised"}


# Convolutions


@pytest.mark.parametrize("borders", ["ones", "channel"])
def test_borders_equal_explicit_padding(borders: str) -> None:
    layer, x = Convolution(2, 5, borders, bias=True).double(), torch.randn(3, 2, 4, 6, dtype=torch.float64)
    padded = nn.functional.pad(x, (1, 1, 1, 1), value=1.0 if borders == "ones" else 0.0)
    if borders == "channel":
        ring = torch.ones(3, 1, 6, 8, dtype=torch.float64)
        ring[:, :, 1:-1, 1:-1] = 0
        padded = torch.cat([padded, ring], dim=1)
    expected = nn.functional.conv2d(padded, layer.weight, layer.bias)
    assert torch.allclose(layer(x), expected, atol=1e-12)


def test_a_zero_convolution_starts_at_zero_and_can_learn() -> None:
    layer, x = ZeroConvolution(2, 3, "channel"), torch.randn(2, 2, 4, 4)
    assert not layer(x).any()
    (layer(x) - 1).square().sum().backward()
    assert layer.convolution.weight.grad.abs().max() > 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_additive_coupling_is_the_identity_and_an_affine_one_nearly(kind: str) -> None:
    x = torch.randn(2, 4, 4, 4)
    y, log_determinant = Coupling(4, CouplingSpec(kind, "official", 8))(x)
    factor = 1.0 if kind == "additive" else 0.1 + 0.9 * torch.sigmoid(torch.tensor(2.0))
    assert torch.allclose(y[:, 2:], x[:, 2:] * factor)
    assert torch.equal(y[:, :2], x[:, :2])
    assert torch.allclose(log_determinant, torch.full((2,), 32.0) * torch.as_tensor(factor).log())


def test_layers_keep_float32_under_autocast() -> None:
    x = torch.randn(2, CHANNELS, 4, 4) * 10
    layer = make_layer("step", torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y, log_determinant = layer(x)
        back = layer.inverse(y)
    assert y.dtype == log_determinant.dtype == torch.float32
    assert (back - x).abs().max() < 1e-4
    # Low precision changes the coupling networks a little, and the other layers not at all.
    coarse, fine = y[:, :2], layer(x)[0][:, :2]
    assert torch.equal(coarse, fine)


def test_invalid_specs_are_refused() -> None:
    with pytest.raises(UnknownNameError, match="no coupling 'afine'; did you mean 'affine'"):
        CouplingSpec("afine")
    with pytest.raises(RequestError, match="width 0 of coupling networks: expected 1 channel or more"):
        CouplingSpec(width=0)
    with pytest.raises(RequestError, match=r"least_scale 1: expected 0, or a factor below 1 such as 0\.1"):
        CouplingSpec(least_scale=1)

"""Features have the sizes of their levels, the state carries earlier frames, and parameter counts are the published ones."""

from __future__ import annotations

import pytest
import torch
from flows import shaken

from baselines.glow.context import ContextProcessor, Pyramid
from baselines.glow.flow import FlowSpec
from baselines.glow.layers import data_dependent_init, is_initialised
from baselines.glow.spec import ModelSpec
from baselines.glow.video import build
from t2vdata.errors import RequestError, UnknownNameError

PAPER = {"coupling": "additive", "form": "cglow", "width": 512, "levels": 4, "permutation": "lu"}


def num_parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_features_have_the_sizes_of_the_levels() -> None:
    features = Pyramid(5, 4)(torch.randn(2, 5, 32, 16))
    assert [tuple(level.shape[1:]) for level in features] == [(20, 16, 8), (20, 8, 4), (20, 4, 2), (20, 2, 1)]


def test_the_processor_has_the_published_number_of_parameters() -> None:
    # 19 to 32 to 16 channels; its norms do not learn.
    assert num_parameters(ContextProcessor(3, 16)) == 10_128


@pytest.mark.parametrize(
    ("settings", "steps", "head", "tail"),
    [
        ({}, 1, 61_214_032, 3_527_237),
        ({"label": "image"}, 1, 68_292_901 + 2_469_888, 3_527_237),
        ({}, 2, 61_214_032, 6_835_381),
        ({"state_channels": 0}, 1, 61_214_032, 2_309_525),
        ({"state_channels": 0}, 2, 61_214_032, 4_438_021),
    ],
)
def test_head_and_tail_have_the_published_numbers_of_parameters(
    settings: dict[str, object], steps: int, head: int, tail: int
) -> None:
    with torch.device("meta"):
        glow = build(
            (3, 64, 64), ModelSpec(num_bits=5, **settings), FlowSpec(**PAPER), FlowSpec(**PAPER, steps=steps),
            num_frames=30, num_labels=201, num_words=0,
        )  # fmt: skip
    assert num_parameters(glow.head) == head
    assert num_parameters(glow.tail) == tail
    assert (glow.state is None) == (settings.get("state_channels") == 0)


def test_the_state_depends_on_all_earlier_frames_and_on_no_later_one() -> None:
    torch.manual_seed(0)
    processor, frames = shaken(ContextProcessor(1, 4, num_frames=5)), torch.randn(2, 5, 1, 8, 8)
    states = processor.states(frames)
    assert states.shape == (2, 5, 4, 8, 8)
    other = frames.clone()
    other[:, 2] += 1
    changed = (processor.states(other) - states).abs().amax(dim=(0, 2, 3, 4))
    assert changed[:2].max() == 0
    assert changed[2:].min() > 1e-3


def test_frames_beyond_the_training_length_use_the_last_norm() -> None:
    processor, frames = ContextProcessor(1, 4, num_frames=2), torch.randn(3, 4, 1, 4, 4)
    with data_dependent_init(processor):
        processor.states(frames[:, :2])
    assert is_initialised(processor)
    assert processor.states(frames).isfinite().all()


def test_invalid_model_specs_are_refused() -> None:
    with pytest.raises(RequestError, match="num_bits 9: expected 1 to 8"):
        ModelSpec(num_bits=9)
    with pytest.raises(RequestError, match="state_channels -1: expected 0 for no state, or more"):
        ModelSpec(state_channels=-1)
    with pytest.raises(UnknownNameError, match="no label 'vectors'; did you mean 'vector'"):
        ModelSpec(label="vectors")
    with pytest.raises(RequestError, match="label_in_tail with label 'image': expected label vector or caption"):
        ModelSpec(label="image", label_in_tail=True)

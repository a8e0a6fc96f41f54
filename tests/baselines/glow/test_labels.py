"""Why labels as images did not learn, and why labels as vectors do."""

from __future__ import annotations

import math

import pytest
import torch
from flows import shaken

from baselines.glow.flow import FlowSpec
from baselines.glow.labels import NUM_MEANINGS, MeaningVectors, Places, Sentences, meaning_number
from baselines.glow.spec import ModelSpec
from baselines.glow.video import FrameFlow, Told, _describer
from t2vdata.errors import RequestError

ADAM_EPSILON = 1e-8
SHAPE = (3, 64, 64)
DIMENSIONS = math.prod(SHAPE)


def label_gradient(form: str, *, summed: bool) -> torch.Tensor:
    """Return the gradient that the labels of one batch of 8 receive."""
    torch.manual_seed(0)
    spec, model = FlowSpec(width=16, levels=4, steps=1, form="cglow"), ModelSpec(num_bits=5, label=form)
    head = shaken(FrameFlow(SHAPE, spec, model, describer=_describer(SHAPE, model, 201, 0)), 0.01)
    levels, told = torch.randint(0, 32, (8, *SHAPE)).float(), Told(torch.arange(8))
    loss = -head(levels, torch.rand(8, *SHAPE), head.describe(told)).mean()
    loss = loss if summed else loss / (DIMENSIONS * math.log(2))
    loss.backward()
    described = head.describer.images if form == "image" else head.describer.vectors.weight
    return described.grad[:8]


def rms(gradient: torch.Tensor) -> float:
    return float(gradient.square().mean().sqrt())


def test_the_papers_labels_receive_gradients_near_adams_epsilon() -> None:
    # So small that the epsilon which Adam adds to their root mean square holds them back.
    per_dimension = label_gradient("image", summed=False)
    assert 0 < rms(per_dimension) < 10 * ADAM_EPSILON
    in_nats = label_gradient("image", summed=True)
    assert rms(in_nats) / rms(per_dimension) == pytest.approx(DIMENSIONS * math.log(2), rel=1e-3)


def test_vectors_with_a_loss_in_nats_receive_gradients_far_above_it() -> None:
    assert rms(label_gradient("vector", summed=True)) > 1000 * rms(label_gradient("image", summed=False))
    assert rms(label_gradient("vector", summed=True)) > 1000 * ADAM_EPSILON


@pytest.mark.parametrize(("epsilon", "least", "most"), [(1e-8, 0.0, 0.02), (1e-20, 0.1, 0.3)])
def test_an_images_entry_moves_a_hundredth_in_all_of_training(epsilon: float, least: float, most: float) -> None:
    # Gradients of 3.2e-9 that always agree, in the 500 steps of 12,500 in which an epoch shows a label, at 1e-4. Entries of
    # N(0, 1) that move by 0.02 have learned nothing.
    entry = torch.nn.Parameter(torch.zeros(()))
    optimiser = torch.optim.Adam([entry], lr=1e-4, eps=epsilon, foreach=False)
    for step in range(12_500):
        entry.grad = torch.tensor(3.2e-9 if step % 25 == 0 else 0.0)
        optimiser.step()
    assert least < abs(float(entry.detach())) < most


def test_a_vector_changes_nothing_before_it_has_learned() -> None:
    model = ModelSpec(label="vector", label_size=6)
    shape = (1, 8, 8)
    head = FrameFlow(shape, FlowSpec(width=8, levels=2, steps=2), model, describer=_describer(shape, model, 5, 0))
    levels, noise = torch.randint(0, 256, (5, *shape)).float(), torch.rand(5, *shape)
    with torch.no_grad():
        found = [head(levels, noise, head.describe(Told(torch.full((5,), label)))) for label in (0, 3)]
    assert torch.equal(found[0], found[1])


def test_clips_of_one_digit_share_half_of_their_vector() -> None:
    vectors = MeaningVectors(6)
    up, left, other = (vectors(torch.tensor([meaning_number(f"the digit {words}")]))[0] for words in (
        "3 is moving up and down", "3 is moving left and right", "4 is moving left and right"))  # fmt: skip
    assert torch.equal(up[:3], left[:3])
    assert torch.equal(left[3:], other[3:])
    assert not torch.equal(up[3:], left[3:])
    assert not torch.equal(left[:3], other[:3])


def test_later_frames_know_their_place_in_the_clip() -> None:
    places = Places(3, 4)
    found = places(torch.arange(5))
    assert found.shape == (5, 4)
    assert len({tuple(row) for row in found.tolist()}) == 3
    # Of a longer clip than was learned.
    assert torch.equal(found[2], found[4])


def test_a_captions_vector_does_not_depend_on_its_padding() -> None:
    sentences = Sentences(12, 6)
    tokens = torch.tensor([[1, 5, 6, 2, 0, 0], [1, 5, 6, 7, 8, 2]])
    both = sentences(tokens, torch.tensor([4, 6]))
    assert both.shape == (2, 6)
    assert torch.allclose(both[:1], sentences(tokens[:1, :4], torch.tensor([4])), atol=1e-6)
    assert (both[0] - both[1]).abs().max() > 1e-3


def test_meanings_are_forty() -> None:
    captions = [
        f"the digit {digit} is moving {one} and {other}"
        for digit in range(10)
        for one, other in (("up", "down"), ("down", "up"), ("left", "right"), ("right", "left"))
    ]
    assert sorted(map(meaning_number, captions)) == list(range(NUM_MEANINGS))
    with pytest.raises(RequestError, match="no caption of one moving digit"):
        meaning_number("a dog")

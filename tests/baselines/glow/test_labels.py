"""Labels as images do not learn, for a reason that these tests measure; labels as vectors do."""

from __future__ import annotations

import math

import pytest
import torch
from flows import shaken

from baselines.glow.flow import FlowSpec
from baselines.glow.frame_flow import Conditioning, FrameFlow
from baselines.glow.labels import NUM_MEANINGS, CaptionEncoder, FramePositions, MeaningVectors, meaning_label
from baselines.glow.spec import ModelSpec
from baselines.glow.video import label_encoder
from t2vdata.errors import RequestError

ADAM_EPSILON = 1e-8
SHAPE = (3, 64, 64)
DIMENSIONS = math.prod(SHAPE)


def label_gradient(form: str, *, summed: bool) -> torch.Tensor:
    """Return the gradient that the labels of one batch of 8 receive."""
    torch.manual_seed(0)
    spec, model = FlowSpec(width=16, levels=4, steps=1, form="cglow"), ModelSpec(num_bits=5, label=form)
    head = shaken(FrameFlow(SHAPE, spec, model, describer=label_encoder(SHAPE, model, 201, 0)), 0.01)
    levels, conditioning = torch.randint(0, 32, (8, *SHAPE)).float(), Conditioning(torch.arange(8))
    loss = -head(levels, torch.rand(8, *SHAPE), head.encode(conditioning)).mean()
    loss = loss if summed else loss / (DIMENSIONS * math.log(2))
    loss.backward()
    labels = head.describer.images if form == "image" else head.describer.vectors.weight
    return labels.grad[:8]


def rms(gradient: torch.Tensor) -> float:
    return float(gradient.square().mean().sqrt())


def test_the_papers_labels_receive_gradients_near_adams_epsilon() -> None:
    # Adam's epsilon, which is added to their root mean square, slows them down.
    per_dimension = label_gradient("image", summed=False)
    assert 0 < rms(per_dimension) < 10 * ADAM_EPSILON
    in_nats = label_gradient("image", summed=True)
    assert rms(in_nats) / rms(per_dimension) == pytest.approx(DIMENSIONS * math.log(2), rel=1e-3)


def test_vectors_with_a_loss_in_nats_receive_gradients_far_above_adams_epsilon() -> None:
    assert rms(label_gradient("vector", summed=True)) > 1000 * rms(label_gradient("image", summed=False))
    assert rms(label_gradient("vector", summed=True)) > 1000 * ADAM_EPSILON


@pytest.mark.parametrize(("epsilon", "least", "most"), [(1e-8, 0.0, 0.02), (1e-20, 0.1, 0.3)])
def test_an_entry_of_a_label_image_moves_by_a_hundredth_during_training(epsilon: float, least: float, most: float) -> None:
    # Gradients of 3.2e-9 of the same sign, in the 500 of an epoch's 12,500 steps that show the label, at a rate of 1e-4.
    # Entries of N(0, 1) that move by 0.02 have learned nothing.
    entry = torch.nn.Parameter(torch.zeros(()))
    optimiser = torch.optim.Adam([entry], lr=1e-4, eps=epsilon, foreach=False)
    for step in range(12_500):
        entry.grad = torch.tensor(3.2e-9 if step % 25 == 0 else 0.0)
        optimiser.step()
    assert least < abs(float(entry.detach())) < most


def test_a_vector_has_no_effect_before_training() -> None:
    model = ModelSpec(label="vector", label_size=6)
    shape = (1, 8, 8)
    head = FrameFlow(shape, FlowSpec(width=8, levels=2, steps=2), model, describer=label_encoder(shape, model, 5, 0))
    levels, noise = torch.randint(0, 256, (5, *shape)).float(), torch.rand(5, *shape)
    with torch.no_grad():
        results = [head(levels, noise, head.encode(Conditioning(torch.full((5,), label)))) for label in (0, 3)]
    assert torch.equal(results[0], results[1])


def test_clips_of_one_digit_share_half_of_their_vector() -> None:
    vectors = MeaningVectors(6)
    up, left, other_digit = (vectors(torch.tensor([meaning_label(f"the digit {words}")]))[0] for words in (
        "3 is moving up and down", "3 is moving left and right", "4 is moving left and right"))  # fmt: skip
    assert torch.equal(up[:3], left[:3])
    assert torch.equal(left[3:], other_digit[3:])
    assert not torch.equal(up[3:], left[3:])
    assert not torch.equal(left[:3], other_digit[:3])


def test_each_frame_position_has_a_vector() -> None:
    vectors = FramePositions(3, 4)(torch.arange(5))
    assert vectors.shape == (5, 4)
    assert len({tuple(row) for row in vectors.tolist()}) == 3
    # Beyond the training length.
    assert torch.equal(vectors[2], vectors[4])


def test_a_captions_vector_does_not_depend_on_its_padding() -> None:
    encoder = CaptionEncoder(12, 6)
    tokens = torch.tensor([[1, 5, 6, 2, 0, 0], [1, 5, 6, 7, 8, 2]])
    both = encoder(tokens, torch.tensor([4, 6]))
    assert both.shape == (2, 6)
    assert torch.allclose(both[:1], encoder(tokens[:1, :4], torch.tensor([4])), atol=1e-6)
    assert (both[0] - both[1]).abs().max() > 1e-3


def test_there_are_forty_meanings() -> None:
    captions = [
        f"the digit {digit} is moving {first} and {then}"
        for digit in range(10)
        for first, then in (("up", "down"), ("down", "up"), ("left", "right"), ("right", "left"))
    ]
    assert sorted(map(meaning_label, captions)) == list(range(NUM_MEANINGS))
    with pytest.raises(RequestError, match="not a caption of one moving digit"):
        meaning_label("a dog")

"""A displacement is found, named, paid for and drawn."""

from __future__ import annotations

import math

import pytest
import torch
from flows import clips

from baselines.glow.dequantisation import levels_of
from baselines.glow.flow import FlowSpec
from baselines.glow.motion import Motion, displaced, displacements, drawn, nearest
from baselines.glow.spec import ModelSpec
from baselines.glow.video import FrameFlow, Told, build
from t2vdata.errors import RequestError


def test_displacements_are_all_there_and_near_ones_first() -> None:
    found = displacements(2)
    assert found[0] == (0, 0)
    assert len(set(found)) == 25
    lengths = [down**2 + right**2 for down, right in found]
    assert lengths == sorted(lengths)


def test_a_frame_that_moved_is_found_where_it_went() -> None:
    frames = torch.zeros(25, 2, 6, 7)
    frames[:, 0, 2, 3], frames[:, 1, 3, 3] = 9, 4
    moved = displaced(frames, torch.arange(25), 2)
    for number, (down, right) in enumerate(displacements(2)):
        assert moved[number, 0, 2 + down, 3 + right] == 9
        assert moved[number, 1, 3 + down, 3 + right] == 4
        assert moved[number].sum() == 13
    assert nearest(frames, moved, 2).tolist() == list(range(25))
    # What comes in is black, and nothing moved is the first choice among equals.
    assert displaced(torch.full((9, 1, 2, 2), 5.0), torch.arange(9), 1).sum() == 5 * (4 + 4 * 2 + 4 * 1)
    assert nearest(torch.zeros(1, 1, 6, 6), torch.zeros(1, 1, 6, 6), 2).item() == 0


def test_real_digits_are_the_frame_before_displaced() -> None:
    video = levels_of(clips(), 8).transpose(1, 2)
    before, after = video[:, :-1].flatten(0, 1), video[:, 1:].flatten(0, 1)
    assert torch.equal(displaced(before, nearest(before, after, 4), 4), after)


def test_chances_of_all_displacements_are_one_and_depend_on_all_that_is_known() -> None:
    torch.manual_seed(0)
    motion = Motion(3, reach=2, width=8, vector=5)
    context, vector = torch.randn(2, 3, 12, 12), torch.randn(2, 5)
    told = motion(context, vector)
    assert told.shape == (2, 25)
    assert torch.allclose(told.exp().sum(dim=1), torch.ones(2))
    assert not torch.allclose(told, motion(context, -vector))
    assert not torch.allclose(told, motion(context.roll(3, dims=3), vector))


def test_displacements_are_drawn_by_their_chances() -> None:
    chances = torch.tensor([[0.5, 0.3, 0.2]]).log().expand(10_000, -1)
    uniform = torch.linspace(0, 1, 10_001)[:-1]
    assert (drawn(chances, uniform, 1.0).bincount() / 10_000).tolist() == pytest.approx([0.5, 0.3, 0.2], abs=1e-3)
    # Colder: chances to the power of four, as a normal distribution of half the deviation has its density.
    powers = torch.tensor([0.5, 0.3, 0.2]) ** 4
    colder = drawn(chances, uniform, 0.5).bincount() / 10_000
    assert colder.tolist() == pytest.approx((powers / powers.sum()).tolist(), abs=1e-3)
    assert set(drawn(chances, uniform, 0.0).tolist()) == {0}


def test_a_frame_costs_its_displacement_and_what_is_left() -> None:
    torch.manual_seed(0)
    flow = FlowSpec(coupling="affine", width=8, levels=2, steps=1)
    glow = build((1, 16, 16), ModelSpec(state_channels=2, motion=4), flow, flow, num_frames=7, num_labels=0, num_words=0)
    levels = levels_of(clips()[:4], 8).transpose(1, 2)
    noise, told = torch.rand(levels.shape), Told(torch.zeros(4, dtype=torch.int64))
    with torch.no_grad():
        found, later = glow.log_probabilities(levels, noise, told), glow.later(levels, noise, told)
        left = glow.tail(later.levels, later.noise, later.known)
    assert torch.allclose(found.later, left.view(4, 6) + found.moves)
    # Nothing but noise is left of digits that moved.
    assert later.known.expected is not None
    assert glow.tail.left(glow.tail.continuous(later.levels, later.noise)[0], later.known.expected)[0].abs().max() <= 0.5 + 1e-4
    # A new model finds all displacements about as probable.
    assert found.moves.mean().item() == pytest.approx(-math.log(81), abs=0.3)
    chosen = torch.tensor([[1, 4]] * 4)
    with torch.no_grad():
        some = glow.log_probabilities(levels, noise, told, chosen)
    expected = left.view(4, 6).gather(1, chosen) + found.moves.mean(dim=1, keepdim=True)
    assert torch.allclose(some.later, expected, rtol=1e-4)


def test_what_is_left_and_the_whole_undo_each_other() -> None:
    tail = FrameFlow((1, 4, 4), FlowSpec(width=4, levels=1, steps=1), ModelSpec(num_bits=5), context=1)
    x, expected = torch.rand(2, 1, 4, 4).double() - 0.5, torch.rand(2, 1, 4, 4).double() - 0.5
    left, gain = tail.left(x, expected)
    assert gain == pytest.approx(16 * 5 * math.log(2))
    assert torch.allclose(tail.whole(left, expected), x)
    assert tail.left(x, None) == (x, 0.0)


def test_motion_without_a_frame_before_is_refused() -> None:
    with pytest.raises(RequestError, match="motion 3 without previous_frame: it is that frame which is displaced"):
        ModelSpec(motion=3, previous_frame=False)
    with pytest.raises(RequestError, match="motion -1: expected 0 for no motion, or more"):
        ModelSpec(motion=-1)

from __future__ import annotations

import pytest
import torch
from torch import nn

from baselines.gan.blocks import Shape, first_map
from baselines.gan.discriminators import Discriminators, SideBySide, batch_deviation, for_penalty, temporal_difference
from baselines.gan.generators import ClipGenerator, FramesGenerator
from baselines.gan.spec import ModelSpec
from baselines.gan.trainer import make_generator
from baselines.gan.two_stream import StreamsGenerator
from t2vdata.errors import RequestError

DCGAN = ModelSpec(generator="dcgan", discriminator="dcgan", last="doubling", activation="relu")
VGAN = ModelSpec(generator="vgan", discriminator="vgan", last="doubling")
TINY = {"width": 1 / 16, "noise": 6, "text_features": 8}


def size_of(*modules: nn.Module | None) -> int:
    return sum(parameter.numel() for module in modules if module is not None for parameter in module.parameters())


@pytest.mark.parametrize(
    ("shape", "spec", "number"),
    [
        ((3, 16, 48, 48), ModelSpec(), 24_263_548),
        ((1, 16, 48, 48), ModelSpec(), 24_263_420),
        ((3, 32, 64, 64), ModelSpec(last="doubling"), 16_984_764),
    ],
)
def test_the_generator_has_the_published_number_of_parameters(shape: Shape, spec: ModelSpec, number: int) -> None:
    assert size_of(ClipGenerator(spec, shape, 256)) == number


def test_the_three_discriminators_have_the_published_numbers_of_parameters() -> None:
    discriminators = Discriminators(ModelSpec(head="published"), (3, 16, 48, 48), 256)
    assert discriminators.clips is not None
    assert size_of(discriminators.clips, discriminators.heads["video"]) == 11_486_848
    assert size_of(discriminators.pictures) == 2_757_504
    assert size_of(discriminators.heads["frame"]) == size_of(discriminators.heads["motion"]) == 725_760


def test_heads_that_see_their_whole_map_have_five_more_positions() -> None:
    discriminators = Discriminators(ModelSpec(), (3, 16, 48, 48), 256)
    assert size_of(discriminators.clips, discriminators.heads["video"]) == 11_486_848 + 5 * 512
    assert size_of(discriminators.heads["frame"]) == 725_760 + 5 * 512


def test_dcgan_has_the_published_numbers_of_parameters() -> None:
    assert size_of(ClipGenerator(DCGAN, (3, 1, 64, 64), 0)) == 3_576_704
    assert size_of(Discriminators(DCGAN, (3, 1, 64, 64), 0)) == 2_765_568


def test_vgan_has_the_published_numbers_of_parameters() -> None:
    generator = StreamsGenerator(VGAN, (3, 32, 64, 64), 0)
    assert size_of(generator.foreground, generator.pixels, generator.mask) == 12_667_716
    assert size_of(generator.background, generator.still) == 3_577_667
    assert size_of(Discriminators(VGAN, (3, 32, 64, 64), 0)) == 11_057_858


@pytest.mark.parametrize(
    ("size", "doublings", "first_frames", "first"),
    [
        ((16, 48, 48), 3, None, (2, 6, 6)),
        ((32, 64, 64), 4, None, (2, 4, 4)),
        ((8, 24, 24), 3, None, (1, 3, 3)),
        ((16, 32, 32), 3, None, (2, 4, 4)),
        ((8, 24, 24), 3, 2, (2, 3, 3)),
        ((12, 24, 24), 3, None, (3, 3, 3)),
        ((5, 16, 24), 2, None, (5, 4, 6)),
        ((64, 64), 4, None, (4, 4)),
    ],
)
def test_the_first_map_follows_from_the_clip_size(
    size: tuple[int, ...], doublings: int, first_frames: int | None, first: tuple[int, ...]
) -> None:
    start, factors = first_map(size, doublings, first_frames)
    assert start == first
    assert len(factors) == doublings
    reached = list(start)
    for factor in factors:
        reached = [a * b for a, b in zip(reached, factor, strict=True)]
    assert tuple(reached) == size


def test_a_clip_size_that_doublings_cannot_reach_is_refused() -> None:
    with pytest.raises(RequestError, match=r"clips of 28x30 pixels .* by 3 doublings; expected multiples of 8"):
        first_map((8, 28, 30), 3)
    with pytest.raises(RequestError, match="first_frames 3: up to 3 doublings never give 8 frames"):
        first_map((8, 24, 24), 3, 3)


GENERATORS = [
    {},
    {"upsampling": "nearest"},
    {"activation": "relu", "mix": False},
    {"last": "doubling", "blocks": 2, "first_frames": 2},
    {"generator": "frames", "blocks": 2, "last": "doubling"},
    {"generator": "frames", "generator_norm": "conditional batch", "generator_text": 4},
    {"generator_text": 4, "text_activation": False},
    {"generator": "vgan", "blocks": 2, "last": "doubling"},
    {"generator_norm": "conditional batch"},
    {"generator_norm": "conditional pixel", "channels_last": True},
    {"generator_norm": "none", "init": "orthogonal"},
    {"growth": 3.0, "init": "xavier", "last_bias": True},
]


@pytest.mark.parametrize("shape", [(1, 8, 24, 24), (3, 16, 32, 32)])
@pytest.mark.parametrize("options", GENERATORS)
def test_generators_map_noise_and_sentence_to_clips_from_minus_one_to_one(options: dict[str, object], shape: Shape) -> None:
    spec = ModelSpec(**TINY | options)  # type: ignore[arg-type]
    generator = make_generator(spec, shape, 10)
    noise, text = torch.randn(3, 6), torch.randn(3, 10)
    video = generator(noise, text).video
    assert video.shape == (3, *shape)
    assert video.abs().max() <= 1
    generator.eval()
    first = generator(noise, text).video
    assert not torch.equal(first, generator(noise + 1, text).video)
    assert not torch.equal(first, generator(noise, text + 1).video)


def test_dcgan_draws_pictures_and_refuses_clips() -> None:
    spec = ModelSpec(generator="dcgan", discriminator="dcgan", last="doubling", blocks=2, generator_text=4, **TINY)  # type: ignore[arg-type]
    picture = make_generator(spec, (3, 1, 32, 32), 10)(torch.randn(2, 6), torch.randn(2, 10)).video
    assert picture.shape == (2, 3, 1, 32, 32)
    assert Discriminators(spec, (3, 1, 32, 32), 10)(picture, torch.randn(2, 10))["frame"].shape == (2, 1)
    for network in (make_generator, Discriminators):
        with pytest.raises(RequestError, match=r"'dcgan' .* pictures, but clips have 8 frames; set load\.num_frames=1"):
            network(spec, (3, 8, 32, 32), 10)


def test_the_mask_of_two_streams_chooses_between_a_moving_foreground_and_a_still_background() -> None:
    generator = StreamsGenerator(ModelSpec(generator="vgan", last="doubling", blocks=2, **TINY), (1, 8, 24, 24), 0)  # type: ignore[arg-type]
    noise = torch.randn(2, 6)
    assert isinstance(generator.mask, nn.ConvTranspose3d)
    assert generator.mask.bias is not None
    with torch.no_grad():
        generator.mask.bias.fill_(-100)
    clips = generator(noise, None)
    assert clips.mask is not None
    assert clips.mask.max() < 1e-6
    assert torch.allclose(clips.video, clips.video[:, :, :1].expand_as(clips.video), atol=1e-5)
    with torch.no_grad():
        generator.mask.bias.fill_(100)
    assert not torch.allclose(generator(noise, None).video, clips.video, atol=1e-3)


DISCRIMINATORS = [
    {},
    {"discriminator_norm": "none"},
    {"discriminator_norm": "spectral", "condition": "projection"},
    {"discriminator_norm": "layer", "condition": "projection", "hidden": 8, "batch_deviation": True},
    {"volume": False},
    {"head": "published", "channels_last": True},
    {"discriminator": "vgan"},
]


@pytest.mark.parametrize("text_size", [0, 10])
@pytest.mark.parametrize("shape", [(1, 8, 24, 24), (3, 16, 32, 32), (1, 4, 16, 16)])
@pytest.mark.parametrize("options", DISCRIMINATORS)
def test_discriminators_score_clips_frames_and_differences(options: dict[str, object], shape: Shape, text_size: int) -> None:
    discriminators = Discriminators(ModelSpec(**TINY | options), shape, text_size)  # type: ignore[arg-type]
    video, text = torch.randn(4, *shape), torch.randn(4, text_size) if text_size else None
    scores = discriminators(video, text)
    frames = shape[1]
    expected = {"video": 1, "frame": frames, "motion": frames - 1} if options.get("discriminator") != "vgan" else {"video": 1}
    assert {name: tuple(values.shape) for name, values in scores.items()} == {
        name: (4, number) for name, number in expected.items()
    }
    if text is not None:
        discriminators.eval()
        assert all(
            not torch.allclose(values, discriminators(video, text.flip(0))[name])
            for name, values in discriminators(video, text).items()
        )


@pytest.mark.parametrize(
    ("on", "names"),
    [
        ({"frame": False, "motion": False}, ["video"]),
        ({"motion": False}, ["video", "frame"]),
        ({}, ["video", "frame", "motion"]),
        ({"video": False}, ["frame", "motion"]),
        ({"video": False, "frame": False}, ["motion"]),
    ],
)
def test_each_discriminator_can_be_switched_off(on: dict[str, bool], names: list[str]) -> None:
    discriminators = Discriminators(ModelSpec(**TINY, **on), (1, 8, 24, 24), 10)  # type: ignore[arg-type]
    assert discriminators.names == names
    assert list(discriminators(torch.randn(2, 1, 8, 24, 24), torch.randn(2, 10))) == names
    if names == ["video"]:
        assert discriminators.pictures is None


def seen_by(spec: ModelSpec, name: str, size: tuple[int, int]) -> torch.Tensor:
    """Return which positions of a head's map its score depends on."""
    discriminators = Discriminators(spec, (1, 16, *size), 10).eval()
    maps = discriminators.maps(torch.randn(2, 1, 16, *size))
    seen = maps[name].detach().requires_grad_()
    discriminators.scores({name: seen}, torch.randn(2, 10))[name].sum().backward()
    assert seen.grad is not None
    return seen.grad.abs().amax(dim=tuple(range(seen.dim() - 2))) > 0


@pytest.mark.parametrize("name", ["video", "frame", "motion"])
def test_published_heads_ignore_the_last_row_and_column_and_whole_heads_do_not(name: str) -> None:
    spec = {"width": 1 / 16, "text_features": 8}
    assert seen_by(ModelSpec(**spec), name, (48, 48)).tolist() == [[True] * 3] * 3  # type: ignore[arg-type]
    published = seen_by(ModelSpec(head="published", **spec), name, (48, 48))  # type: ignore[arg-type]
    assert published.tolist() == [[True, True, False], [True, True, False], [False, False, False]]
    # At 64x64 the map is 4x4, and nothing is left out.
    assert seen_by(ModelSpec(head="published", **spec), name, (64, 64)).all()  # type: ignore[arg-type]


def test_motion_is_the_difference_of_neighbouring_frame_maps() -> None:
    discriminators = Discriminators(ModelSpec(**TINY), (1, 8, 24, 24), 10).eval()  # type: ignore[arg-type]
    video = torch.randn(2, 1, 8, 24, 24)
    maps = discriminators.maps(video)
    alone = discriminators.frame_maps(video[:, :, 3:5].transpose(1, 2))
    assert torch.allclose(maps["frame"][:, 3:5], alone, atol=1e-6)
    assert torch.allclose(maps["motion"][:, 3], alone[:, 1] - alone[:, 0], atol=1e-6)
    alone = alone.detach()
    assert float(temporal_difference(alone)) == pytest.approx(float((alone[:, 1] - alone[:, 0]).square().mean()))


def test_motion_may_be_the_difference_before_the_activation() -> None:
    torch.manual_seed(0)
    discriminators = Discriminators(ModelSpec(**TINY, motion_before_activation=True), (1, 8, 24, 24), 10).eval()  # type: ignore[arg-type]
    video = torch.randn(2, 1, 8, 24, 24)
    maps = discriminators.maps(video)
    assert discriminators.pictures is not None
    bare = discriminators.pictures.layers(video.transpose(1, 2).flatten(0, 1)).view(2, 8, *maps["frame"].shape[2:])
    assert torch.allclose(maps["motion"], bare[:, 1:] - bare[:, :-1], atol=1e-6)
    assert torch.allclose(maps["frame"], nn.functional.leaky_relu(bare, 0.2), atol=1e-6)
    assert not torch.allclose(maps["motion"], maps["frame"].diff(dim=1), atol=1e-6)


def test_pairs_are_neighbouring_frames_and_their_difference() -> None:
    discriminators = Discriminators(ModelSpec(**TINY, pairs=2), (1, 8, 24, 24), 10).eval()  # type: ignore[arg-type]
    assert discriminators.num_pairs == 2
    video = torch.randn(2, 1, 8, 24, 24)
    every, some = discriminators.maps(video), discriminators.maps(video, torch.tensor([[0, 6], [3, 3]]))
    assert torch.allclose(some["frame"][0], every["frame"][0, [0, 1, 6, 7]], atol=1e-6)
    assert torch.allclose(some["motion"][1], every["motion"][1, [3, 3]], atol=1e-6)


def test_spectral_normalisation_bounds_every_layer() -> None:
    spec = ModelSpec(discriminator_norm="spectral", condition="projection", **TINY)  # type: ignore[arg-type]
    discriminators = Discriminators(spec, (1, 8, 24, 24), 10)
    with torch.no_grad():
        for _ in range(30):
            discriminators(torch.randn(2, 1, 8, 24, 24), torch.randn(2, 10))
    layers = [module for module in discriminators.modules() if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear)]
    assert len(layers) == 3 + 3 + 3 * 2
    for layer in layers:
        assert float(torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)) == pytest.approx(1, abs=0.05)


def test_the_penalty_of_frame_scores_is_their_root_mean_square() -> None:
    slopes = torch.tensor([3.0, 4.0])
    frames = torch.zeros(1, 2, requires_grad=True)
    for_penalty(frames * slopes).sum().backward()
    assert frames.grad is not None
    assert float(frames.grad.norm()) == pytest.approx(((9 + 16) / 2) ** 0.5)


def test_batch_deviation_is_computed_per_group() -> None:
    alike, apart = torch.ones(8, 5), torch.tensor([[-1.0] * 5, [1.0] * 5]).repeat(4, 1)
    deviation = batch_deviation(torch.cat([alike, apart]))
    assert deviation.shape == (16, 1)
    assert deviation[:8].max() < 1e-3
    assert torch.allclose(deviation[8:], torch.ones(8, 1))


def test_channels_follow_from_width_and_growth() -> None:
    spec = ModelSpec(width=0.5, growth=3.0, discriminator_width=0.25, frame_width=0.125, discriminator_growth=4.0, blocks=2)
    assert [spec.generator_channels(block) for block in range(3)] == [288, 96, 32]
    assert [spec.discriminator_channels(level) for level in range(3)] == [16, 64, 256]
    assert [spec.discriminator_channels(level, of_frames=True) for level in range(3)] == [8, 24, 72]


@pytest.mark.parametrize(("init", "deviation"), [("normal", 0.05), ("kaiming", (2 / (1 + 0.2**2) / (16 * 64)) ** 0.5)])
def test_weights_are_initialised_as_the_spec_says(init: str, deviation: float) -> None:
    spec = ModelSpec(init=init, init_std=0.05, text_std=0.6, frame=False, motion=False)  # type: ignore[arg-type]
    discriminators = Discriminators(spec, (1, 8, 24, 24), 256)
    assert discriminators.clips is not None
    second = [layer for layer in discriminators.clips.layers if isinstance(layer, nn.Conv3d)][1]
    scale = 1 if init == "normal" else 4**-0.5
    assert float(second.weight.detach().std()) == pytest.approx(deviation * scale, rel=0.02)
    head = discriminators.heads["video"]
    assert isinstance(head, SideBySide)
    assert head.text is not None
    assert float(head.text[0].weight.detach().std()) == pytest.approx(0.6, rel=0.02)


def test_similarity_is_a_cosine_for_clips_and_frames_only() -> None:
    spec = ModelSpec(**TINY, condition="projection", hidden=8, match=5)  # type: ignore[arg-type]
    discriminators = Discriminators(spec, (1, 8, 24, 24), 10)
    similarities = discriminators.similarities(discriminators.maps(torch.randn(2, 1, 8, 24, 24)), torch.randn(7, 10))
    assert {name: tuple(values.shape) for name, values in similarities.items()} == {"video": (2, 1, 7), "frame": (2, 8, 7)}
    assert all(values.abs().max() <= 1 + 1e-6 for values in similarities.values())
    none = Discriminators(ModelSpec(**TINY, condition="projection", hidden=8), (1, 8, 24, 24), 10)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match=r"have no matching layers; set model\.match"):
        none.similarities(none.maps(torch.randn(2, 1, 8, 24, 24)), torch.randn(7, 10))


def test_frames_of_a_frame_generator_share_their_layers() -> None:
    short, long = (size_of(FramesGenerator(ModelSpec(**TINY), (1, frames, 24, 24), 10).trunk) for frames in (4, 8))  # type: ignore[arg-type]
    assert short == long


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"width": 0.0}, "width 0.0: expected more than 0"),
        ({"video": False, "frame": False, "motion": False}, "expected one discriminator or more"),
        ({"hidden": 8}, "hidden 8: only condition 'projection' has"),
        (
            {"batch_deviation": True, "condition": "projection"},
            "batch_deviation needs the hidden layer .* set hidden, such as 128",
        ),
        ({"match": 8, "condition": "projection"}, "match needs the hidden layer"),
    ],
)
def test_invalid_values_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        ModelSpec(**values)  # type: ignore[arg-type]


def test_options_that_contradict_the_clip_size_are_refused() -> None:
    with pytest.raises(RequestError, match=r"compares frames, but clips have 1; set model\.motion=false"):
        Discriminators(ModelSpec(**TINY), (1, 1, 24, 24), 10)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="levels 5: frames of 24x24 would be halved to nothing"):
        Discriminators(ModelSpec(levels=5, **TINY), (1, 8, 24, 24), 10)  # type: ignore[arg-type]
    with pytest.raises(RequestError, match="only a frame or motion discriminator has frame maps"):
        Discriminators(ModelSpec(frame=False, motion=False, **TINY), (1, 8, 24, 24), 10).frame_maps(
            torch.zeros(1, 2, 1, 24, 24)
        )  # type: ignore[arg-type]

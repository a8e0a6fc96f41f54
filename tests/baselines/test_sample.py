"""Clips are drawn as colder or warmer ones, and go on from first frames, where a family has such choices."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from support import ROOT

from baselines import first_frames, recipe, sample
from baselines.distributed import Ranks
from baselines.loop import train
from t2vdata.build.run import BuildResult
from t2vdata.errors import RequestError, UnknownNameError
from t2vdata.format.dataset import open_dataset

CAPTION, SIDE = "the digit 9 is moving down and up", 24


def smoke(name: str, out: Path, built: BuildResult) -> Path:
    """Train a recipe of recipes/smoke to its end."""
    overrides = [f"data.path={built.out}", "run.picture_every=null"]
    train(recipe.read(str(ROOT / "recipes" / "smoke" / f"{name}.yaml"), overrides), out, Ranks())
    return out


@pytest.fixture(scope="module")
def glow(tmp_path_factory: pytest.TempPathFactory, built: BuildResult) -> Path:
    return smoke("glow", tmp_path_factory.mktemp("glow") / "run", built)


@pytest.fixture(scope="module")
def gan(tmp_path_factory: pytest.TempPathFactory, built: BuildResult) -> Path:
    return smoke("gan-cls", tmp_path_factory.mktemp("gan") / "run", built)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture of noise, so that hardly two of its pixels are alike."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "first.png")
    return tmp_path / "first.png"


def call(*words: object) -> None:
    CliRunner().invoke(sample.command, [*map(str, words)], catch_exceptions=False, standalone_mode=False)


def drawn(run: Path, out: Path, *words: object, caption: str = CAPTION, number: int = 2) -> np.ndarray:
    """Return the clips (N, T, H, W, C) that the command makes."""
    call(run, "--caption", caption, "--n", number, "--out", out / "x.npy", *words)
    return np.load(out / "x.npy", allow_pickle=False)


def test_samples_at_temperature_0_are_the_same_whatever_the_seed(glow: Path, tmp_path: Path) -> None:
    first, second = drawn(glow, tmp_path, "--temperature", 0, "--seed", 1)
    other, _ = drawn(glow, tmp_path, "--temperature", 0, "--seed", 2)
    assert np.array_equal(first, second)
    assert np.array_equal(first, other)


def test_a_temperature_decides_how_far_samples_are_from_the_likeliest(glow: Path, tmp_path: Path) -> None:
    cold, cool, warm, usual = (
        drawn(glow, tmp_path, *words).astype(float)
        for words in (["--temperature", 0], ["--temperature", 0.1], ["--temperature", 0.7], [])
    )
    assert 0 < np.abs(cool - cold).mean() < np.abs(warm - cold).mean()
    # The recipe's own.
    assert np.array_equal(warm, usual)


def test_a_picture_stands_unchanged_at_the_beginning_of_every_clip(glow: Path, picture: Path, tmp_path: Path) -> None:
    pixels = np.asarray(Image.open(picture))
    clips = drawn(glow, tmp_path, "--first", picture)
    assert (clips[:, 0, ..., 0] == pixels).all()
    assert not np.array_equal(clips[0, 1], clips[1, 1])
    call(glow, "--caption", CAPTION, "--n", 2, "--first", picture, "--out", tmp_path / "x.gif")
    with Image.open(tmp_path / "x.gif") as animation:
        shown = np.asarray(animation.convert("L"))
    # Two tiles, each with a border of 4 pixels, enlarged 8 times.
    for left in (4, 4 + 200):
        assert np.array_equal(shown[4 : 4 + 8 * SIDE, left : left + 8 * SIDE], pixels.repeat(8, 0).repeat(8, 1))


def test_of_a_file_of_any_size_the_middle_of_the_first_frame_is_taken(picture: Path, tmp_path: Path) -> None:
    pixels = np.asarray(Image.open(picture))
    wide = np.concatenate([pixels, pixels, pixels], axis=1)
    frames = [Image.fromarray(one) for one in (wide, 255 - wide)]
    frames[0].save(tmp_path / "clip.gif", save_all=True, append_images=frames[1:])
    grey = first_frames.of_file(tmp_path / "clip.gif", (1, 4, SIDE, SIDE))
    assert np.array_equal(grey[0], pixels)
    assert np.array_equal(first_frames.of_file(picture, (3, 4, SIDE, SIDE)), np.stack([pixels] * 3))
    red = Image.new("RGB", (2 * SIDE, 4 * SIDE), (255, 0, 0))
    red.save(tmp_path / "red.png")
    assert first_frames.of_file(tmp_path / "red.png", (1, 4, SIDE, SIDE)).unique().tolist() == [76]


def test_clips_begin_with_real_first_frames_of_other_clips_with_their_caption(
    glow: Path, built: BuildResult, tmp_path: Path
) -> None:
    real = open_dataset(built.out)["train"]
    (caption, number), (lesser, _) = Counter(item.captions[0] for item in real).most_common(2)
    assert number > 1
    frames = [item.frames.data[0] for item in real if item.captions[0] == caption]
    made = drawn(glow, tmp_path, "--first-from", "train", caption=caption, number=number)[:, 0]
    assert sorted(frame.tobytes() for frame in made) == sorted(frame.tobytes() for frame in frames)
    # Two captions: each has its own.
    both = drawn(glow, tmp_path, "--first-from", "train", "--caption", lesser, caption=caption, number=1)[:, 0]
    own = [item.frames.data[0].tobytes() for item in real if item.captions[0] == lesser]
    assert both[0].tobytes() in {frame.tobytes() for frame in frames}
    assert both[1].tobytes() in own


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--temperature", "0.8"], "family gan takes no --temperature; what its samples depend on is --caption, --seed"),
        (["--first", "x.png"], "family gan takes no --first or --first-from; what its samples depend on is --caption, --seed"),
        (["--first-from", "val"], "family gan takes no --first or --first-from"),
    ],
)
def test_a_gan_refuses_what_it_does_not_have(gan: Path, tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        call(gan, "--caption", CAPTION, "--out", tmp_path / "x.gif", *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--temperature", "-1"], "--temperature -1: expected 0 or more"),
        (["--temperature", "nan"], "--temperature nan: expected 0 or more"),
        (["--first", "x.png", "--first-from", "val"], "--first x.png and --first-from val; give one of them"),
        (["--first", "none.png"], "--first none.png: no such file; expected a picture or a video"),
        (["--first", str(ROOT / "README.md")], "README.md: .*; expected a picture or a video"),
        (["--first-from", "tests"], "no split 'tests'; did you mean 'test'"),
        (
            ["--first-from", "val"],
            "--first-from val: 0 clips of 'the digit 9 .*', expected 8; the nearest caption there is 'the ",
        ),
        (
            ["--first-from", "train", "--n", "99"],
            r"train: \d clips of .*, expected 99; take fewer with --n, or another split: ",
        ),
    ],
)
def test_what_no_clip_can_begin_with_is_told(glow: Path, tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises((RequestError, UnknownNameError), match=message):
        call(glow, "--caption", CAPTION, "--out", tmp_path / "x.gif", *words)


def test_a_picture_that_does_not_fit_clips_that_are_not_square_is_refused(picture: Path) -> None:
    with pytest.raises(RequestError, match=r"first.png is 24x24, the model's clips are 32x24; scale it to that"):
        first_frames.of_file(picture, (1, 4, 24, 32))

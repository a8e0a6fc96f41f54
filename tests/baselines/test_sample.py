"""Sampling takes a temperature and first frames to continue, for families that support them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from support import ROOT

from baselines import first_frames, sample
from t2vdata.build.run import BuildResult
from t2vdata.errors import RequestError, UnknownNameError
from t2vdata.format.dataset import open_dataset

CAPTION, SIDE = "the digit 9 is moving down and up", 24


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A picture of noise, so that its pixels differ."""
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "first.png")
    return tmp_path / "first.png"


def call(*words: object) -> None:
    CliRunner().invoke(sample.command, [*map(str, words)], catch_exceptions=False, standalone_mode=False)


def sampled(run: Path, out: Path, *words: object, caption: str = CAPTION, num_clips: int = 2) -> np.ndarray:
    """Return the clips (N, T, H, W, C) that the command writes."""
    call(run, "--caption", caption, "--n", num_clips, "--out", out / "x.npy", *words)
    return np.load(out / "x.npy", allow_pickle=False)


def test_samples_at_temperature_0_are_the_same_whatever_the_seed(trained_glow: Path, tmp_path: Path) -> None:
    first, second = sampled(trained_glow, tmp_path, "--temperature", 0, "--seed", 1)
    other, _ = sampled(trained_glow, tmp_path, "--temperature", 0, "--seed", 2)
    assert np.array_equal(first, second)
    assert np.array_equal(first, other)


def test_a_higher_temperature_moves_samples_further_from_the_most_likely_clip(trained_glow: Path, tmp_path: Path) -> None:
    cold, cool, warm, default = (
        sampled(trained_glow, tmp_path, *words).astype(float)
        for words in (["--temperature", 0], ["--temperature", 0.1], ["--temperature", 0.7], [])
    )
    assert 0 < np.abs(cool - cold).mean() < np.abs(warm - cold).mean()
    # 0.7 is the recipe's.
    assert np.array_equal(warm, default)


def test_every_clip_begins_with_the_given_picture_unchanged(trained_glow: Path, picture: Path, tmp_path: Path) -> None:
    pixels = np.asarray(Image.open(picture))
    clips = sampled(trained_glow, tmp_path, "--first", picture)
    assert (clips[:, 0, ..., 0] == pixels).all()
    assert not np.array_equal(clips[0, 1], clips[1, 1])
    call(trained_glow, "--caption", CAPTION, "--n", 2, "--first", picture, "--out", tmp_path / "x.gif")
    with Image.open(tmp_path / "x.gif") as animation:
        shown = np.asarray(animation.convert("L"))
    # Two tiles, each with a border of 4 pixels, enlarged 8 times.
    for column in (4, 4 + 200):
        assert np.array_equal(shown[4 : 4 + 8 * SIDE, column : column + 8 * SIDE], pixels.repeat(8, 0).repeat(8, 1))


def test_the_first_frame_of_a_file_of_any_size_is_resized_and_center_cropped(picture: Path, tmp_path: Path) -> None:
    pixels = np.asarray(Image.open(picture))
    wide = np.concatenate([pixels, pixels, pixels], axis=1)
    frames = [Image.fromarray(frame) for frame in (wide, 255 - wide)]
    frames[0].save(tmp_path / "clip.gif", save_all=True, append_images=frames[1:])
    grey = first_frames.from_file(tmp_path / "clip.gif", (1, 4, SIDE, SIDE))
    assert np.array_equal(grey[0], pixels)
    assert np.array_equal(first_frames.from_file(picture, (3, 4, SIDE, SIDE)), np.stack([pixels] * 3))
    red = Image.new("RGB", (2 * SIDE, 4 * SIDE), (255, 0, 0))
    red.save(tmp_path / "red.png")
    assert first_frames.from_file(tmp_path / "red.png", (1, 4, SIDE, SIDE)).unique().tolist() == [76]


def test_clips_continue_real_first_frames_of_different_clips_with_their_caption(
    trained_glow: Path, built: BuildResult, tmp_path: Path
) -> None:
    real = open_dataset(built.out)["train"]
    (caption, count), (rarer, _) = Counter(item.captions[0] for item in real).most_common(2)
    assert count > 1
    frames = [item.frames.data[0] for item in real if item.captions[0] == caption]
    firsts = sampled(trained_glow, tmp_path, "--first-from", "train", caption=caption, num_clips=count)[:, 0]
    assert sorted(frame.tobytes() for frame in firsts) == sorted(frame.tobytes() for frame in frames)
    # Of two captions, each has frames of its own clips.
    both = sampled(trained_glow, tmp_path, "--first-from", "train", "--caption", rarer, caption=caption, num_clips=1)[:, 0]
    own = [item.frames.data[0].tobytes() for item in real if item.captions[0] == rarer]
    assert both[0].tobytes() in {frame.tobytes() for frame in frames}
    assert both[1].tobytes() in own


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--temperature", "0.8"], "family gan does not support --temperature; it supports --caption, --seed"),
        (["--first", "x.png"], "family gan does not support --first or --first-from; it supports --caption, --seed"),
        (["--first-from", "val"], "family gan does not support --first or --first-from"),
    ],
)
def test_a_gan_refuses_options_that_it_does_not_support(
    trained_gan: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        call(trained_gan, "--caption", CAPTION, "--out", tmp_path / "x.gif", *words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--temperature", "-1"], "--temperature -1: expected 0 or more"),
        (["--temperature", "nan"], "--temperature nan: expected 0 or more"),
        (["--first", "x.png", "--first-from", "val"], "--first x.png and --first-from val exclude each other; give only one"),
        (["--first", "none.png"], "--first none.png: no such file; expected a picture or a video"),
        (["--first", str(ROOT / "README.md")], "README.md: .*; expected a picture or a video"),
        (["--first-from", "tests"], "no split 'tests'; did you mean 'test'"),
        (
            ["--first-from", "val"],
            "--first-from val: 0 clips of 'the digit 9 .*', expected 8; the nearest caption is 'the ",
        ),
        (
            ["--first-from", "train", "--n", "99"],
            r"train: \d clips of .*, expected 99; use fewer with --n, or another split: ",
        ),
    ],
)
def test_unusable_temperatures_and_first_frames_are_refused(
    trained_glow: Path, tmp_path: Path, words: list[str], message: str
) -> None:
    with pytest.raises((RequestError, UnknownNameError), match=message):
        call(trained_glow, "--caption", CAPTION, "--out", tmp_path / "x.gif", *words)


def test_clips_that_are_not_square_refuse_pictures_of_another_size(picture: Path) -> None:
    with pytest.raises(RequestError, match=r"first.png is 24x24, the model's clips are 32x24; resize it to that"):
        first_frames.from_file(picture, (1, 4, 24, 32))

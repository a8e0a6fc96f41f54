"""The score knows real clips, and is at chance where nothing is to be known."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import t2vdata

from t2vdata import datasets
from t2vdata.build import BuildResult
from t2vdata.errors import RequestError
from t2vdata.scoring import clips, digits, grammar, motion
from t2vdata.scoring.score import Share, controls, grey, score

SIZES = {"small": {"frames": 16, "size": 32, "digit_size": 14}, "full": {"frames": 32}}


def real(size: str, split: str, count: int) -> tuple[list[np.ndarray], list[str]]:
    """Return real clips of a split and their captions."""
    options = datasets.make_options(
        "mnist-motion",
        {"n": count, split: count, "holdout": 4, **SIZES[size]} if split != "train" else {"n": count, **SIZES[size]},
    )
    module = datasets.load("mnist-motion")
    found = module.clips(None, split, options, 0)
    return [module.render(clip, options).data for clip in found], [clip.captions[0] for clip in found]


def blob(path: list[tuple[float, float]], side: int = 32) -> np.ndarray:
    """Return a clip (T, side, side) of a bright spot at these (row, column)."""
    rows, columns = np.mgrid[0:side, 0:side]
    return np.stack([np.where((rows - row) ** 2 + (columns - column) ** 2 < 9, 255, 0) for row, column in path]).astype(
        np.uint8
    )


# Captions


def test_a_caption_tells_digit_and_first_direction() -> None:
    assert grammar.meaning_of("the digit 9 is moving down and up") == grammar.Meaning(9, "down")
    assert grammar.meaning_of(" The digit 0 is moving left  to right.").axis == "horizontal"


@pytest.mark.parametrize("caption", ["a dog", "the digit 9 is moving down and left", "the digit 12 is moving up and down", ""])
def test_other_captions_are_refused(caption: str) -> None:
    with pytest.raises(RequestError, match=r"no caption of one moving digit: .*expected such as 'the digit 9 is moving down"):
        grammar.meaning_of(caption)


# Motion


@pytest.mark.parametrize(
    ("path", "axis", "direction", "reversals"),
    [
        ([(5 + 2 * t, 16) for t in range(10)], "vertical", "down", 0),
        ([(25 - 2 * t, 16) for t in range(10)], "vertical", "up", 0),
        ([(16, 5 + 3 * t) for t in range(7)] + [(16, 23 - 3 * t) for t in range(6)], "horizontal", "right", 1),
        ([(16, 12 - 2 * t) for t in range(4)] + [(16, 6 + 2 * t) for t in range(9)], "horizontal", "left", 1),
        ([(16, 16)] * 8, None, None, 0),
        ([(8 + 2 * t, 8 + 2 * t) for t in range(8)], None, None, 0),
    ],
)
def test_motion_is_what_the_spot_does(path: list[tuple[float, float]], axis: str, direction: str, reversals: int) -> None:
    found = motion.judge(blob(path))
    assert (found.axis, found.direction, found.reversals, found.num_blank) == (axis, direction, reversals, 0)


def test_trembling_is_no_turn_and_is_measured() -> None:
    draws = np.random.default_rng(0)
    steady = [(16.0, 5 + 1.5 * t) for t in range(14)]
    trembling = [(row + draws.uniform(-1, 1), column + draws.uniform(-0.5, 0.5)) for row, column in steady]
    assert motion.judge(blob(trembling)).direction == "right"
    assert motion.judge(blob(trembling)).jitter > motion.judge(blob(steady)).jitter
    assert motion.judge(blob(steady)).speed == pytest.approx(1.5, rel=0.15)


def test_a_blank_clip_goes_nowhere() -> None:
    assert motion.judge(np.zeros((8, 32, 32), np.uint8)) == motion.Motion(None, None, 0, 0.0, 0.0, 8)


# Digits and captions


@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize("split", ["train", "val", "test", "compositional"])
def test_real_clips_of_every_split_are_right(size: str, split: str) -> None:
    videos, captions = real(size, split, 400 if size == "small" else 160)
    found = score(videos, captions)
    assert found.direction.value >= 0.99
    assert found.digit.value >= 0.975
    assert found.constancy > 0.99


def test_what_is_no_digit_is_said_to_be_none() -> None:
    videos, _ = real("small", "test", 40)
    digit = grey(videos[0])[:4]
    noise = np.random.default_rng(0).integers(0, 256, digit.shape).astype(np.uint8)
    two = np.maximum(digit, np.roll(grey(videos[1])[:4], 12, axis=2))
    assert set(digits.look(np.zeros_like(digit))[0]) == {digits.NO_DIGIT}
    assert set(digits.look(noise)[0]) == {digits.NO_DIGIT}
    assert two.shape == digit.shape


def test_a_digit_that_morphs_is_not_constant() -> None:
    videos, captions = real("small", "test", 40)
    seven, one = (
        next(grey(video) for video, text in zip(videos, captions, strict=True) if f"digit {n}" in text) for n in (7, 0)
    )
    morphed = np.concatenate([seven[:8], one[8:]])
    assert score([morphed], ["the digit 7 is moving up and down"]).constancy < 0.7


def test_controls_are_where_they_have_to_be() -> None:
    found = controls(*real("small", "test", 400))
    assert found["real"].caption.value >= 0.975
    assert (
        found["shuffled captions"].caption.interval[0] < grammar.CHANCE < found["shuffled captions"].caption.interval[1] + 0.02
    )
    assert found["first frame alone"].axis.value == 0
    assert found["first frame alone"].digit.value >= 0.975
    assert found["shuffled frames"].direction.value < 0.75
    assert found["real"].diversity is not None
    assert found["real"].diversity > 0


def test_one_clip_again_and_again_has_no_diversity() -> None:
    videos, captions = real("small", "test", 40)
    assert score([videos[0]] * 4, [captions[0]] * 4).diversity == pytest.approx(0, abs=1e-4)
    assert score(videos[:1], captions[:1]).diversity is None


def test_wilsons_interval_is_the_known_one() -> None:
    low, high = Share(8, 10).interval
    assert (round(low, 4), round(high, 4)) == (0.4902, 0.9433)
    assert Share(0, 20).interval[0] == 0
    assert math.isclose(Share(20, 20).interval[1], 1)


def test_colour_becomes_grey() -> None:
    videos, captions = real("small", "test", 40)
    colour = [video.repeat(3, axis=3) for video in videos]
    assert score(colour, captions) == score(videos, captions)


@pytest.mark.parametrize(
    ("video", "message"),
    [
        (np.zeros((4, 8, 8), np.float32), r"a clip of shape \(4, 8, 8\) float32; expected"),
        (np.zeros((4, 8, 8, 2), np.uint8), r"a clip of shape \(4, 8, 8, 2\) uint8; expected"),
        (np.zeros((0, 8, 8), np.uint8), r"a clip of shape \(0, 8, 8\) uint8; expected"),
    ],
)
def test_what_is_no_clip_is_refused(video: np.ndarray, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        score([video], ["the digit 7 is moving up and down"])
    with pytest.raises(RequestError, match="1 clips and 2 captions; expected as many"):
        score([np.zeros((4, 8, 8), np.uint8)], ["a", "b"])


# Files


def test_arrays_and_files_are_scored_alike(tmp_path: Path) -> None:
    videos, captions = real("small", "test", 40)
    np.save(tmp_path / "clips.npy", np.stack(videos))
    (tmp_path / "captions.txt").write_text("\n".join(captions) + "\n")
    (tmp_path / "files").mkdir()
    names = [f"{number:02d}.{'npy' if number % 2 else 'gif'}" for number in range(len(videos))]
    for name, video in zip(names, videos, strict=True):
        if name.endswith("npy"):
            np.save(tmp_path / "files" / name, video)
        else:
            first, *rest = [Image.fromarray(frame[..., 0]) for frame in video]
            first.save(tmp_path / "files" / name, save_all=True, append_images=rest, duration=40)
    listed = list(zip(names, captions, strict=True))
    (tmp_path / "list.csv").write_text("file,caption\n" + "".join(f"{name},{caption}\n" for name, caption in listed[::-1]))
    (tmp_path / "list.jsonl").write_text("".join(json.dumps({"path": name, "text": text}) + "\n" for name, text in listed))
    whole = score(*clips.of_files(str(tmp_path / "clips.npy"), str(tmp_path / "captions.txt")))
    for told in ("captions.txt", "list.csv", "list.jsonl"):
        found = score(*clips.of_files(str(tmp_path / "files"), str(tmp_path / told)))
        assert (found.caption, found.direction) == (whole.caption, whole.direction)


@pytest.mark.parametrize(
    ("path", "captions", "message"),
    [
        ("nowhere", "captions.txt", r"no folder and no \.npy file"),
        ("clips.npy", "nowhere.txt", r"no file .*nowhere\.txt \(--captions\)"),
        ("text.npy", "captions.txt", r"is no array of numbers .*; expected a \.npy file of uint8"),
        ("one.npy", "captions.txt", r"one\.npy has shape \(4, 8, 8\); expected \(N, T, H, W\)"),
        (".", "captions.txt", r"3 clips in .*, but 1 captions in .*captions\.txt; expected one for each"),
        (".", "list.csv", "expected the columns file and caption; there is a, b"),
        ("clips.npy", "list.json", r"expected \.txt with a caption a line, or \.csv or \.jsonl"),
    ],
)
def test_what_does_not_go_together_is_said(tmp_path: Path, path: str, captions: str, message: str) -> None:
    np.save(tmp_path / "clips.npy", np.zeros((1, 4, 8, 8), np.uint8))
    np.save(tmp_path / "one.npy", np.zeros((4, 8, 8), np.uint8))
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "captions.txt").write_text("the digit 7 is moving up and down\n")
    (tmp_path / "list.csv").write_text("a,b\n1,2\n")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(RequestError, match=message):
        clips.of_files(str(tmp_path / path), str(tmp_path / captions))


def test_the_command_line_prints_yours_beside_the_controls(built: BuildResult, tmp_path: Path) -> None:
    videos, captions = real("small", "test", 40)
    np.save(tmp_path / "clips.npy", np.stack(videos))
    (tmp_path / "captions.txt").write_text("\n".join(captions) + "\n")
    done = t2vdata(
        "score", tmp_path / "clips.npy", "--captions", tmp_path / "captions.txt", "--data", built.out, "--split", "train"
    )
    assert done.returncode == 0, done.stderr
    for row in ("yours", "real", "shuffled captions", "first frame alone", "shuffled frames"):
        assert row in done.stdout
    told = json.loads(t2vdata("score", "--data", built.out, "--split", "train", "--json").stdout)
    assert told["real"]["direction"]["share"] == 1.0
    assert t2vdata("score").returncode == 2
    assert "say what the clips should show, with --captions" in t2vdata("score", tmp_path / "clips.npy").stderr

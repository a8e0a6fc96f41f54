"""Clips that show the same have similar hashes, and all pairs of similar hashes are found."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from media.video_files import scene
from PIL import Image

from t2vdata.media import phash
from t2vdata.media.decode import selected
from t2vdata.media.encode import encoding
from t2vdata.types import Frames


def blurred(seed: int, count: int = 16) -> np.ndarray:
    """Return a scene without hard edges, as films are."""
    small = scene(seed, count, width=64, height=64)[:, ::8, ::8]
    return np.stack([np.asarray(Image.fromarray(picture).resize((64, 64), Image.Resampling.BICUBIC)) for picture in small])


def hashed(data: np.ndarray) -> str:
    digits = phash.perceptual_hash(Frames(np.ascontiguousarray(data), 25.0))
    assert digits is not None
    return digits


def distance(first: str, second: str) -> int:
    return (int(first, 16) ^ int(second, 16)).bit_count()


@pytest.mark.parametrize("coding", ["jpeg", "h264"])
def test_a_clip_that_was_encoded_again_is_near(coding: str) -> None:
    chosen = encoding(coding, **{"jpeg": {"quality": 60}, "h264": {"crf": 28}}[coding])
    for data in (blurred(1), blurred(2), blurred(5)):
        coded = chosen.encode(Frames(data, 25.0)).data
        back = selected.decode(chosen.extension, coded, range(16), channels=3)
        assert distance(hashed(data), hashed(back)) <= phash.MAX_DISTANCE


def test_a_clip_of_another_size_is_near() -> None:
    data = blurred(3)
    larger = np.stack([np.asarray(Image.fromarray(picture).resize((96, 96))) for picture in data])
    assert distance(hashed(data), hashed(larger)) <= phash.MAX_DISTANCE


def test_other_clips_are_far() -> None:
    hashes = [hashed(blurred(seed)) for seed in range(12)]
    assert min(distance(*pair) for pair in itertools.combinations(hashes, 2)) > 40


def test_a_picture_has_a_hash_and_a_clip_of_one_colour_has_none() -> None:
    assert len(hashed(blurred(1)[:1])) == 48
    assert phash.perceptual_hash(Frames(np.full((5, 32, 32, 1), 40, np.uint8), 25.0)) is None


SYMMETRIC = """
import numpy as np
from t2vdata.media.phash import perceptual_hash
from t2vdata.types import Frames

for seed in range(8):
    half = np.random.default_rng(seed).integers(0, 256, (8, 4), np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    for picture in (np.hstack([half, half[:, ::-1]]), np.vstack([half, half[::-1]])):
        print(perceptual_hash(Frames(np.ascontiguousarray(picture)[None, :, :, None], 25.0)))
"""


def test_a_hash_does_not_depend_on_the_processor() -> None:
    # Half of a symmetric picture's frequencies are 0: with fractions, their signs were whatever rounding left.
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SYMMETRIC],
            env={**os.environ, **kernel, "OPENBLAS_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        # This processor's arithmetic, and that of an old one.
        for kernel in ({}, {"OPENBLAS_CORETYPE": "Prescott"})
    }
    assert len(outputs) == 1
    assert len(set(outputs.pop().split())) == 16


@pytest.mark.parametrize("what", ["slope", "disc", "chequers"])
def test_a_picture_with_too_little_to_see_has_no_hash(what: str) -> None:
    across, down = np.meshgrid(np.arange(64), np.arange(64))
    discs = [((across - 31.5) ** 2 + (down - 31.5) ** 2 < radius) * 200 for radius in (150, 400)]
    pictures = {"slope": [down * 4, across * 4], "disc": discs, "chequers": [(across // 8 + down // 8) % 2 * 255]}
    for picture in pictures[what]:
        # They would have one hash, or nearly so, and be taken for the same.
        assert phash.perceptual_hash(Frames(picture.astype(np.uint8)[None, :, :, None], 25.0)) is None


@pytest.mark.parametrize("max_distance", [0, 7, 20, 23])
def test_all_pairs_within_the_distance_are_found_once(max_distance: int) -> None:
    draws = np.random.default_rng(0)
    rows = draws.integers(0, 256, (400, 24), dtype=np.uint8)
    for copy in range(60):
        bits = np.unpackbits(rows[copy])
        bits[draws.choice(192, copy % 30, replace=False)] ^= 1
        rows[-1 - copy] = np.packbits(bits)
    # Hashes in which much is alike, as those of dark films are.
    rows[100:130, :20] = 0
    hashes = [row.tobytes().hex() for row in rows]
    pairs = list(phash.near(hashes, max_distance=max_distance))
    expected = {
        (first, second, distance(hashes[first], hashes[second]))
        for second in range(len(hashes))
        for first in range(second)
        if distance(hashes[first], hashes[second]) <= max_distance
    }
    assert len(pairs) == len(expected) > 0
    assert set(pairs) == expected


def test_pairs_are_found_with_numpy_1(monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = ["00" * 24, "0f" * 2 + "00" * 22, "ff" * 24]
    expected = list(phash.near(hashes))
    assert expected == [(0, 1, 8)]
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert list(phash.near(hashes)) == expected


def test_no_hashes_have_no_pairs() -> None:
    assert list(phash.near([])) == []
    with pytest.raises(ValueError, match="max_distance 24: expected 0 to 23"):
        list(phash.near([], max_distance=24))

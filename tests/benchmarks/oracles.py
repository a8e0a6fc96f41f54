"""Accuracy of the scoring's classifiers and motion measurement on real clips of every split and size.

Digits are classified in a single frame of each clip, as many clips as the split has images.
Run ``python tests/benchmarks/oracles.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from support import ALL_DIGITS, CLIP_SIZES, real_clips

from t2vdata.scoring import clip_classifier, digit_classifier
from t2vdata.scoring.grammar import meaning_of
from t2vdata.scoring.motion import grey, measure

NUM_CLIPS = 400


def main() -> None:
    print(f"torch {torch.__version__}; seed 0, four pairs held out; motion and classifier: {NUM_CLIPS} clips")
    print("| clips | split | n | digit | axis and direction | classifier |\n|---|---|--:|--:|--:|--:|")
    for size in CLIP_SIZES:
        for split, count in ALL_DIGITS.items():
            videos, captions = real_clips(size, split, count, frames=8)
            classes, _ = digit_classifier.classify(np.stack([video[4, ..., 0] for video in videos]))
            digit_accuracy = np.mean(classes == [meaning_of(caption).digit for caption in captions])
            videos, captions = real_clips(size, split, NUM_CLIPS)
            meanings = [meaning_of(caption) for caption in captions]
            directions = [measure(grey(video)).direction for video in videos]
            pairs = zip(directions, meanings, strict=True)
            direction_accuracy = np.mean([direction == meaning.direction for direction, meaning in pairs])
            predictions = clip_classifier.predict(clip_classifier.inputs(map(grey, videos)))
            clip_accuracy = predictions.num_correct(meanings) / NUM_CLIPS
            shares = f"{digit_accuracy:.2%} | {direction_accuracy:.1%} | {clip_accuracy:.1%}"
            print(f"| {size} | {split} | {count:,} | {shares} |", flush=True)


if __name__ == "__main__":
    main()

"""How often the oracles of the score are right on real clips, of every split and size.

Digits in one frame of each clip, as many clips as the split has images: python tests/benchmarks/oracles.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from support import ALL_DIGITS, CLIP_SIZES, real_clips

from t2vdata.scoring import classifier, digits
from t2vdata.scoring.grammar import meaning_of
from t2vdata.scoring.motion import grey, judge

NUM_CLIPS = 400


def main() -> None:
    print(f"torch {torch.__version__}; seed 0, four pairs held out; motion and classifier: {NUM_CLIPS} clips")
    print("| clips | split | n | digit | axis and direction | classifier |\n|---|---|--:|--:|--:|--:|")
    for size in CLIP_SIZES:
        for split, count in ALL_DIGITS.items():
            videos, captions = real_clips(size, split, count, frames=8)
            told, _ = digits.look(np.stack([video[4, ..., 0] for video in videos]))
            right = np.mean(told == [meaning_of(caption).digit for caption in captions])
            videos, captions = real_clips(size, split, NUM_CLIPS)
            wanted = [meaning_of(caption) for caption in captions]
            motions = [judge(grey(video)).direction for video in videos]
            directed = np.mean([one == meaning.direction for one, meaning in zip(motions, wanted, strict=True)])
            whole = classifier.watch(classifier.inputs(map(grey, videos))).num_right(wanted) / NUM_CLIPS
            print(f"| {size} | {split} | {count:,} | {right:.2%} | {directed:.1%} | {whole:.1%} |", flush=True)


if __name__ == "__main__":
    main()

"""Train the clip classifier: ``python -m t2vdata.scoring.train_clip_classifier``. Seeded, on one thread.

It trains on clips of mnist-motion's training split, all forty meanings at the five sizes below, slightly shifted, dimmed and
noisy. GAN-train uses the same recipe with fewer steps on a model's clips.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from t2vdata import datasets
from t2vdata.scoring import clip_classifier
from t2vdata.scoring.clip_classifier import ClipNetwork
from t2vdata.scoring.grammar import DIRECTIONS, Meaning, meaning_of
from t2vdata.scoring.train_digit_classifier import SEED, save

NUM_CLIPS, STEPS, BATCH, RATE = 6_000, 2_500, 64, 2e-3
SIZES: tuple[dict[str, int], ...] = (
    {"size": 64, "digit_size": 28, "frames": 32},
    {"size": 48, "digit_size": 28, "frames": 16},
    {"size": 32, "digit_size": 14, "frames": 16},
    {"size": 24, "digit_size": 14, "frames": 8},
    {"size": 24, "digit_size": 12, "frames": 8},
)
# Pixels, of 32, in each direction.
_MAX_SHIFT = 2


def train() -> ClipNetwork:
    """Train the network on real training clips of every size."""
    torch.set_num_threads(1)
    parts, meanings = [], []
    for seed, size in enumerate(SIZES):
        dataset = datasets.open("mnist-motion", options={"n": NUM_CLIPS, **size}, seed=seed)
        clips = list(dataset.clips("train"))
        parts.append(clip_classifier.inputs([dataset.render(clip).data[..., 0] for clip in clips]))
        meanings += [meaning_of(clip.captions[0]) for clip in clips]
    return fit(torch.cat(parts), meanings, steps=STEPS, prints_loss=True)


def fit(
    clips_N1THW: torch.Tensor,
    meanings: Sequence[Meaning],
    *,
    steps: int,
    seed: int = SEED,
    prints_loss: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> ClipNetwork:
    """Train a new network on clips, as ``clip_classifier.inputs`` makes them, and their meanings."""
    digits = torch.tensor([meaning.digit for meaning in meanings])
    directions = torch.tensor([DIRECTIONS.index(meaning.direction) for meaning in meanings])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = ClipNetwork().train()
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.02)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps, pct_start=0.15)
        losses = []
        for step in range(1, steps + 1):
            chosen = torch.randint(len(meanings), (BATCH,))
            digit_logits, direction_logits = model(_augmented(clips_N1THW[chosen]))
            loss = functional.cross_entropy(digit_logits, digits[chosen])
            loss = loss + functional.cross_entropy(direction_logits, directions[chosen])
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
            if progress is not None:
                progress(step, steps)
            if prints_loss and step % 250 == 0:
                print(f"step {step} of {steps}: loss {np.mean(losses[-250:]):.4f}", flush=True)  # noqa: T201
    return model.eval()


def _augmented(clips_N1THW: torch.Tensor) -> torch.Tensor:
    """Return clips as 0 to 1: the batch shifted together, each clip dimmed, one in four noisy."""
    down, right = torch.randint(-_MAX_SHIFT, _MAX_SHIFT + 1, (2,)).tolist()
    moved = functional.pad(clips_N1THW.float() / 255, (right, -right, down, -down))
    each = (len(moved), 1, 1, 1, 1)
    is_noisy = (torch.rand(each) < 0.25).float()
    noise = torch.randn(moved.shape) * torch.rand(each) * 0.06 * is_noisy
    return (moved * (0.6 + 0.4 * torch.rand(each)) + noise).clamp(0, 1)


if __name__ == "__main__":
    out = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("clip_classifier.safetensors"))
    save(train(), out, "t2vdata.scoring.train_clip_classifier")

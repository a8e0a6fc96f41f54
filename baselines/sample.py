"""``python -m baselines.sample RUN``: generate clips with a trained model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import numpy as np
import torch

from baselines import evaluation, family, first_frames, pictures
from baselines.command import run
from baselines.console import echo
from baselines.trained import Trained, check_words, open_run
from t2vdata.cli.score import show_progress
from t2vdata.errors import RequestError


@click.command(
    epilog='Example: python -m baselines.sample runs/x --caption "the digit 9 is moving down and up" --n 8 --out x.gif'
)
@click.argument("path", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--caption", "captions", multiple=True, required=True, help="Caption of the clips; repeatable.")
@click.option("--n", "num_clips", default=8, show_default=True, help="Clips per caption.")
@click.option("--out", type=click.Path(path_type=Path), required=True,
              help="File to write: .gif, .png (frames side by side), or .npy with (N, T, H, W, C) uint8.")  # fmt: skip
@click.option("--temperature", type=float,
              help="Scale of the noise, if the family supports it; 0: most likely clip.  [default: the recipe's]")  # fmt: skip
@click.option("--first", "first_path", type=click.Path(path_type=Path),
              help="Picture or video whose first frame all clips continue, if the family supports it.")  # fmt: skip
@click.option("--first-from", "split", metavar="SPLIT",
              help="Continue real first frames of clips with the same caption, from a split of the run's data.")  # fmt: skip
@click.option("--checkpoint", default="best", show_default=True, help="Checkpoint: best, last or a step.")
@click.option("--seed", default=0, show_default=True, help="Seed of the noise.")
@click.option("--device", default="auto", show_default=True, help="Device: auto, cpu, cuda or mps.")
def command(
    path: Path,
    captions: tuple[str, ...],
    num_clips: int,
    out: Path,
    temperature: float | None,
    first_path: Path | None,
    split: str | None,
    checkpoint: str,
    seed: int,
    device: str,
) -> None:
    """Generate clips for captions with the model of RUN."""
    if out.suffix not in (".gif", ".png", ".npy"):
        raise RequestError(f"--out {out}: expected a file name ending in .gif, .png or .npy")
    if num_clips < 1:
        raise RequestError(f"--n {num_clips}: expected 1 or more")
    if temperature is not None and not 0 <= temperature < math.inf:
        raise RequestError(f"--temperature {temperature:g}: expected 0 or more")
    if first_path is not None and split is not None:
        raise RequestError(f"--first {first_path} and --first-from {split} exclude each other; give only one")
    model = open_run(path, checkpoint, device=device)
    _check_options(model, {"temperature": temperature, "first": first_path or split})
    check_words(model, captions)
    repeated = [caption for caption in captions for _ in range(num_clips)]
    first = _first_frames(model, repeated, first_path, split, seed)
    with show_progress("sample") as progress:
        video = evaluation.sample(
            model.trainer,
            repeated,
            seed=seed,
            device=model.setup.device,
            temperature=temperature,
            first=first,
            progress=progress,
        )
    clips = pictures.as_clips(video)
    if out.suffix == ".npy":
        out.parent.mkdir(parents=True, exist_ok=True)
        np.save(out, np.stack(clips), allow_pickle=False)
    else:
        pictures.write(clips, repeated, model.fps, out)
    echo(f"{len(clips)} clips of step {model.step:,} -> {out}")


def _check_options(model: Trained, options: Mapping[str, object]) -> None:
    """Raise RequestError for an option that the family's ``sample`` does not take; the message lists those it does."""
    supported = family.sample_options(model.trainer)
    flags = {"temperature": "--temperature", "first": "--first or --first-from"}
    for name, value in options.items():
        if value is not None and name not in supported:
            known = ", ".join(["--caption", "--seed", *(flag for option, flag in flags.items() if option in supported)])
            raise RequestError(f"family {model.recipe.family} does not support {flags[name]}; it supports {known}")


def _first_frames(
    model: Trained, captions: Sequence[str], path: Path | None, split: str | None, seed: int
) -> torch.Tensor | None:
    """Return the first frames that clips continue, (N, C, H, W) uint8, or None."""
    if path is not None:
        return first_frames.from_file(path, model.setup.shape).expand(len(captions), -1, -1, -1)
    if split is not None:
        return first_frames.from_split(model.recipe, model.dataset, split, captions, seed=seed)
    return None


if __name__ == "__main__":
    run(command)

"""``python -m baselines.sample RUN``: clips by a trained model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import numpy as np
import torch

from baselines import evaluation, family, first_frames, pictures
from baselines.command import run
from baselines.trained import Trained, check_words, open_run
from t2vdata.errors import RequestError


@click.command(
    epilog='Example: python -m baselines.sample runs/x --caption "the digit 9 is moving down and up" --n 8 --out x.gif'
)
@click.argument("path", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--caption", "captions", multiple=True, required=True, help="What the clips should show; may be given again.")
@click.option("--n", "number", default=8, show_default=True, help="Clips for each caption.")
@click.option("--out", type=click.Path(path_type=Path), required=True,
              help="File to write: .gif, .png (frames side by side), or .npy, (N, T, H, W, C) uint8.")  # fmt: skip
@click.option("--temperature", type=float,
              help="Deviation of the noise, where the family has it; 0 is the likeliest.  [default: the recipe's]")  # fmt: skip
@click.option("--first", "file", type=click.Path(path_type=Path),
              help="Picture or video with whose first frame every clip begins, where the family has it.")  # fmt: skip
@click.option("--first-from", "split", metavar="SPLIT",
              help="The same with real first frames of clips with that caption, from a split of the run's data.")  # fmt: skip
@click.option("--checkpoint", default="best", show_default=True, help="best, last or a step.")
@click.option("--seed", default=0, show_default=True, help="Of the noise.")
@click.option("--device", default="auto", show_default=True)
def command(
    path: Path,
    captions: tuple[str, ...],
    number: int,
    out: Path,
    temperature: float | None,
    file: Path | None,
    split: str | None,
    checkpoint: str,
    seed: int,
    device: str,
) -> None:
    """Write clips that the model of RUN makes of captions."""
    if out.suffix not in (".gif", ".png", ".npy"):
        raise RequestError(f"--out {out}: expected a name that ends in .gif, .png or .npy")
    if number < 1:
        raise RequestError(f"--n {number}: expected 1 or more")
    if temperature is not None and not 0 <= temperature < math.inf:
        raise RequestError(f"--temperature {temperature:g}: expected 0 or more")
    if file is not None and split is not None:
        raise RequestError(f"--first {file} and --first-from {split}; give one of them")
    trained = open_run(path, checkpoint, device=device)
    _check_takes(trained, {"temperature": temperature, "first": file or split})
    check_words(trained, [*captions])
    wanted = [caption for caption in captions for _ in range(number)]
    made = evaluation.sample(
        trained.trainer, wanted, seed=seed, device=trained.setting.device,
        temperature=temperature, first=_first(trained, wanted, file, split, seed),
    )  # fmt: skip
    clips = pictures.as_clips(made)
    if out.suffix == ".npy":
        out.parent.mkdir(parents=True, exist_ok=True)
        np.save(out, np.stack(clips), allow_pickle=False)
    else:
        pictures.write(clips, wanted, trained.fps, out)
    click.echo(f"{len(clips)} clips of step {trained.step:,} -> {out}")


def _check_takes(trained: Trained, asked: Mapping[str, object]) -> None:
    """Raise RequestError where something is asked for that the family does not take, with what it does."""
    takes = family.sample_options(trained.trainer)
    flags = {"temperature": "--temperature", "first": "--first or --first-from"}
    for name, value in asked.items():
        if value is not None and name not in takes:
            known = ", ".join(["--caption", "--seed", *(flags[one] for one in flags if one in takes)])
            raise RequestError(f"family {trained.recipe.family} takes no {flags[name]}; what its samples depend on is {known}")


def _first(trained: Trained, captions: Sequence[str], file: Path | None, split: str | None, seed: int) -> torch.Tensor | None:
    """Return the first frames that clips are to go on from, (N, C, H, W) uint8, if any."""
    if file is not None:
        return first_frames.of_file(file, trained.setting.shape).expand(len(captions), -1, -1, -1)
    if split is not None:
        return first_frames.of_split(trained.recipe, trained.dataset, split, captions, seed=seed)
    return None


if __name__ == "__main__":
    run(command)

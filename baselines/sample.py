"""``python -m baselines.sample RUN``: clips by a trained model."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from baselines import judgement, pictures
from baselines.command import run
from baselines.trained import check_words, open_run
from t2vdata.errors import RequestError


@click.command(
    epilog='Example: python -m baselines.sample runs/x --caption "the digit 9 is moving down and up" --n 8 --out x.gif'
)
@click.argument("path", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--caption", "captions", multiple=True, required=True, help="What the clips should show; may be given again.")
@click.option("--n", "number", default=8, show_default=True, help="Clips for each caption.")
@click.option("--out", type=click.Path(path_type=Path), required=True,
              help="File to write: .gif, .png (frames side by side), or .npy, (N, T, H, W, C) uint8.")  # fmt: skip
@click.option("--checkpoint", default="best", show_default=True, help="best, last or a step.")
@click.option("--seed", default=0, show_default=True, help="Of the noise.")
@click.option("--device", default="auto", show_default=True)
def command(path: Path, captions: tuple[str, ...], number: int, out: Path, checkpoint: str, seed: int, device: str) -> None:
    """Write clips that the model of RUN makes of captions."""
    if out.suffix not in (".gif", ".png", ".npy"):
        raise RequestError(f"--out {out}: expected a name that ends in .gif, .png or .npy")
    if number < 1:
        raise RequestError(f"--n {number}: expected 1 or more")
    trained = open_run(path, checkpoint, device=device)
    check_words(trained, [*captions])
    wanted = [caption for caption in captions for _ in range(number)]
    made = judgement.sample(trained.trainer, wanted, seed=seed, device=trained.setting.device)
    clips = pictures.as_clips(made)
    if out.suffix == ".npy":
        out.parent.mkdir(parents=True, exist_ok=True)
        np.save(out, np.stack(clips), allow_pickle=False)
    else:
        pictures.write(clips, wanted, trained.fps, out)
    click.echo(f"{len(clips)} clips of step {trained.step:,} -> {out}")


if __name__ == "__main__":
    run(command)

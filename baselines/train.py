"""``python -m baselines.train RECIPE``: train a model, or go on with a run that was stopped."""

from __future__ import annotations

from pathlib import Path

import click

from baselines import recipe as recipes
from baselines.command import run
from baselines.distributed import joined
from baselines.loop import train


@click.command(epilog="Example: python -m baselines.train recipes/tgansc-mnist-motion-cpu.yaml run.steps=2000")
@click.argument("recipe", type=click.Path())
@click.argument("overrides", nargs=-1, metavar="[SECTION.NAME=VALUE]...")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.  [default: runs/NAME OF THE RECIPE]")
def command(recipe: str, overrides: tuple[str, ...], out: Path | None) -> None:
    """Train the model of a recipe until its last step.

    The same command goes on with a run that was stopped. SECTION.NAME=VALUE takes the place of what the recipe says. Start it
    with torchrun for several processes.
    """
    made = recipes.read(recipe, overrides)
    with joined(made.run.device) as ranks:
        train(made, out or Path("runs") / Path(recipe).stem, ranks)


if __name__ == "__main__":
    run(command)

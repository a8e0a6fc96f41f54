"""``python -m baselines.train RECIPE``: train a model, or resume an interrupted run."""

from __future__ import annotations

from pathlib import Path

import click

from baselines import recipe_file
from baselines.command import run
from baselines.distributed import joined_group
from baselines.loop import train


@click.command(epilog="Example: python -m baselines.train recipes/tgansc-mnist-motion-cpu.yaml run.steps=2000")
@click.argument("recipe_path", metavar="RECIPE", type=click.Path())
@click.argument("overrides", nargs=-1, metavar="[SECTION.NAME=VALUE]...")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the run.  [default: runs/NAME OF THE RECIPE]")
def command(recipe_path: str, overrides: tuple[str, ...], out: Path | None) -> None:
    """Train the model of a recipe to its last step.

    The same command resumes an interrupted run. SECTION.NAME=VALUE overrides a value of the recipe. Start it with torchrun to
    train with several processes.
    """
    recipe = recipe_file.read(recipe_path, overrides)
    with joined_group(recipe.run.device) as group:
        train(recipe, out or Path("runs") / Path(recipe_path).stem, group)


if __name__ == "__main__":
    run(command)

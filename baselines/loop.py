"""The training loop that all families share.

A run is a folder: recipe.yaml (the whole recipe), run.json (versions, data), metrics.jsonl, tensorboard/, pictures/ and
checkpoints/. What happens in a step is a pure function of the weights, the batches and (seed, step): a run that is killed and
started again goes on from its last checkpoint and writes the same numbers, on a CPU with as many threads bit for bit.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from baselines import evaluation, family, pictures, run_folder
from baselines.checkpoints import Checkpoints
from baselines.distributed import Ranks
from baselines.learner import DivergedError
from baselines.metrics import Journal, Means
from baselines.randomness import Draws
from baselines.recipe import Recipe, RunSpec
from t2vdata.errors import T2VError
from t2vdata.format.dataset import Dataset, open_dataset
from t2vdata.loading import Batch, Loader, Resources, loader
from t2vdata.text.vocabulary import Vocabulary

# Which clips stand in pictures and judgements is not chosen by eye.
_PICTURE_SEED, _JUDGE_SEED = 1, 2


class RunFailedError(T2VError):
    """A run that diverges, however often it returns to its last checkpoint."""


def train(recipe: Recipe, path: Path, ranks: Ranks) -> None:
    """Train until ``recipe.run.steps``, from the last checkpoint in the run's folder where there is one."""
    run = Run(recipe, path, ranks)
    run.begin_or_go_on()
    try:
        while run.step < recipe.run.steps:
            run.update()
            run.log()
            run.draw()
            run.judge()
            run.save()
    finally:
        run.close()


class Run:
    """A model, its data and its folder, on their way through the steps."""

    def __init__(self, recipe: Recipe, path: Path, ranks: Ranks) -> None:
        self.recipe, self.spec, self.ranks, self.path = recipe, recipe.run, ranks, path
        self.device = chosen_device(self.spec.device, ranks)
        set_up_torch(self.spec)
        self.dataset = open_dataset(recipe.data.path)
        self.words = Vocabulary.load(self.dataset.vocabulary_path, fingerprint=self.dataset.fingerprint)
        self.reading = open_loader(recipe, self.dataset, self.words, ranks, self.device)
        self.fps = frame_rate(recipe, self.dataset)
        self.setting = setting_of(recipe, self.reading, self.words, self.device, ranks)
        torch.manual_seed(recipe.seed)
        self.trainer = family.load(recipe.family).Trainer(recipe, self.setting)
        self.checkpoints = Checkpoints(path / "checkpoints", keep=self.spec.keep)
        self.step = self.num_returns = 0
        self.journal: Journal | None = None
        self.verdict: dict[str, float] = {}
        # Not so after a return: that step was told before.
        self._has_moved = False
        self._batches, self._means, self._stopwatch = endless(self.reading), Means(), Stopwatch(self.reading)
        self._judged = self._held_out(self.spec.num_judged, _JUDGE_SEED) if self.spec.judge_every else []
        self._pictured = self._held_out(self.spec.num_pictured, _PICTURE_SEED) if self.spec.picture_every else []

    def begin_or_go_on(self) -> None:
        """Load the last checkpoint, or write one of the beginning."""
        if self.ranks.is_first:
            run_folder.begin(self.path, self.recipe, self.setting, self.dataset.fingerprint, self.fps)
            if not self.checkpoints.steps():
                self.checkpoints.save(0, self._state(0))
        self.ranks.wait()
        state = self._load()
        self.reading.load_state_dict(state["loader"])
        self.num_returns = state["num_returns"]
        self._open_journal(state)

    def update(self) -> None:
        """Take one step, or where it would ruin the model return to the last checkpoint."""
        with self._stopwatch:
            batches = [batch.to(self.device) for batch in itertools.islice(self._batches, self.spec.accumulate)]
            draws = Draws(self.recipe.seed, self.step, rank=self.ranks.rank, world=self.ranks.world, device=self.device)
            torch.manual_seed(draws.own_seed)
            try:
                self._means.add(self.trainer.step(batches, draws))
            except DivergedError as why:
                self._return(why)
                return
            self.step += 1
            self._has_moved = True

    def log(self) -> None:
        """Write down the mean losses since the last line, the rate, and how long the step waited for data."""
        if not self._is_time(self.spec.log_every):
            return
        numbers = self.ranks.means(self._means.take(), self.device)
        clips = self.spec.accumulate * self.recipe.load.batch_size * self.ranks.world
        numbers |= {"clips": self.step * clips, **self._stopwatch.take(clips)}
        if self.journal is not None:
            self.journal.write(self.step, numbers)
            self.journal.show(self.step, numbers)

    def draw(self) -> None:
        """Draw real clips beside generated ones, always for the same captions and the same noise."""
        if self.journal is None or not self._is_time(self.spec.picture_every):
            return
        real = torch.cat([batch.video for batch in self._pictured])
        captions = evaluation.captions_of(self._pictured)
        made = evaluation.sample(self.trainer, captions, seed=_PICTURE_SEED, device=self.device)
        name = self.path / "pictures" / f"step-{self.step:08d}"
        pictures.write_pair(real, made, captions, self.fps, name)

    def judge(self) -> None:
        """Judge the model on held-out captions and clips."""
        self.verdict = {}
        if self.journal is None or not self._is_time(self.spec.judge_every):
            return
        self.verdict = evaluation.judge(self.trainer, self._judged, seed=_JUDGE_SEED, device=self.device)
        self.journal.write(self.step, {f"held_out/{name}": value for name, value in self.verdict.items()})
        told = "  ".join(f"{name} {value:.4g}" for name, value in self.verdict.items())
        self.journal.say(f"step {self.step:,} on {self.recipe.data.held_out}: {told}")

    def save(self) -> None:
        """Write a checkpoint, and remember the best."""
        if not self._is_time(self.spec.checkpoint_every):
            return
        if self.journal is not None:
            self.checkpoints.save(self.step, self._state(self.journal.size_bytes))
            self._remember_best()
        # A rank that returns to the checkpoint must find it.
        self.ranks.wait()

    def close(self) -> None:
        self.reading.close()
        if self.journal is not None:
            self.journal.close()

    def _is_time(self, every: int | None) -> bool:
        return every is not None and self._has_moved and (self.step % every == 0 or self.step == self.spec.steps)

    def _return(self, why: DivergedError) -> None:
        """Go back to the weights of the last checkpoint. The data go on: the same batches would do the same again."""
        self.num_returns += 1
        self._has_moved = False
        failed = self.step + 1
        if self.num_returns > self.spec.max_returns:
            hint = "lower lr, or set clip_norm"
            raise RunFailedError(f"step {failed}: {why}; after {self.spec.max_returns} returns: {hint}") from why
        state = self._load()
        self._means, self._stopwatch = Means(), Stopwatch(self.reading)
        self._open_journal(state)
        if self.journal is not None:
            self.journal.write(self.step, {"returned_from": failed, "why": str(why)})
            self.journal.say(f"step {failed:,}: {why}; back to step {self.step:,}")

    def _load(self) -> dict[str, Any]:
        self.step, state = self.checkpoints.load("last")
        self.trainer.load_state_dict(state["trainer"])
        return state

    def _state(self, journal_bytes: int) -> dict[str, Any]:
        return {
            "trainer": self.trainer.state_dict(),
            "loader": self.reading.state_dict(),
            "journal_bytes": journal_bytes,
            "num_returns": self.num_returns,
        }

    def _open_journal(self, state: dict[str, Any]) -> None:
        if self.journal is not None:
            self.journal.close()
        if self.ranks.is_first:
            self.journal = Journal(self.path, step=self.step, steps=self.spec.steps, size_bytes=state["journal_bytes"])

    def _remember_best(self) -> None:
        name = self.spec.best
        if name is None or not self.verdict:
            return
        if name not in self.verdict:
            raise RunFailedError(f"run.best {name!r} is no number of a judgement; there is {', '.join(self.verdict)}")
        before, value = self.checkpoints.best(), self.verdict[name]
        sign = 1 if self.spec.best_is == "highest" else -1
        if before is None or sign * value > sign * before["value"]:
            self.checkpoints.mark_best(self.step, value)

    def _held_out(self, number: int, seed: int) -> list[Batch]:
        return evaluation.clips(self.recipe, self.dataset, self.recipe.data.held_out, number, self.words, seed=seed)


class Stopwatch:
    """Times steps, and the part of them that waits for data."""

    def __init__(self, reading: Loader) -> None:
        self._reading = reading
        self._seconds, self._steps, self._waited = 0.0, 0, reading.waited_seconds

    def __enter__(self) -> None:
        self._begun = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self._seconds += time.perf_counter() - self._begun
        self._steps += 1

    def take(self, clips_per_step: int) -> dict[str, float]:
        """Return the clips per second and the share of time that waited for data, and begin anew."""
        waited = self._reading.waited_seconds - self._waited
        seconds = max(self._seconds, 1e-9)
        found = {"clips_per_second": self._steps * clips_per_step / seconds, "waiting": waited / seconds}
        self._seconds, self._steps, self._waited = 0.0, 0, self._reading.waited_seconds
        return found


def set_up_torch(spec: RunSpec) -> None:
    """Have torch compute as the run does, from now on and in this process: on as many threads, small numbers as 0."""
    if spec.threads is not None:
        torch.set_num_threads(spec.threads)
    # Numbers next to nothing, as lie in averages and moments for long, take a processor a hundred times as long as 0.
    torch.set_flush_denormal(True)


def chosen_device(name: str, ranks: Ranks) -> torch.device:
    """Return the device that is asked for; ``auto`` is CUDA where there is one, else MPS, else the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return torch.device(name, ranks.local_rank) if name == "cuda" else torch.device(name)


def open_loader(recipe: Recipe, dataset: Dataset, words: Vocabulary, ranks: Ranks, device: torch.device) -> Loader:
    """Return the loader of full batches of pixels, of this rank's clips."""
    spec = dataclasses.replace(recipe.load, drop_last=True, dtype="uint8")
    resources = Resources(workers=recipe.data.workers, device=str(device) if device.type == "cuda" else "cpu")
    return loader(
        dataset[recipe.data.split], spec, vocabulary=words, seed=recipe.seed, rank=ranks.rank, world=ranks.world,
        resources=resources,
    )  # fmt: skip


def setting_of(recipe: Recipe, reading: Loader, words: Vocabulary, device: torch.device, ranks: Ranks) -> family.Setting:
    """Return what a trainer works on, and how."""
    bfloat16 = recipe.run.precision == "bfloat16"
    return family.Setting(
        vocabulary=words, labels=reading.labels, shape=reading.shape, device=device,
        autocast=lambda: torch.autocast(device.type, torch.bfloat16, enabled=bfloat16),
        rank=ranks.rank, world=ranks.world,
    )  # fmt: skip


def endless(reading: Loader) -> Iterator[Batch]:
    """Yield batches, epoch after epoch."""
    while True:
        yield from reading


def frame_rate(recipe: Recipe, dataset: Dataset) -> float:
    """Return how many frames a second the clips have that the loader gives."""
    own = dataset[recipe.data.split][0].frames.fps
    return recipe.load.fps or own / recipe.load.stride

"""The training loop that all families share.

A run is a folder: recipe.yaml (the complete recipe), run.json (versions, data), metrics.jsonl, tensorboard/, pictures/ and
checkpoints/. A step is a pure function of the weights, the batches and (seed, step): a killed run resumes from its last
checkpoint and writes the same numbers again, bit for bit on a CPU with the same number of threads.
"""

from __future__ import annotations

import dataclasses
import itertools
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from baselines import evaluation, family, pictures
from baselines.checkpoints import Checkpoints
from baselines.devices import choose_device, configure_torch
from baselines.distributed import ProcessGroup
from baselines.family import TrainerSetup
from baselines.interruption import InterruptedRunError, Interruption
from baselines.learner import DivergedError
from baselines.metrics import MetricsLog, RunningMeans, Stopwatch
from baselines.randomness import StepRandom
from baselines.recipe import Recipe
from baselines.run_folder import RunFolder
from t2vdata.errors import T2VError
from t2vdata.format.dataset import Dataset, open_dataset
from t2vdata.loading import Batch, Loader, Resources, loader
from t2vdata.text.vocabulary import Vocabulary

# Fixed seeds, so that the clips of pictures and evaluations cannot be hand-picked.
_PICTURE_SEED, _EVALUATION_SEED = 1, 2


class RunFailedError(T2VError):
    """A run keeps diverging after several returns to its last checkpoint."""


def train(recipe: Recipe, path: Path, group: ProcessGroup) -> None:
    """Train to ``recipe.run.steps``, from the last checkpoint in the run's folder if it has one.

    After Ctrl-C or SIGTERM, on any rank, all ranks end after the running step; raises InterruptedRunError.
    """
    run = Run(recipe, path, group)
    run.start_or_resume()
    try:
        with Interruption() as interruption:
            while run.step < recipe.run.steps:
                run.update()
                run.log()
                run.draw()
                run.evaluate()
                run.save()
                run.end_if_asked(interruption)
    finally:
        run.close()


class Run:
    """A model in training, with its data and its folder."""

    def __init__(self, recipe: Recipe, path: Path, group: ProcessGroup) -> None:
        self.recipe, self.spec, self.group, self.folder = recipe, recipe.run, group, RunFolder(path)
        self.device = choose_device(self.spec.device, group)
        configure_torch(self.spec)
        self.dataset = open_dataset(recipe.data.path)
        self.vocabulary = Vocabulary.load(self.dataset.vocabulary_path, fingerprint=self.dataset.fingerprint)
        self.reading = open_loader(recipe, self.dataset, self.vocabulary, group, self.device)
        self.fps = frame_rate(recipe, self.dataset)
        self.setup = trainer_setup(recipe, self.reading, self.vocabulary, self.device, group)
        torch.manual_seed(recipe.seed)
        self.trainer = family.load(recipe.family).Trainer(recipe, self.setup)
        self.checkpoints = Checkpoints(self.folder.checkpoints, keep=self.spec.keep)
        self.step = self.num_returns = 0
        self.metrics_log: MetricsLog | None = None
        """Only the main process has one."""
        self.latest_evaluation: dict[str, float] = {}
        # False after a return to a checkpoint, whose step has been logged already.
        self._has_moved = self._is_saved = False
        self._batches, self._means, self._stopwatch = endless(self.reading), RunningMeans(), Stopwatch(self.reading)
        self._evaluated = self._held_out(self.spec.num_judged, _EVALUATION_SEED) if self.spec.judge_every else []
        self._pictured = self._held_out(self.spec.num_pictured, _PICTURE_SEED) if self.spec.picture_every else []

    def start_or_resume(self) -> None:
        """Load the last checkpoint; a new run first writes one of its initial state."""
        if self.group.is_main:
            self.folder.create(self.recipe, self.setup, self.dataset.fingerprint, self.fps)
            if not self.checkpoints.steps():
                self.checkpoints.save(0, self._state(0))
        self.group.barrier()
        state = self._load("last")
        self.reading.load_state_dict(state["loader"])
        self.num_returns = state["num_returns"]
        self._load_means(state.get("means", []))
        self._open_metrics_log(state)
        if self.metrics_log is not None and self.step:
            next_step = f"resumes at step {self.step + 1:,} of {self.spec.steps:,}"
            is_finished = self.step >= self.spec.steps
            self.metrics_log.print(f"{self.folder.path} {'has finished all its steps' if is_finished else next_step}")

    def update(self) -> None:
        """Run one step; if it diverges, return to the last checkpoint."""
        with self._stopwatch:
            batches = [batch.to(self.device) for batch in itertools.islice(self._batches, self.spec.accumulate)]
            random = StepRandom(self.recipe.seed, self.step, rank=self.group.rank, world=self.group.world, device=self.device)
            torch.manual_seed(random.rank_seed)
            try:
                self._means.add(self.trainer.step(batches, random))
            except DivergedError as reason:
                self._return(reason)
                return
            self.step += 1
            self._has_moved, self._is_saved = True, False

    def log(self) -> None:
        """Log the means of the losses since the last line, the speed, and the share of time spent waiting for data."""
        if not self._is_due(self.spec.log_every):
            return
        numbers = self.group.average(self._means.take(), self.device)
        clips_per_step = self.spec.accumulate * self.recipe.load.batch_size * self.group.world
        numbers |= {"clips": self.step * clips_per_step, **self._stopwatch.take(clips_per_step)}
        if self.metrics_log is not None:
            self.metrics_log.write(self.step, numbers)
            self.metrics_log.show(self.step, numbers)

    def draw(self) -> None:
        """Write a picture of real clips beside generated ones, for the same captions and noise each time."""
        if self.metrics_log is None or not self._is_due(self.spec.picture_every):
            return
        real = torch.cat([batch.video for batch in self._pictured])
        captions = evaluation.captions_of(self._pictured)
        generated = evaluation.sample(self.trainer, captions, seed=_PICTURE_SEED, device=self.device)
        pictures.write_pairs(real, generated, captions, self.fps, self.folder.pictures / f"step-{self.step:08d}")

    def evaluate(self) -> None:
        """Evaluate the model on held-out captions and clips."""
        self.latest_evaluation = {}
        if self.metrics_log is None or not self._is_due(self.spec.judge_every):
            return
        metrics = evaluation.evaluate(self.trainer, self._evaluated, seed=_EVALUATION_SEED, device=self.device)
        self.metrics_log.write(self.step, {f"held_out/{name}": value for name, value in metrics.items()})
        text = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        self.metrics_log.print(f"step {self.step:,} on {self.recipe.data.held_out}: {text}")
        self.latest_evaluation = metrics

    def save(self) -> None:
        """Write a checkpoint, and record the best."""
        if not self._is_due(self.spec.checkpoint_every):
            return
        if self.metrics_log is not None:
            self.checkpoints.save(self.step, self._state(self.metrics_log.size_bytes))
            self._mark_best()
        # The checkpoint must exist before any rank may return to it.
        self.group.barrier()
        self._is_saved = True

    def end_if_asked(self, interruption: Interruption) -> None:
        """If a signal asked any rank to end, save what the last step left, so that nothing is trained twice.

        Raises InterruptedRunError then, on every rank.
        """
        number = self.group.maximum(interruption.number, self.device)
        if not number or self.step == self.spec.steps:
            return
        if not self._is_saved:
            means = self._means_of_ranks()
            if self.metrics_log is not None:
                self.checkpoints.save_interrupted(self.step, self._state(self.metrics_log.size_bytes) | {"means": means})
        self.group.barrier()
        raise InterruptedRunError(
            f"{signal.Signals(number).name} after step {self.step:,} of {self.spec.steps:,}: saved in {self.folder.path}; "
            f"resumes at step {self.step + 1:,}",
            number,
        )

    def close(self) -> None:
        self.reading.close()
        if self.metrics_log is not None:
            self.metrics_log.close()

    def _is_due(self, every: int | None) -> bool:
        return every is not None and self._has_moved and (self.step % every == 0 or self.step == self.spec.steps)

    def _return(self, reason: DivergedError) -> None:
        """Restore the weights of the last checkpoint. The data continues, because the same batches would diverge again."""
        self.num_returns += 1
        self._has_moved = self._is_saved = False
        failed_step = self.step + 1
        if self.num_returns > self.spec.max_returns:
            raise RunFailedError(
                f"step {failed_step}: {reason}, after {self.spec.max_returns} returns to a checkpoint; "
                "lower lr, or set clip_norm"
            ) from reason
        # Not one of an interruption: a run that was interrupted returns to where an undisturbed run does.
        state = self._load("scheduled")
        self._means, self._stopwatch = RunningMeans(), Stopwatch(self.reading)
        self._open_metrics_log(state)
        if self.metrics_log is not None:
            self.metrics_log.write(self.step, {"returned_from": failed_step, "why": str(reason)})
            self.metrics_log.print(f"step {failed_step:,}: {reason}; back to step {self.step:,}")

    def _load(self, which: str) -> dict[str, Any]:
        self.step, state = self.checkpoints.load(which)
        self.trainer.load_state_dict(state["trainer"])
        return state

    def _state(self, metrics_bytes: int) -> dict[str, Any]:
        return {
            "trainer": self.trainer.state_dict(),
            "loader": self.reading.state_dict(),
            # Size of metrics.jsonl; the key is part of the checkpoint format.
            "journal_bytes": metrics_bytes,
            "num_returns": self.num_returns,
        }

    def _means_of_ranks(self) -> list[dict[str, list[float]]]:
        """Return the means since the last line of metrics.jsonl: {name: [sum, count]} of each rank."""
        state = self._means.state()
        ranks = self.group.gather([number for pair in state.values() for number in pair], self.device)
        pairs = [zip(numbers[::2], numbers[1::2], strict=True) for numbers in ranks]
        return [dict(zip(state, map(list, of_rank), strict=True)) for of_rank in pairs]

    def _load_means(self, ranks: Sequence[Mapping[str, Sequence[float]]]) -> None:
        # On another number of ranks, each line until the next checkpoint averages over the rank 0 of before.
        if ranks:
            self._means.load(ranks[self.group.rank if len(ranks) == self.group.world else 0], self.device)

    def _open_metrics_log(self, state: dict[str, Any]) -> None:
        if self.metrics_log is not None:
            self.metrics_log.close()
        if self.group.is_main:
            self.metrics_log = MetricsLog(
                self.folder.path, step=self.step, steps=self.spec.steps, size_bytes=state["journal_bytes"]
            )

    def _mark_best(self) -> None:
        name, metrics = self.spec.best, self.latest_evaluation
        if name is None or not metrics:
            return
        if name not in metrics:
            raise RunFailedError(f"run.best {name!r} is not a metric of the evaluation; choose from {', '.join(metrics)}")
        best, value = self.checkpoints.best(), metrics[name]
        sign = 1 if self.spec.best_is == "highest" else -1
        if best is None or sign * value > sign * best["value"]:
            self.checkpoints.mark_best(self.step, value)

    def _held_out(self, num_clips: int, seed: int) -> list[Batch]:
        split = self.recipe.data.held_out
        return evaluation.read_clips(self.recipe, self.dataset, split, num_clips, self.vocabulary, seed=seed)


def open_loader(recipe: Recipe, dataset: Dataset, vocabulary: Vocabulary, group: ProcessGroup, device: torch.device) -> Loader:
    """Return the loader of this rank's clips: full batches, uint8."""
    spec = dataclasses.replace(recipe.load, drop_last=True, dtype="uint8")
    resources = Resources(workers=recipe.data.workers, device=str(device) if device.type == "cuda" else "cpu")
    return loader(
        dataset[recipe.data.split], spec, vocabulary=vocabulary, seed=recipe.seed, rank=group.rank, world=group.world,
        resources=resources,
    )  # fmt: skip


def trainer_setup(
    recipe: Recipe, reading: Loader, vocabulary: Vocabulary, device: torch.device, group: ProcessGroup
) -> TrainerSetup:
    """Return the facts about data and device that the trainer needs."""
    is_bfloat16 = recipe.run.precision == "bfloat16"
    return TrainerSetup(
        vocabulary=vocabulary, labels=reading.labels, shape=reading.shape, device=device,
        autocast=lambda: torch.autocast(device.type, torch.bfloat16, enabled=is_bfloat16),
        rank=group.rank, world=group.world,
    )  # fmt: skip


def endless(reading: Loader) -> Iterator[Batch]:
    """Yield batches, epoch after epoch."""
    while True:
        yield from reading


def frame_rate(recipe: Recipe, dataset: Dataset) -> float:
    """Return the frames per second of the clips that the loader yields."""
    native_fps = dataset[recipe.data.split][0].frames.fps
    return recipe.load.fps or native_fps / recipe.load.stride

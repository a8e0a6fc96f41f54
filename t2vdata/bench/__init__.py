"""Measure how fast a built dataset loads on this machine, compared with decoding alone."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from t2vdata import extras, storage
from t2vdata.bench import floor, machine
from t2vdata.errors import RequestError
from t2vdata.format.dataset import Dataset, open_dataset
from t2vdata.loading.index import SplitIndex
from t2vdata.loading.spec import LoadSpec, Resources
from t2vdata.processes import usable_cores
from t2vdata.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from t2vdata.loading.batch import Batch
    from t2vdata.loading.dataloader import Loader

__all__ = ["BenchReport", "bench"]

_PARTS = 5
# Not measured: the first batches include the start of the workers. Two, because two workers deliver batches in pairs.
_WARM_UP = 2


@dataclass(frozen=True)
class BenchReport:
    """The result of a benchmark, with the data and machine it was measured on."""

    dataset: str
    path: str
    split: str
    clips: int
    """Clips in the split; small splits are read repeatedly."""
    batch_shape: tuple[int, ...]
    """(B, C, T, H, W) of the first batch; uint8 by default."""
    has_tokens: bool
    """Whether captions were encoded, which needs a vocabulary in the dataset's folder."""
    seconds: float
    """Length of the measurement, from the second batch to the last."""
    clips_read: int
    batches_read: int
    clips_per_second: float
    """Median of ``clips_per_second_of_parts``."""
    clips_per_second_of_parts: tuple[float, ...]
    """For five equal parts of the time; a batch that falls into two parts is divided."""
    clips_per_second_overall: float
    encoded_bytes_per_second: float
    """Bytes of pixel members as stored in the shards."""
    pixel_bytes_per_second: float
    """Bytes of the batches' video tensors."""
    first_batch_seconds: float
    """From opening the dataset to the first batch, excluding imports."""
    batch_milliseconds_p50: float
    """Time from one batch to the next, including the training step."""
    batch_milliseconds_p95: float
    cpu_seconds_per_1000_clips: float
    """For this process with all its threads and, on systems with /proc, the worker processes."""
    peak_bytes: int
    """Peak resident memory of this process since it started plus that of its workers; shared memory counts in each."""
    step_milliseconds: float | None
    """Length of the simulated training step; None without one."""
    waited_share: float
    """Share of the time spent waiting for batches; the rest was the step."""
    workers: int
    processes: bool | None
    """Whether workers were processes; None if unknown (no /proc)."""
    prefetch: int
    backends: dict[str, str]
    """{extension: decoder}"""
    floor_clips_per_second: float
    """Decoding the same clips from memory, whole, on as many workers of the same kind."""
    share_of_floor: float | None
    """``clips_per_second / floor_clips_per_second``; None with a step, which sets the pace. Over 1 if batches take fewer frames
    than clips have, or if the loader avoids the cost of opening each file."""
    cores: int
    """Usable by this process."""
    versions: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def bench(
    path: str | os.PathLike[str],
    *,
    split: str | None = None,
    spec: LoadSpec | None = None,
    resources: Resources | None = None,
    seconds: float = 5.0,
    step_milliseconds: float | None = None,
    seed: int = 0,
) -> BenchReport:
    """Measure for ``seconds`` how fast the dataset at ``path``, a folder or URL, yields batches, then how fast it decodes.

    ``split`` defaults to ``train``, or to the first split if there is no ``train``. ``step_milliseconds`` adds a sleep after
    each batch, as if a GPU were busy. Raises RequestError without torch.
    """
    if not seconds > 0:
        raise RequestError(f"--seconds {seconds:g}: expected more than 0")
    if step_milliseconds is not None and not step_milliseconds > 0:
        raise RequestError(f"--step-ms {step_milliseconds:g}: expected more than 0")
    make_loader = _loader_class()
    spec, resources = spec or LoadSpec(), resources or Resources()
    other_children = machine.children()
    began = time.perf_counter()
    dataset = open_dataset(path)
    chosen = dataset[split or ("train" if "train" in dataset.splits else dataset.splits[0])]
    vocabulary = _vocabulary(dataset)
    with make_loader(chosen, spec, vocabulary=vocabulary, seed=seed, resources=resources) as loader:
        batches = _batches_of_all_epochs(loader)
        shape = tuple(next(batches).video.shape)
        first_seconds = time.perf_counter() - began
        workers = sorted(machine.children() - other_children)
        run = _measure(batches, seconds, step_milliseconds, workers)
        rows = _rows(loader, run.num_batches)
        num_workers = loader.num_workers
    index = SplitIndex.read(chosen)
    clips = floor.distinct_clips(index, rows)
    uses_processes = bool(workers) if machine.has_proc() else resources.processes
    job = floor.Job(dataset.path, index.shards, clips, resources.cache, seconds)
    floor_rate = floor.clips_per_second(job, num_workers, in_processes=bool(uses_processes))
    measured = run.report_fields()
    return BenchReport(
        **measured,
        dataset=dataset.manifest.dataset,
        path=dataset.path,
        split=chosen.name,
        clips=len(chosen),
        batch_shape=shape,
        has_tokens=vocabulary is not None,
        encoded_bytes_per_second=float(index.numbers["pixels_size"][rows].sum()) / run.seconds,
        first_batch_seconds=first_seconds,
        step_milliseconds=step_milliseconds,
        workers=num_workers,
        processes=uses_processes,
        prefetch=resources.prefetch,
        backends=floor.backends(job),
        floor_clips_per_second=floor_rate,
        share_of_floor=measured["clips_per_second"] / floor_rate if step_milliseconds is None else None,
        cores=usable_cores(),
        versions=machine.versions(),
    )


def _loader_class() -> type[Loader]:
    try:
        from t2vdata.loading.dataloader import Loader
    except ModuleNotFoundError as error:
        missing = extras.explained(error, "making batches")
        if missing is None:
            raise
        raise missing from error
    return Loader


def _vocabulary(dataset: Dataset) -> Vocabulary | None:
    if not storage.exists(dataset.vocabulary_path):
        return None
    return Vocabulary.load(dataset.vocabulary_path, fingerprint=dataset.fingerprint)


def _batches_of_all_epochs(loader: Loader) -> Iterator[Batch]:
    """Yield the batches of one epoch after another."""
    while True:
        yield from loader


def _rows(loader: Loader, num_batches: int) -> NDArray[np.int64]:
    """Return the numbers of the samples in the measured batches."""
    batches = itertools.chain.from_iterable(map(loader.batches, itertools.count()))
    return np.concatenate(list(itertools.islice(batches, _WARM_UP, _WARM_UP + num_batches)))


@dataclass(frozen=True)
class _Run:
    """The measured batches and what they cost."""

    times: Sequence[float]
    """When the measurement started, and when each batch was finished."""
    clips: Sequence[int]
    """Clips received by each of ``times``."""
    pixel_bytes: int
    waited_seconds: float
    cpu_seconds: float
    peak_bytes: int

    @property
    def seconds(self) -> float:
        return self.times[-1] - self.times[0]

    @property
    def num_batches(self) -> int:
        return len(self.times) - 1

    @property
    def num_clips(self) -> int:
        return self.clips[-1]

    def clips_per_second_of_parts(self) -> tuple[float, ...]:
        boundaries = np.linspace(self.times[0], self.times[-1], _PARTS + 1)
        counts = np.diff(np.interp(boundaries, self.times, self.clips))
        return tuple((counts / (self.seconds / _PARTS)).tolist())

    def report_fields(self) -> dict[str, Any]:
        """Return the fields of ``BenchReport`` that follow from the run alone."""
        parts = self.clips_per_second_of_parts()
        p50, p95 = (np.percentile(np.diff(self.times), [50, 95]) * 1000).tolist()
        return {
            "seconds": self.seconds,
            "clips_read": self.num_clips,
            "batches_read": self.num_batches,
            "clips_per_second": float(np.median(parts)),
            "clips_per_second_of_parts": parts,
            "clips_per_second_overall": self.num_clips / self.seconds,
            "pixel_bytes_per_second": self.pixel_bytes / self.seconds,
            "batch_milliseconds_p50": p50,
            "batch_milliseconds_p95": p95,
            "cpu_seconds_per_1000_clips": 1000 * self.cpu_seconds / self.num_clips,
            "peak_bytes": self.peak_bytes,
            "waited_share": self.waited_seconds / self.seconds,
        }


def _measure(batches: Iterator[Batch], seconds: float, step_milliseconds: float | None, workers: Sequence[int]) -> _Run:
    """Take batches for ``seconds``, at least one; the first batch has been taken already."""
    for _ in range(_WARM_UP - 1):
        next(batches)
    cpu = machine.cpu_seconds(workers)
    pixel_bytes, waited = 0, 0.0
    times, clips = [time.perf_counter()], [0]
    while times[-1] - times[0] < seconds:
        batch = next(batches)
        waited += time.perf_counter() - times[-1]
        if step_milliseconds is not None:
            time.sleep(step_milliseconds / 1000)
        pixel_bytes += batch.video.nbytes
        clips.append(clips[-1] + len(batch))
        times.append(time.perf_counter())
    return _Run(times, clips, pixel_bytes, waited, machine.cpu_seconds(workers) - cpu, machine.peak_bytes(workers))

"""How fast a built dataset is read into batches on this machine, and how fast its bytes decode when nothing else is done."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from t2vdata import storage
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
# The first batches pay for starting workers; two, as two workers deliver theirs in pairs.
_WARM_UP = 2


@dataclass(frozen=True)
class BenchReport:
    """What was measured, and on what."""

    dataset: str
    path: str
    split: str
    clips: int
    """Clips of the split; small splits are read over and over."""
    batch_shape: tuple[int, ...]
    """(B, C, T, H, W) of the first batch, uint8 unless the spec says otherwise."""
    has_tokens: bool
    """Whether captions were encoded: with the vocabulary in the dataset's folder, where there is one."""
    seconds: float
    """How long was measured: from the second batch to the last one."""
    clips_read: int
    batches_read: int
    clips_per_second: float
    """Median of ``clips_per_second_of_parts``."""
    clips_per_second_of_parts: tuple[float, ...]
    """Of five equally long parts of the time; a batch that falls into two of them is divided."""
    clips_per_second_overall: float
    encoded_bytes_per_second: float
    """Bytes of pixel members, as they lie in the shards."""
    pixel_bytes_per_second: float
    """Bytes of the batches' video tensors."""
    first_batch_seconds: float
    """From opening the dataset to the first batch; without imports."""
    batch_milliseconds_p50: float
    """Time from one batch to the next, the training step included."""
    batch_milliseconds_p95: float
    cpu_seconds_per_1000_clips: float
    """Of this process, all its threads, and the worker processes (those only where there is /proc)."""
    peak_bytes: int
    """Resident memory at its highest, of this process since it began and of its workers; what they share counts in each."""
    step_milliseconds: float | None
    """How long the simulated training step took; None without one."""
    waited_share: float
    """Share of the time that was spent in getting batches; the rest was the step."""
    workers: int
    processes: bool | None
    """Whether workers were processes; None where the system does not tell (no /proc)."""
    prefetch: int
    backends: dict[str, str]
    """{extension: what decodes it}"""
    floor_clips_per_second: float
    """The same bytes from memory, whole clips decoded and dropped, on as many workers of the same kind."""
    share_of_floor: float | None
    """``clips_per_second`` by ``floor_clips_per_second``; None with a step, which sets the pace. Over 1 when fewer frames are
    taken than a clip has, or when the loader saves what opening each file costs."""
    cores: int
    """That this process may use."""
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
    """Measure for ``seconds`` how fast the dataset at ``path``, a folder or URL, gives batches, and then its decoding alone.

    ``split`` is ``train`` unless told, or the first when there is none. With ``step_milliseconds`` each batch is followed by a
    sleep of that length, as if a GPU were busy. Raises RequestError without torch.
    """
    if not seconds > 0:
        raise RequestError(f"--seconds {seconds:g}: expected more than 0")
    if step_milliseconds is not None and not step_milliseconds > 0:
        raise RequestError(f"--step-ms {step_milliseconds:g}: expected more than 0")
    make_loader = _loader_class()
    spec, resources = spec or LoadSpec(), resources or Resources()
    others = machine.children()
    began = time.perf_counter()
    dataset = open_dataset(path)
    chosen = dataset[split or ("train" if "train" in dataset.splits else dataset.splits[0])]
    vocabulary = _vocabulary(dataset)
    with make_loader(chosen, spec, vocabulary=vocabulary, seed=seed, resources=resources) as loader:
        batches = _for_ever(loader)
        shape = tuple(next(batches).video.shape)
        first_seconds = time.perf_counter() - began
        workers = sorted(machine.children() - others)
        run = _measure(batches, seconds, step_milliseconds, workers)
        rows = _rows(loader, run.num_batches)
        num_workers = loader.num_workers
    table = SplitIndex.read(chosen)
    clips = floor.different_clips(table, rows)
    in_processes = bool(workers) if machine.has_proc() else resources.processes
    job = floor.Job(dataset.path, table.shards, clips, resources.cache, seconds)
    bottom = floor.clips_per_second(job, num_workers, in_processes=bool(in_processes))
    parts = run.clips_per_second_of_parts()
    p50, p95 = (np.percentile(np.diff(run.times), [50, 95]) * 1000).tolist()
    return BenchReport(
        dataset=dataset.manifest.dataset,
        path=dataset.path,
        split=chosen.name,
        clips=len(chosen),
        batch_shape=shape,
        has_tokens=vocabulary is not None,
        seconds=run.seconds,
        clips_read=run.num_clips,
        batches_read=run.num_batches,
        clips_per_second=float(np.median(parts)),
        clips_per_second_of_parts=parts,
        clips_per_second_overall=run.num_clips / run.seconds,
        encoded_bytes_per_second=float(table.numbers["pixels_size"][rows].sum()) / run.seconds,
        pixel_bytes_per_second=run.pixel_bytes / run.seconds,
        first_batch_seconds=first_seconds,
        batch_milliseconds_p50=p50,
        batch_milliseconds_p95=p95,
        cpu_seconds_per_1000_clips=1000 * run.cpu_seconds / run.num_clips,
        peak_bytes=run.peak_bytes,
        step_milliseconds=step_milliseconds,
        waited_share=run.waited_seconds / run.seconds,
        workers=num_workers,
        processes=in_processes,
        prefetch=resources.prefetch,
        backends=floor.backends(job),
        floor_clips_per_second=bottom,
        share_of_floor=float(np.median(parts)) / bottom if step_milliseconds is None else None,
        cores=usable_cores(),
        versions=machine.versions(),
    )


def _loader_class() -> type[Loader]:
    try:
        from t2vdata.loading.dataloader import Loader
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != "torch":
            raise
        raise RequestError("batches need torch, which is not installed: pip install 't2vdata[torch]'") from error
    return Loader


def _vocabulary(dataset: Dataset) -> Vocabulary | None:
    there = storage.exists(dataset.vocabulary_path)
    return Vocabulary.load(dataset.vocabulary_path, fingerprint=dataset.fingerprint) if there else None


def _for_ever(loader: Loader) -> Iterator[Batch]:
    """Yield the batches of one epoch after another."""
    while True:
        epoch = loader.epoch
        batch = None
        for batch in loader:
            yield batch
        if batch is None:
            raise RequestError(f"epoch {epoch} gives no batch; ask for a smaller batch, or check with `t2vdata verify --deep`")


def _rows(loader: Loader, num_batches: int) -> NDArray[np.int64]:
    """Return the numbers of the samples in the batches that were measured."""
    batches = itertools.chain.from_iterable(map(loader.batches, itertools.count()))
    return np.concatenate(list(itertools.islice(batches, _WARM_UP, _WARM_UP + num_batches)))


@dataclass(frozen=True)
class _Run:
    """Batches that came, and what they cost."""

    times: Sequence[float]
    """When the clock began, and when each batch was done with."""
    clips: Sequence[int]
    """Clips that had come at each of ``times``."""
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
        borders = np.linspace(self.times[0], self.times[-1], _PARTS + 1)
        counts = np.diff(np.interp(borders, self.times, self.clips))
        return tuple((counts / (self.seconds / _PARTS)).tolist())


def _measure(batches: Iterator[Batch], seconds: float, step_milliseconds: float | None, workers: Sequence[int]) -> _Run:
    """Take batches for so many seconds, at least one; the first was taken already."""
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

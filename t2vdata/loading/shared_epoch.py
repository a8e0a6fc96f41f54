"""The epoch of each loop over a ``DataLoader``, agreed between its worker processes."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import DupFd
from typing import Any, NamedTuple

import numpy as np

from t2vdata.errors import RequestError, WorkerDiedError
from t2vdata.loading.memory import BatchMemory
from t2vdata.loading.ranks import Rank, Ranks

_MAX_WORKERS = 512
# Loops that may begin at the same time.
_NUM_LOOPS = 32
# Processes that a fork gave the same memory, such as the ranks of one machine.
_MAX_TRAINERS = 256
_TRAINER = np.dtype([(name, "i8") for name in ("id", "next_epoch", "was_set", "rank", "world")])
_NUMBERS = ("trainer", "seed", "round", "number", "epoch", "resumes", "first_worker", "num_restored", "num_yielded", "status")
_LOOP = np.dtype([*((name, "i8") for name in _NUMBERS), ("joined", "u1", (_MAX_WORKERS,))])
_SHARED = np.dtype([("trainers", _TRAINER, (_MAX_TRAINERS,)), ("num_loops", "i8"), ("loops", _LOOP, (_NUM_LOOPS,))])
# Status of a loop: not all of its workers have begun; it has an epoch; that epoch follows one that was over when it was saved.
_BEGINS, _RUNS, _FOLLOWS = 0, 1, 2
# All workers of a loop start at about the same time; importing torch takes seconds, on a busy machine more.
_START_SECONDS = 300
_POLL_SECONDS = 0.005
# A DataLoader requests this many batches of a worker before it yields one (its prefetch_factor is 2 by default).
_MAX_PREFETCHED = 4
# How long StatefulDataLoader takes to replace the workers of a loop that it never yields from.
_REPLACE_SECONDS = 2


class LoopId(NamedTuple):
    """What the workers of one loop have in common, and those of two loops do not."""

    trainer: int
    """Id of the process that loops over the DataLoader."""
    seed: int
    """The base seed of the workers."""
    round: int
    """How often the workers have looped."""


class Worker(NamedTuple):
    """A worker of a loop, and what all of them read: ``num_batches`` in an epoch."""

    number: int
    num_workers: int
    num_batches: int


class Position(NamedTuple):
    """Position of a worker in an epoch: the batches that it yielded, and the worker that yields the epoch's first batch."""

    epoch: int
    num_yielded: int = 0
    first_worker: int = 0

    def share(self, worker: Worker) -> slice:
        """Return which batches of the epoch are left for a worker."""
        first = (worker.number - self.first_worker) % worker.num_workers
        return slice(first + self.num_yielded * worker.num_workers, None, worker.num_workers)


class AgreedLoop:
    """A loop in one worker."""

    def __init__(self, shared: SharedEpoch, entry: Any, worker: Worker, restored: Position | None) -> None:
        self._shared, self._entry, self._worker, self._restored = shared, entry, worker, restored

    def position(self) -> Position:
        """Return where this worker begins, once all workers of the loop have begun if they restore a state."""
        _wait(lambda: self._entry["status"] != _BEGINS, _START_SECONDS)
        if self._entry["status"] == _BEGINS:
            raise WorkerDiedError(f"another worker of this DataLoader has not started within {_START_SECONDS} s")
        if self._may_be_replaced():
            _wait(lambda: self._shared.num_loops > self._entry["number"] + 1, _REPLACE_SECONDS)
        num_yielded = self._restored.num_yielded if self._entry["resumes"] and self._restored is not None else 0
        return Position(int(self._entry["epoch"]), num_yielded, int(self._entry["first_worker"]))

    def end(self) -> None:
        """End the loop: its last batch is about to be yielded."""
        with self._shared.locked(int(self._entry["trainer"])) as trainer:
            # Otherwise it has been accounted for when it began.
            if self._entry["status"] == _FOLLOWS and trainer["next_epoch"] == self._entry["epoch"]:
                if trainer["was_set"] and self._may_be_replaced():
                    return
                trainer["next_epoch"], trainer["was_set"] = self._entry["epoch"] + 1, 0

    def _may_be_replaced(self) -> bool:
        """Return whether this loop may reach its end without anybody having taken a batch of it.

        From a state that was saved after the end of a loop, StatefulDataLoader begins a loop, and then another, and yields only
        from that. A state saved after the last batch looks the same to the workers, and its loop is the one that counts.
        """
        is_short = -(-self._worker.num_batches // self._worker.num_workers) <= _MAX_PREFETCHED
        return bool(self._entry["status"] == _FOLLOWS) and is_short and self._worker.num_workers > 1


class SharedEpoch:
    """Memory that the copies of a dataset in the workers of a DataLoader share with the original.

    A copy by ``pickle`` or ``copy`` begins with the epoch of its original, and has memory of its own.
    """

    def __init__(self, memory: BatchMemory | None = None) -> None:
        self._memory = memory or BatchMemory(_SHARED.itemsize)
        self._shared = self._memory.bytes.view(_SHARED)[0]
        self._lock = threading.Lock()
        if memory is None:
            self._shared["trainers"][0]["id"] = os.getpid()

    def next_epoch(self, trainer_id: int) -> int:
        """Return the epoch of the next loop in a process."""
        with self.locked(trainer_id) as trainer:
            return int(trainer["next_epoch"])

    @property
    def num_loops(self) -> int:
        """How many loops have begun."""
        return int(self._shared["num_loops"])

    def set(self, trainer_id: int, epoch: int) -> None:
        """Set the epoch of the next loop in a process."""
        with self.locked(trainer_id) as trainer:
            trainer["next_epoch"], trainer["was_set"] = epoch, 1

    def begin(self, loop_id: LoopId, worker: Worker, ranks: Ranks, restored: Position | None) -> AgreedLoop:
        """Begin a loop, or join it if another worker has begun it.

        If the workers restore positions of an epoch, the loop continues it, or if it is over, has the next one. Another epoch
        that was set overrules it. Raises RequestError if the ranks are not those of earlier loops.
        """
        with self.locked(loop_id.trainer) as trainer:
            earlier = Rank(int(trainer["rank"]), int(trainer["world"])) if trainer["world"] else None
            trainer["rank"], trainer["world"] = ranks.agreed(earlier)
            entry = self._find(loop_id, worker)
            if entry is None:
                entry = self._create(loop_id)
                if restored is None:
                    entry["epoch"], entry["status"] = trainer["next_epoch"], _RUNS
                    trainer["next_epoch"], trainer["was_set"] = entry["epoch"] + 1, 0
            entry["joined"][worker.number % _MAX_WORKERS] = 1
            if restored is not None:
                entry["num_restored"] += 1
                entry["num_yielded"] += restored.num_yielded
                if entry["num_restored"] == worker.num_workers:
                    _restore(entry, trainer, worker, restored)
            return AgreedLoop(self, entry, worker, restored)

    @contextlib.contextmanager
    def locked(self, trainer_id: int) -> Iterator[Any]:
        """Hold the lock of all processes and threads; yield what the loops of a process share."""
        import fcntl

        # The second is per process: threads share it.
        with self._lock:
            fcntl.lockf(self._memory.file, fcntl.LOCK_EX)
            try:
                yield self._trainer(trainer_id)
            finally:
                fcntl.lockf(self._memory.file, fcntl.LOCK_UN)

    def _create(self, loop_id: LoopId) -> Any:
        entry = self._shared["loops"][self.num_loops % _NUM_LOOPS]
        for name in (*_NUMBERS, "joined"):
            entry[name] = 0
        entry["trainer"], entry["seed"], entry["round"] = loop_id
        entry["number"] = self.num_loops
        self._shared["num_loops"] += 1
        return entry

    def _trainer(self, trainer_id: int) -> Any:
        """Return the entry of a process; a new one begins like the process that created this memory."""
        trainers = self._shared["trainers"]
        for trainer in trainers:
            if trainer["id"] == trainer_id:
                return trainer
            if not trainer["id"]:
                trainer["next_epoch"], trainer["was_set"] = trainers[0]["next_epoch"], trainers[0]["was_set"]
                trainer["id"] = trainer_id
                return trainer
        raise RequestError(f"{_MAX_TRAINERS} processes loop over copies of one dataset; create it in each process")

    def _find(self, loop_id: LoopId, worker: Worker) -> Any | None:
        """Return the entry of a loop that a worker has not joined yet: a seed can come again."""
        for number in range(self.num_loops - 1, max(-1, self.num_loops - 1 - _NUM_LOOPS), -1):
            entry = self._shared["loops"][number % _NUM_LOOPS]
            has_joined = entry["joined"][worker.number % _MAX_WORKERS]
            if (entry["trainer"], entry["seed"], entry["round"]) == loop_id and not has_joined:
                return entry
        return None

    def __getstate__(self) -> dict[str, Any]:
        if get_spawning_popen() is not None:
            return {"file": DupFd(self._memory.file)}
        with self.locked(os.getpid()) as trainer:
            return {"next_epoch": int(trainer["next_epoch"]), "was_set": int(trainer["was_set"])}

    def __setstate__(self, state: dict[str, Any]) -> None:
        if "file" in state:
            SharedEpoch.__init__(self, BatchMemory(_SHARED.itemsize, file=state["file"].detach()))
            return
        SharedEpoch.__init__(self)
        with self.locked(os.getpid()) as trainer:
            trainer["next_epoch"], trainer["was_set"] = state["next_epoch"], state["was_set"]


def _restore(entry: Any, trainer: Any, worker: Worker, restored: Position) -> None:
    """Decide where a loop begins whose workers have all told how much they yielded."""
    is_over = entry["num_yielded"] >= worker.num_batches
    overrules = trainer["was_set"] and (is_over or trainer["next_epoch"] != restored.epoch)
    entry["epoch"] = trainer["next_epoch"] if overrules else restored.epoch + is_over
    entry["resumes"] = not (overrules or is_over)
    # The DataLoader continues with the worker after the one that yielded last.
    first_worker = restored.first_worker + (0 if entry["resumes"] else entry["num_yielded"])
    entry["first_worker"] = first_worker % worker.num_workers
    if not is_over:
        trainer["next_epoch"], trainer["was_set"] = entry["epoch"] + 1, 0
    elif not trainer["was_set"]:
        trainer["next_epoch"] = entry["epoch"]
    entry["status"] = _FOLLOWS if is_over else _RUNS


def _wait(is_done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_done() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)

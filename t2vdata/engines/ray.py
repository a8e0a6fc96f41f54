"""`RayEngine`: the engine for clusters, one Ray task per plan. ``pip install 't2vdata[ray]'``.

Ray restarts a task whose worker or node died; building a shard is a pure function, so a second run does no harm. Workers find
code by name, so every node needs t2vdata in the same version, and nothing else: when a build writes to a URL, workers need a
disk only for temporary files.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any, TypeVar

from t2vdata.errors import BuildError, RequestError, WorkerDiedError
from t2vdata.processes import search_path

Plan = TypeVar("Plan")
Report = TypeVar("Report")

# How often the size of the cluster is requested: it may grow and shrink during a build.
_SIZE_EVERY_SECONDS = 10.0
# The minimum that Ray accepts; reports and plans are small.
_OBJECT_STORE_BYTES = 100 << 20


@dataclass(frozen=True)
class RayEngine:
    """Where tasks run, and what each one needs. An instance is an engine for ``build_dataset``.

    >>> build_dataset(spec, "s3://bucket/out", engine=RayEngine("auto"))
    """

    address: str | None = None
    """Address of a cluster, as for ``ray.init``; None starts Ray on this machine, with ``num_workers`` workers."""
    num_tasks: int | None = None
    """Tasks submitted at once; None: as many as the cluster can run, plus a few that wait."""
    num_cpus: float = 1.0
    """Cores that a task needs: Ray runs no more tasks on a node than it has cores for."""
    memory_bytes: int | None = None
    """Memory that a task needs, as Ray accounts for it."""
    max_retries: int = 3
    """How often a plan is retried after its worker or node died."""

    def __post_init__(self) -> None:
        for name, value in (("num_tasks", self.num_tasks), ("num_cpus", self.num_cpus), ("memory_bytes", self.memory_bytes)):
            if value is not None and value <= 0:
                raise RequestError(f"{name} of a Ray task: expected more than 0, got {value}")

    def __call__(
        self, work: Callable[[Plan], Report], plans: Iterable[Plan], /, *, num_workers: int
    ) -> Generator[Report, None, None]:
        """Yield the report of each plan as its task ends, in any order.

        A plan is taken from ``plans`` when a task can be submitted, so a long or lazy sequence is never held in memory.
        However this ends, no task remains: tasks end with the connection, or are waited for if the caller had connected to
        Ray before.

        Raises RequestError when there is no such cluster or no node is large enough, BuildError when Ray does not start on this
        machine, WorkerDiedError when the worker of a plan died more than ``max_retries`` times.
        """
        with connected(self.address, num_workers) as (ray, is_ours):
            self._check_fits(ray)
            task = ray.remote(_start_work).options(
                num_cpus=self.num_cpus, memory=self.memory_bytes, max_retries=self.max_retries, retry_exceptions=False
            )
            # Workers on this machine find modules where this process finds them, those of a cluster where they are.
            path = (search_path(), os.getcwd()) if is_ours and self.address is None else None
            version, shared = metadata.version("t2vdata"), ray.put(pickle.dumps(work))
            capacity = _Capacity(self, ray)
            remaining = iter(plans)
            pending: dict[Any, Plan] = {}
            try:
                while True:
                    while len(pending) < capacity.num_tasks():
                        for plan in remaining:
                            pending[task.remote(path, version, shared, pickle.dumps(plan))] = plan
                            break
                        else:
                            break
                    if not pending:
                        return
                    done, _ = ray.wait(list(pending), timeout=_SIZE_EVERY_SECONDS)
                    for reference in done:
                        yield self._report(ray, reference, pending.pop(reference))
            finally:
                # Not cancelled, because cancelling a task at the moment it ends also ends this process (Ray 2.60,
                # task_manager.cc).
                if pending and not is_ours:
                    ray.wait(list(pending), num_returns=len(pending))

    def _report(self, ray: Any, reference: Any, plan: Any) -> Any:
        try:
            report, error = ray.get(reference)
        except ray.exceptions.RayTaskError as failure:
            # Raised before our own code ran: it could not be loaded there.
            raise RequestError(
                f"a Ray worker cannot run t2vdata: {_last_line(failure)}; install t2vdata {metadata.version('t2vdata')} there"
            ) from failure
        except ray.exceptions.RayError as failure:
            times = f"{self.max_retries + 1} times" if self.max_retries else "once"
            raise WorkerDiedError(
                f"the worker of {plan} died {times} ({type(failure).__name__}: {_first_line(failure)}); give tasks more memory "
                "(--ray-memory-mb), and run the same command again"
            ) from failure
        if error is not None:
            raise error
        return report

    def _check_fits(self, ray: Any) -> None:
        """Raise RequestError when no node is large enough; Ray would wait for one forever."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        required = {"CPU": self.num_cpus, "memory": self.memory_bytes or 0}
        if any(all(node.get(name, 0) >= amount for name, amount in required.items()) for node in nodes):
            return
        cores, memory = (max((node.get(name, 0) for node in nodes), default=0) for name in required)
        raise RequestError(
            f"a task needs {self.num_cpus:g} cores and {required['memory'] / 1e6:,.0f} MB, and no node of the {len(nodes)} has "
            f"both: at most {cores:g} cores, {memory / 1e6:,.0f} MB; request less (--ray-cpus, --ray-memory-mb)"
        )


class _Capacity:
    """How many tasks may be submitted at once."""

    def __init__(self, engine: RayEngine, ray: Any) -> None:
        self._engine, self._ray = engine, ray
        self._num_tasks, self._updated_at = engine.num_tasks or 1, -_SIZE_EVERY_SECONDS

    def num_tasks(self) -> int:
        now = time.monotonic()
        if self._engine.num_tasks is None and now - self._updated_at >= _SIZE_EVERY_SECONDS:
            self._updated_at = now
            num_slots = int(self._ray.cluster_resources().get("CPU", 0) / self._engine.num_cpus)
            # A few tasks wait, so that no worker does.
            self._num_tasks = num_slots + num_slots // 4 + 1
        return self._num_tasks


@contextlib.contextmanager
def connected(address: str | None, num_workers: int) -> Iterator[tuple[Any, bool]]:
    """Yield the module ``ray``, connected, and whether this call connected it; if so, disconnect at the end, with all tasks."""
    try:
        # No usage statistics leave this machine.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray
    except ImportError as error:
        raise RequestError(f"--engine ray: {error}; pip install 't2vdata[ray]'") from error
    if ray.is_initialized():
        yield ray, False
        return
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is None:
            # Workers find modules where this process finds them.
            variables = {"PYTHONPATH": os.pathsep.join(search_path())}
            ray.init("local", num_cpus=num_workers, include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES,
                     runtime_env={"env_vars": variables}, **quiet)  # fmt: skip
        else:
            ray.init(address, **quiet)
    except Exception as error:
        # Ray raises many kinds of errors, down to Exception itself. Whatever has started must end.
        ray.shutdown()
        if address is None:
            raise BuildError(
                f"Ray does not start here: {_first_line(error)}; run the same command again, or with --engine processes"
            ) from error
        raise RequestError(
            f"no Ray cluster at {address}: {_first_line(error)}; check --ray-address, or leave it out for this machine"
        ) from error
    try:
        yield ray, True
    finally:
        ray.shutdown()


def _start_work(path: tuple[list[str], str] | None, version: str, work: bytes, plan: bytes) -> tuple[Any, Exception | None]:
    """Run ``ray_task.work_on`` in a task.

    Ray puts the current folder of the main process in front of the path, so that a stray module there would be run. ``path`` is
    the path of the main process, and that folder.
    """
    import sys

    if path is not None:
        folders, current = path
        sys.path[:] = [*folders, *(entry for entry in sys.path if entry not in folders and entry != current)]
    from t2vdata.engines.ray_task import work_on

    return work_on(version, work, plan)


# Functions of the main module travel as code: this one runs before t2vdata is looked for.
_start_work.__module__ = "__main__"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


def _last_line(error: Exception) -> str:
    return str(error).strip().rsplit("\n", 1)[-1]

"""The engine for clusters: a Ray task for each plan. ``pip install 't2vdata[ray]'``.

Ray itself starts a task again whose worker or node died: a plan is a pure function, so that a second time does no harm. Code
crosses by name, so t2vdata of the same version must be on every node, and nothing else: where a build writes to a URL, a
worker needs no disk but for temporary files.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import Any, TypeVar

from t2vdata.engines import local
from t2vdata.errors import BuildError, RequestError, WorkerDiedError
from t2vdata.processes import child_environment

Plan = TypeVar("Plan")
Report = TypeVar("Report")

# How often a cluster is asked for its size: it may grow and shrink while a build goes on.
_SIZE_EVERY_SECONDS = 10.0
# The least that Ray takes; reports and plans are small.
_OBJECT_STORE_BYTES = 100 << 20


@dataclass(frozen=True)
class RayEngine:
    """Where the tasks run and what each needs. An instance is an engine for ``build_dataset``.

    >>> build_dataset(spec, "s3://bucket/out", engine=RayEngine("auto"))
    """

    address: str | None = None
    """Of a cluster, as ``ray.init`` takes it; None starts Ray on this machine, with a worker for each of ``num_workers``."""
    num_tasks: int | None = None
    """Tasks under way at once; None is as many as the cluster has room for, and a few that wait."""
    num_cpus: float = 1.0
    """Cores that a task takes: Ray runs no more tasks on a node than it has cores for."""
    memory_bytes: int | None = None
    """Memory that a task takes, as Ray counts it."""
    max_retries: int = 3
    """How often a plan is tried again whose worker or node died."""

    def __post_init__(self) -> None:
        for name, value in (("num_tasks", self.num_tasks), ("num_cpus", self.num_cpus), ("memory_bytes", self.memory_bytes)):
            if value is not None and value <= 0:
                raise RequestError(f"{name} of a Ray task: expected more than 0, got {value}")

    def __call__(
        self, work: Callable[[Plan], Report], plans: Iterable[Plan], /, *, num_workers: int
    ) -> Generator[Report, None, None]:
        """Yield the report of each plan as its task ends, in any order.

        Plans are drawn one for each place that is free, so a long or lazy sequence of them is never held. However this ends,
        no task is left: they go with the connection, or are waited for where the caller had connected to Ray before.

        Raises RequestError when there is no such cluster or no node that is large enough, BuildError when Ray does not start
        here, WorkerDiedError when the worker of a plan died once more than ``max_retries``.
        """
        with _connected(self.address, num_workers) as (ray, is_ours):
            self._check_fits(ray)
            task = ray.remote(_work_on).options(
                num_cpus=self.num_cpus, memory=self.memory_bytes, max_retries=self.max_retries, retry_exceptions=False
            )
            version, shared = metadata.version("t2vdata"), ray.put(work)
            room = _Room(self, ray)
            waiting = iter(plans)
            pending: dict[Any, Plan] = {}
            try:
                while True:
                    while len(pending) < room.size():
                        for plan in waiting:
                            pending[task.remote(version, shared, plan)] = plan
                            break
                        else:
                            break
                    if not pending:
                        return
                    done, _ = ray.wait(list(pending), timeout=_SIZE_EVERY_SECONDS)
                    for reference in done:
                        yield self._report(ray, reference, pending.pop(reference))
            finally:
                # Not cancelled: to cancel a task that ends just then ends this process with it (Ray 2.60, task_manager.cc).
                if pending and not is_ours:
                    ray.wait(list(pending), num_returns=len(pending))

    def _report(self, ray: Any, reference: Any, plan: Any) -> Any:
        try:
            report, error = ray.get(reference)
        except ray.exceptions.RayTaskError as failure:
            # Before our own code ran: it could not be loaded there.
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
        """Raise RequestError when no node is large enough: Ray would wait for one forever."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        wanted = {"CPU": self.num_cpus, "memory": self.memory_bytes or 0}
        if any(all(node.get(name, 0) >= amount for name, amount in wanted.items()) for node in nodes):
            return
        cores, memory = (max((node.get(name, 0) for node in nodes), default=0) for name in wanted)
        raise RequestError(
            f"a task takes {self.num_cpus:g} cores and {wanted['memory'] / 1e6:,.0f} MB, and no node of the {len(nodes)} has "
            f"both: at most {cores:g} cores, {memory / 1e6:,.0f} MB; ask for less (--ray-cpus, --ray-memory-mb)"
        )


class _Room:
    """How many tasks may be under way."""

    def __init__(self, engine: RayEngine, ray: Any) -> None:
        self._engine, self._ray = engine, ray
        self._size, self._asked_at = engine.num_tasks or 1, -_SIZE_EVERY_SECONDS

    def size(self) -> int:
        now = time.monotonic()
        if self._engine.num_tasks is None and now - self._asked_at >= _SIZE_EVERY_SECONDS:
            self._asked_at = now
            places = int(self._ray.cluster_resources().get("CPU", 0) / self._engine.num_cpus)
            # A few wait, so that no worker does.
            self._size = places + places // 4 + 1
        return self._size


@contextlib.contextmanager
def _connected(address: str | None, num_workers: int) -> Iterator[tuple[Any, bool]]:
    """Give the module ``ray``, connected, and whether that was done here; then it ends here, with all tasks."""
    try:
        # Nothing of a build is reported to anybody.
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
            # Workers find modules where this process does.
            variables = {name: child_environment()[name] for name in ("PYTHONPATH",)}
            ray.init("local", num_cpus=num_workers, include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES,
                     runtime_env={"env_vars": variables}, **quiet)  # fmt: skip
        else:
            ray.init(address, **quiet)
    except Exception as error:
        # Of many kinds, down to Exception itself. What has begun to start must end.
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


def _work_on(version: str, work: Callable[[Any], Any], plan: Any) -> tuple[Any, Exception | None]:
    """Work on a plan, in a task; return the report, or what went wrong."""
    own = metadata.version("t2vdata")
    if version != own:
        return None, RequestError(f"t2vdata is {version} here and {own} on a Ray node; install one version everywhere")
    try:
        return work(plan), None
    except Exception as error:
        return None, local.portable(error)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0]


def _last_line(error: Exception) -> str:
    return str(error).strip().rsplit("\n", 1)[-1]

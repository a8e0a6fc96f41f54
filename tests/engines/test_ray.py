"""The Ray engine: one report per plan, work of dead workers and nodes redone, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import layouts
import psutil
import pytest
from build_process import accept_ctrl_c, wait_for_shards
from support import TINY, hashes, t2vdata, tiny_spec

from t2vdata import storage
from t2vdata.build.run import BuildSpec, build_dataset
from t2vdata.engines import local
from t2vdata.engines.ray import RayEngine
from t2vdata.errors import BuildError, RequestError, WorkerDiedError
from t2vdata.media.encode import encoding

# A separate module: workers find their work by name.
WORK = '''
import os, signal, time
from pathlib import Path

def double(plan):
    return 2 * plan

def fail_on_three(plan):
    if plan == 3:
        raise ValueError(f"no good: {plan}")
    return plan

def die_the_first_time(folder, plan):
    """Record each try; die in the first try of every third plan."""
    tries = len(list(Path(folder).glob(f"{plan}-*")))
    Path(folder, f"{plan}-{tries}").touch()
    if plan % 3 == 0 and tries == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return plan

def note_the_end(folder, plan):
    time.sleep(0.3)
    Path(folder, str(plan)).touch()
    return plan

def die(plan):
    os.kill(os.getpid(), signal.SIGKILL)
'''


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    import importlib

    folder = tmp_path_factory.mktemp("work")
    (folder / "work_for_ray.py").write_text(WORK)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("work_for_ray")


@pytest.fixture(scope="module")
def two_workers(work: Any) -> Iterator[None]:
    """Ray on this machine, connected for several tests: it takes seconds to start. Engines leave it connected."""
    from t2vdata.engines import ray as engine

    with engine.connected(None, 2):
        yield


def run(work: Any, plans: Any, **settings: Any) -> list[Any]:
    return list(RayEngine(**settings)(work, plans, num_workers=2))


def test_every_plan_has_one_report(work: Any, two_workers: None) -> None:
    assert sorted(run(work.double, range(20))) == list(range(0, 40, 2))
    assert run(work.double, []) == []


def test_plans_are_taken_when_a_task_can_be_submitted(work: Any, two_workers: None) -> None:
    taken = []

    def plans() -> Iterator[int]:
        for plan in range(1000):
            taken.append(plan)
            yield plan

    for given, _ in enumerate(RayEngine(num_tasks=3)(work.double, plans(), num_workers=2), 1):
        assert len(taken) <= given + 3
        if given == 10:
            break
    assert len(taken) < 20


def test_an_error_in_a_task_is_raised_with_its_traceback(work: Any, two_workers: None) -> None:
    with pytest.raises(ValueError, match="no good: 3") as caught:
        run(work.fail_on_three, range(10))
    assert any("in fail_on_three" in note for note in caught.value.__notes__)


def test_a_stray_module_in_the_current_folder_is_not_run_on_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("t2vdata", "zstandard", "av"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a stray module was run')")
    monkeypatch.chdir(tmp_path)
    result = build_dataset(tiny_spec(n=5), tmp_path / "out", num_workers=1, engine=RayEngine())
    assert result.manifest.tally.kept > 5


def test_a_plan_whose_worker_died_is_retried(work: Any, two_workers: None, tmp_path: Path) -> None:
    import functools

    assert sorted(run(functools.partial(work.die_the_first_time, str(tmp_path)), range(6))) == list(range(6))
    assert sorted(path.name for path in tmp_path.glob("3-*")) == ["3-0", "3-1"]


def test_a_plan_that_kills_every_worker_ends_the_build(work: Any, two_workers: None) -> None:
    with pytest.raises(
        WorkerDiedError, match=r"the worker of 7 died once \(.*\); give tasks more memory .* run the same command"
    ):
        run(work.die, [7], max_retries=0)


@pytest.mark.parametrize(
    ("settings", "requirement"), [({"num_cpus": 64}, "64 cores"), ({"memory_bytes": 10**15}, "1,000,000,000 MB")]
)
def test_a_task_that_fits_no_node_is_refused(work: Any, two_workers: None, settings: dict[str, Any], requirement: str) -> None:
    with pytest.raises(
        RequestError, match=rf"a task needs .*{requirement}.*no node of the 1 has both: at most 2 cores.*request less"
    ):
        run(work.double, [1], **settings)


def test_raw_files_at_a_url_and_in_archives_give_the_bytes_of_a_serial_build(
    work: Any, two_workers: None, tmp_path: Path
) -> None:
    layout = layouts.kinetics(tmp_path / "k400")
    with tarfile.open(tmp_path / "k400" / "train" / "part_0.tar.gz", "w:gz") as file:
        for path in sorted((tmp_path / "k400" / "train").glob("*.mp4")):
            file.add(path, path.name)
            path.unlink()
    spec = BuildSpec("kinetics", layout.options, root=f"file://{tmp_path}/k400", encoding=encoding("jpeg"), shard_size=1)
    for name, engine in (("serial", local.run), ("ray", RayEngine())):
        build_dataset(spec, tmp_path / name, num_workers=2 if name == "ray" else 1, max_failures=1, engine=engine)
    assert hashes(tmp_path / "ray") == hashes(tmp_path / "serial")
    assert len(list((tmp_path / "ray").glob("*.tar"))) == layout.num_kept


def test_invalid_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="num_cpus of a Ray task: expected more than 0, got 0"):
        RayEngine(num_cpus=0)
    done = t2vdata("build", "mnist-motion", "--out", tmp_path / "out", "--ray-cpus", "2")
    assert done.returncode == 1
    assert "--ray-cpus needs --engine ray" in done.stderr


def test_ray_is_imported_only_by_its_engine(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from t2vdata.cli import main\n"
        f"words = ['build', 'mnist-motion', '--n', '5', '--out', {str(tmp_path / 'out')!r}, '--workers', '1']\n"
        "main(words, standalone_mode=False)\n"
        "assert 'ray' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_ctrl_c_stops_a_build_on_ray_and_leaves_no_process(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "t2vdata", "build", "mnist-motion", "--n", "200000", "--out", str(tmp_path / "out")]
    command += ["--engine", "ray", "--workers", "1", "--shard-size", "200"]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True, preexec_fn=accept_ctrl_c)
    wait_for_shards(tmp_path / "out", 1)
    family = psutil.Process(process.pid).children(recursive=True)
    assert any("raylet" in child.name() for child in family)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run the same command again to resume" in errors
    assert "Traceback" not in errors
    _, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []


def test_tasks_of_a_stopped_build_end_before_it_returns(work: Any, two_workers: None, tmp_path: Path) -> None:
    import functools

    slow = functools.partial(work.note_the_end, str(tmp_path))
    reports = RayEngine(num_tasks=2)(slow, range(100), num_workers=2)
    next(reports)
    reports.close()
    ended = len(list(tmp_path.iterdir()))
    assert 2 <= ended <= 3
    time.sleep(1)
    assert len(list(tmp_path.iterdir())) == ended


@pytest.mark.long
def test_a_build_with_a_killed_node_gives_the_bytes_of_a_serial_build(s3_settings: str, tmp_path: Path) -> None:
    import ray
    from ray.cluster_utils import Cluster

    spec = BuildSpec("mnist-motion", options={**TINY, "n": 400}, shard_size=10)
    serial = build_dataset(spec, tmp_path / "serial", num_workers=1)
    fsspec.filesystem("s3").makedirs("builds", exist_ok=True)
    out = f"s3://builds/{uuid.uuid4().hex}"
    ray.shutdown()
    # The head has no cores: all work is done on the two nodes, each with its own processes.
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]
        cluster.wait_for_nodes()
        killed = []

        def kill_a_node(_: object) -> None:
            if not killed:
                killed.append(nodes[1])
                cluster.remove_node(nodes[1], allow_graceful=False)

        result = build_dataset(spec, out, engine=RayEngine(cluster.address), on_progress=kill_a_node)
        assert killed
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert result.clips_built == serial.clips_built
    store = fsspec.filesystem("s3", use_listings_cache=False)
    digests = {path.rpartition("/")[2]: storage.sha256(f"s3://{path}") for path in store.find(out.removeprefix("s3://"))}
    assert digests == hashes(tmp_path / "serial")


def test_an_address_without_a_cluster_is_reported(tmp_path: Path) -> None:
    import ray

    ray.shutdown()
    with pytest.raises(RequestError, match=r"no Ray cluster at nobody: .*; check --ray-address"):
        build_dataset(tiny_spec(), tmp_path / "out", engine=RayEngine("nobody"))


def test_a_ray_that_does_not_start_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    def slow(*arguments: object, **settings: object) -> None:
        raise Exception("The current node timed out during startup.")

    ray.shutdown()
    monkeypatch.setattr(ray, "init", slow)
    with pytest.raises(
        BuildError, match=r"Ray does not start here: .* timed out .*; run the same command again, or with --engine"
    ):
        build_dataset(tiny_spec(), tmp_path / "out", engine=RayEngine())

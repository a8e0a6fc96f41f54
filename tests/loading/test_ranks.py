"""Which rank reads is decided when reading starts."""

from __future__ import annotations

import copy
import itertools
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import t2vdata
from t2vdata.build.run import BuildResult
from t2vdata.errors import RequestError
from t2vdata.format.dataset import Split
from t2vdata.loading import Loader, LoadSpec, Resources
from t2vdata.loading.ranks import Rank, Ranks
from t2vdata.loading.torch_dataset import BatchDataset

SPEC = LoadSpec(batch_size=7, num_frames=2)


@pytest.fixture(scope="module")
def split(built: BuildResult) -> Split:
    return t2vdata.open_dataset(built.out)["train"]


def set_rank(monkeypatch: pytest.MonkeyPatch, rank: object, world: object) -> None:
    monkeypatch.setenv("RANK", str(rank))
    monkeypatch.setenv("WORLD_SIZE", str(world))


@pytest.mark.parametrize("make", [Loader, BatchDataset])
def test_rank_and_world_size_of_the_environment_share_out_the_clips(
    split: Split, make: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = []
    for rank in range(2):
        set_rank(monkeypatch, rank, 2)
        reading = make(split, SPEC, seed=5)
        assert len(reading) == 5
        parts.append([key for batch in reading for key in batch.keys])
    together = [key for pair in zip(*parts, strict=True) for key in pair]
    alone = Loader(split, LoadSpec(batch_size=60), seed=5, rank=0, world=1, resources=Resources(workers=1))
    assert together == list(next(iter(alone)).keys)


@pytest.mark.parametrize("make", [Loader, BatchDataset])
def test_several_ranks_that_do_not_know_which_they_are_read_nothing(
    split: Split, make: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    reading = make(split, SPEC)
    with pytest.raises(
        RequestError, match=r"WORLD_SIZE=2 in the environment, but no RANK.*after.*init_process_group, set RANK"
    ):
        next(iter(reading))
    assert len(make(split, SPEC, rank=0, world=1)) == len(list(make(split, SPEC, rank=0, world=1)))


def test_an_empty_rank_in_the_environment_is_none(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    set_rank(monkeypatch, "", "")
    assert Loader(split, SPEC).world == 1


@pytest.mark.parametrize("make", [Loader, BatchDataset])
def test_a_rank_that_changes_after_reading_started_is_refused(
    split: Split, make: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = make(split, SPEC)
    given = make(split, SPEC, rank=0, world=1)
    list(reading), list(given)
    set_rank(monkeypatch, 1, 2)
    with pytest.raises(
        RequestError, match=r"reading started as rank 0 of 1, and now this process is rank 1 of 2.*init_process"
    ):
        list(reading)
    assert sum(len(batch) for batch in given) == 60


def test_until_reading_starts_the_rank_may_change(split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    reading = Loader(split, SPEC, resources=Resources(workers=1))
    assert (reading.rank, reading.world, len(reading)) == (0, 1, 9)
    set_rank(monkeypatch, 1, 2)
    assert (reading.rank, reading.world, len(reading)) == (1, 2, 5)
    assert sum(len(batch) for batch in reading) == 30


@pytest.mark.parametrize(("rank", "world"), [(2, 2), (-1, 2), ("x", 2), (0, "")])
def test_an_environment_that_makes_no_sense_is_refused(rank: object, world: object, monkeypatch: pytest.MonkeyPatch) -> None:
    set_rank(monkeypatch, rank, world)
    with pytest.raises(RequestError, match=f"RANK={rank} and WORLD_SIZE={world} in the environment: expected numbers"):
        Ranks().start()
    assert Ranks(0, 1).start() == Rank(0, 1)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda ranks: pickle.loads(pickle.dumps(ranks))])
def test_a_copy_decides_anew(duplicate: object, monkeypatch: pytest.MonkeyPatch) -> None:
    ranks, given = Ranks(), Ranks(1, 3)
    ranks.start()
    set_rank(monkeypatch, 1, 2)
    assert duplicate(ranks).start() == Rank(1, 2)
    assert duplicate(given).start() == Rank(1, 3)


EARLY = """
import sys, warnings
import torch, t2vdata
from t2vdata.errors import RequestError
from t2vdata.loading import Loader, LoadSpec, Resources
from t2vdata.loading.torch_dataset import BatchDataset
from torch.utils.data import DataLoader

warnings.simplefilter("ignore")
folder, meet, rank = sys.argv[1:]
split = t2vdata.open_dataset(folder)["train"]
# All are made, and one of them has begun to read, before there is a process group.
readers = [Loader(split, LoadSpec(batch_size=7), seed=5, resources=Resources(workers=1))]
readers += [
    DataLoader(BatchDataset(split, LoadSpec(batch_size=7), seed=5), batch_size=None, num_workers=workers) for workers in (0, 1)
]
began = Loader(split, LoadSpec(batch_size=7), seed=5, resources=Resources(workers=1))
next(iter(began))
torch.distributed.init_process_group("gloo", init_method=f"file://{meet}", rank=int(rank), world_size=2)
for reading in readers:
    for batch in reading:
        # Hangs unless all ranks have equally many batches.
        torch.distributed.barrier()
        print(*batch.keys, end=" ")
    print()
try:
    next(iter(began))
except RequestError as error:
    print(error)
torch.distributed.barrier()
torch.distributed.destroy_process_group()
"""


def test_what_is_made_before_the_process_group_reads_the_share_of_its_rank(split: Split, tmp_path: Path) -> None:
    words = [sys.executable, "-W", "ignore", "-c", EARLY, split.path, str(tmp_path / "meet")]
    ranks = [subprocess.Popen([*words, str(rank)], stdout=subprocess.PIPE, text=True) for rank in range(2)]
    lines = [rank.communicate(timeout=200)[0].splitlines() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0]
    alone = Loader(split, LoadSpec(batch_size=60), seed=5, rank=0, world=1, resources=Resources(workers=1))
    order = list(next(iter(alone)).keys)
    for parts in itertools.islice(zip(*lines, strict=True), 3):
        assert [key for pair in zip(*map(str.split, parts), strict=True) for key in pair] == order
    for rank in range(2):
        assert lines[rank][3].startswith(f"reading started as rank 0 of 1, and now this process is rank {rank} of 2")

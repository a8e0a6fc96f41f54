"""Which rank reads, of how many: as given, or decided when reading starts."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import torch

from t2vdata.errors import RequestError
from t2vdata.loading.plain_numbers import whole_number


class Rank(NamedTuple):
    """One of ``world`` ranks, from 0."""

    rank: int
    world: int

    def __str__(self) -> str:
        return f"rank {self.rank} of {self.world}"


class Ranks:
    """The rank of a loader: as given, else of ``torch.distributed``, else of RANK and WORLD_SIZE, else a single one.

    Until reading starts, it follows the process group; from then on, a process group that contradicts it is refused.
    """

    def __init__(self, rank: int | None = None, world: int | None = None) -> None:
        if (rank is None) != (world is None):
            raise RequestError(f"rank {rank} of world {world}; give both, or neither")
        self._given = None if rank is None else Rank(whole_number("rank", rank), whole_number("world", world, minimum=1))
        self._of_parent: Rank | None = None
        self._reading: Rank | None = None

    @property
    def given(self) -> dict[str, int]:
        """The arguments that give the same rank: empty if none was given."""
        return {} if self._given is None else self._given._asdict()

    def current(self) -> Rank:
        """Return the rank that reads, or that would read if reading started now."""
        return self._reading or self._known()

    def start(self) -> Rank:
        """Decide the rank, because reading starts. Raises RequestError if it was another before."""
        self._reading = self.agreed(self._reading)
        return self._reading

    def agreed(self, earlier: Rank | None) -> Rank:
        """Return the rank that is known now. Raises RequestError if reading started earlier as another."""
        known = self._known()
        if not (self._given or _of_process_group() or self._of_parent):
            _check_environment()
        if earlier is not None and earlier != known:
            raise RequestError(
                f"reading started as {earlier}, and now this process is {known}: the ranks would read other clips than before; "
                "start to read after torch.distributed.init_process_group, or give rank and world"
            )
        return known

    def _known(self) -> Rank:
        return self._given or _of_process_group() or self._of_parent or _of_environment() or Rank(0, 1)

    def __getstate__(self) -> dict[str, Any]:
        # A worker process has no process group. Another training process has one, which then counts, or an environment.
        return {"_given": self._given, "_of_parent": _of_process_group() or self._of_parent, "_reading": None}


def _of_process_group() -> Rank | None:
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return Rank(distributed.get_rank(), distributed.get_world_size())
    return None


def _of_environment() -> Rank | None:
    """Return what torchrun and others set for each process that they start."""
    words = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
    # Container settings may define both as empty.
    if words[0] is None or words[1] is None or words == ("", ""):
        return None
    try:
        rank = Rank(*map(int, (words[0], words[1])))
    except ValueError:
        rank = Rank(-1, 0)
    if not 0 <= rank.rank < rank.world:
        raise RequestError(
            f"RANK={words[0]} and WORLD_SIZE={words[1]} in the environment: expected numbers, RANK from 0 to WORLD_SIZE - 1; "
            "correct them, or give rank and world"
        )
    return rank


def _check_environment() -> None:
    """Raise RequestError if the environment speaks of several ranks, but does not say which of them this process is."""
    world = os.environ.get("WORLD_SIZE", "")
    if world.isdecimal() and int(world) > 1 and not os.environ.get("RANK"):
        raise RequestError(
            f"WORLD_SIZE={world} in the environment, but no RANK: each rank would read all clips; start to read after "
            "torch.distributed.init_process_group, set RANK, or give rank and world"
        )

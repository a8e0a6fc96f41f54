"""Data-parallel training: the processes that ``torchrun`` starts, or a single one."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class ProcessGroup:
    """The rank of this process, and collective operations over all of them. The default is a single process."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    """Rank on this machine, which selects the GPU."""

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files."""
        return self.rank == 0

    def average(self, numbers: Mapping[str, float], device: torch.device) -> dict[str, float]:
        """Return the mean of each number over all ranks; every rank must pass the same names."""
        if self.world == 1:
            return dict(numbers)
        total = torch.tensor([*numbers.values()], device=device)
        torch.distributed.all_reduce(total)
        return dict(zip(numbers, (total / self.world).tolist(), strict=True))

    def gather(self, numbers: Sequence[float], device: torch.device) -> list[list[float]]:
        """Return the numbers of each rank; every rank must pass as many."""
        if self.world == 1:
            return [list(numbers)]
        own = torch.tensor([*numbers], dtype=torch.float64, device=device)
        parts = [torch.empty_like(own) for _ in range(self.world)]
        torch.distributed.all_gather(parts, own)
        return [part.tolist() for part in parts]

    def maximum(self, number: int, device: torch.device) -> int:
        """Return the largest of the ranks' numbers."""
        return int(max(rank[0] for rank in self.gather([number], device)))

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.world > 1:
            torch.distributed.barrier()


@contextlib.contextmanager
def joined_group(device: str) -> Iterator[ProcessGroup]:
    """Join the process group of ``torchrun`` for the duration of the block; without torchrun, yield a single process."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield ProcessGroup()
        return
    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield ProcessGroup(torch.distributed.get_rank(), world, int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        torch.distributed.destroy_process_group()

"""Several processes that train one model, as ``torchrun`` starts them; or one alone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Ranks:
    """Which of how many processes this is."""

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    """Which one on this machine, and so which of its GPUs."""

    @property
    def is_first(self) -> bool:
        """Whether this process writes what there is to write."""
        return self.rank == 0

    def means(self, numbers: Mapping[str, float], device: torch.device) -> dict[str, float]:
        """Return the mean of each number over all ranks, which have the same names."""
        if self.world == 1:
            return dict(numbers)
        total = torch.tensor([*numbers.values()], device=device)
        torch.distributed.all_reduce(total)
        return dict(zip(numbers, (total / self.world).tolist(), strict=True))

    def wait(self) -> None:
        """Go on when all ranks are here."""
        if self.world > 1:
            torch.distributed.barrier()


@contextlib.contextmanager
def joined(device: str) -> Iterator[Ranks]:
    """Join the other processes that ``torchrun`` has started, where it did, for as long as the block runs."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Ranks()
        return
    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield Ranks(torch.distributed.get_rank(), world, int(os.environ.get("LOCAL_RANK", "0")))
    finally:
        torch.distributed.destroy_process_group()

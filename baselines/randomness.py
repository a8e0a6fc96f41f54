"""Random numbers of a training step: a pure function of (seed, step, purpose), split over ranks as the loader splits clips.

There is no generator state to save, and W ranks with B clips each see the numbers that one process with W x B clips sees.
"""

from __future__ import annotations

import hashlib

import torch

from t2vdata.errors import RequestError


class StepRandom:
    """The random numbers of one step on one rank, in the order of the calls."""

    def __init__(
        self,
        seed: int,
        step: int = 0,
        *,
        purpose: str = "train",
        rank: int = 0,
        world: int = 1,
        device: torch.device | str = "cpu",
    ) -> None:
        if not 0 <= rank < world:
            raise RequestError(f"rank {rank} of {world} ranks; expected 0 to {world - 1}")
        self.rank, self.world, self.device = rank, world, torch.device(device)
        self.generator = torch.Generator(self.device).manual_seed(_mixed(seed, step, purpose))
        """The same on all ranks; ``normal`` and ``uniform`` return rows that differ by rank."""
        self.rank_seed = _mixed(seed, step, f"{purpose}/{rank}")
        """Seed for torch's global generator, which dropout uses."""

    def normal(self, num_rows: int, *shape: int) -> torch.Tensor:
        """Return (num_rows, *shape) float32 from the standard normal distribution, different rows on each rank."""
        all_rows = torch.randn(num_rows * self.world, *shape, generator=self.generator, device=self.device)
        return all_rows[self.rank :: self.world]

    def uniform(self, num_rows: int, *shape: int) -> torch.Tensor:
        """Return (num_rows, *shape) float32 in [0, 1), different rows on each rank."""
        all_rows = torch.rand(num_rows * self.world, *shape, generator=self.generator, device=self.device)
        return all_rows[self.rank :: self.world]

    def permutation(self, size: int) -> torch.Tensor:
        """Return the integers below ``size`` in random order, (size,) int64, the same on all ranks."""
        return torch.randperm(size, generator=self.generator, device=self.device)


def _mixed(seed: int, step: int, purpose: str) -> int:
    """Return a 63-bit seed, unrelated for neighbouring seeds and steps."""
    digest = hashlib.blake2b(f"{seed}/{step}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1

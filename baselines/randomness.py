"""Random numbers of a training step: a pure function of (seed, step, what for), dealt out to ranks as the loader deals clips.

So there is no state of a generator to be saved, and W ranks with B clips each see what one process with W x B clips sees.
"""

from __future__ import annotations

import hashlib

import torch

from t2vdata.errors import RequestError


class Draws:
    """The random numbers of one step on one rank, in the order in which they are asked for."""

    def __init__(
        self, seed: int, step: int = 0, *, use: str = "train", rank: int = 0, world: int = 1, device: torch.device | str = "cpu"
    ) -> None:
        if not 0 <= rank < world:
            raise RequestError(f"rank {rank} of {world} ranks; expected 0 to {world - 1}")
        self.rank, self.world, self.device = rank, world, torch.device(device)
        self.generator = torch.Generator(self.device).manual_seed(_mixed(seed, step, use))
        """The same on all ranks: take rows of their own from ``normal`` and ``uniform``."""
        self.own_seed = _mixed(seed, step, f"{use}/{rank}")
        """For torch's global generator, from which dropout and the like draw."""

    def normal(self, num_rows: int, *shape: int) -> torch.Tensor:
        """Return (num_rows, *shape) float32 from the standard normal distribution, other rows on each rank."""
        everyones = torch.randn(num_rows * self.world, *shape, generator=self.generator, device=self.device)
        return everyones[self.rank :: self.world]

    def uniform(self, num_rows: int, *shape: int) -> torch.Tensor:
        """Return (num_rows, *shape) float32 from 0 to less than 1, other rows on each rank."""
        everyones = torch.rand(num_rows * self.world, *shape, generator=self.generator, device=self.device)
        return everyones[self.rank :: self.world]

    def permutation(self, number: int) -> torch.Tensor:
        """Return the numbers below ``number`` in random order, (number,) int64, the same on all ranks."""
        return torch.randperm(number, generator=self.generator, device=self.device)


def _mixed(seed: int, step: int, use: str) -> int:
    """Return 63 bits that neighbouring seeds and steps do not share."""
    digest = hashlib.blake2b(f"{seed}/{step}/{use}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1

"""Captions that do not belong to a clip: whose sentence a matching-aware discriminator sees beside it."""

from __future__ import annotations

import torch

from t2vdata.errors import RequestError


def derangement(number: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """Return a random permutation of the numbers below ``number`` that leaves none in its place, (number,) int64.

    All are equally likely: permutations are drawn until one has no fixed point, 2.7 on average. Two clips may still have the
    same caption; ``others`` never pairs such.
    """
    if number < 2:
        raise RequestError(f"a batch of {number} has no caption of another clip; expected 2 clips or more")
    device = torch.device("cpu") if generator is None else generator.device
    own = torch.arange(number, device=device)
    while True:
        drawn = torch.randperm(number, generator=generator, device=device)
        if not bool((drawn == own).any()):
            return drawn


def others(groups_B: torch.Tensor, generator: torch.Generator | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Return for each clip another one of another group, and which clips have one: (B,) int64 and (B,) bool.

    Each is drawn by itself from all that there are, so that a caption which fills most of the batch is no obstacle. A clip
    without any other, in a batch of one group, gets itself and False.
    """
    differ_BB = groups_B.unsqueeze(0) != groups_B.unsqueeze(1)
    found_B = differ_BB.any(1)
    # A row must have something to draw from: itself, where there is no other.
    chances_BB = torch.where(
        found_B.unsqueeze(1), differ_BB, torch.eye(len(groups_B), dtype=torch.bool, device=groups_B.device)
    )
    return torch.multinomial(chances_BB.float(), 1, generator=generator).squeeze(1), found_B


def same_captions(tokens_BL: torch.Tensor) -> torch.Tensor:
    """Return a number for each caption that equal captions share, (B,) int64, 0 to K - 1 for K different ones."""
    groups: torch.Tensor = torch.unique(tokens_BL, dim=0, return_inverse=True)[1]
    return groups


def first_of_each(groups_B: torch.Tensor) -> torch.Tensor:
    """Return the first place of each group, (K,) int64, for groups 0 to K - 1."""
    places = torch.arange(len(groups_B), device=groups_B.device)
    firsts = torch.full((int(groups_B.max()) + 1,), len(groups_B), device=groups_B.device)
    return firsts.scatter_reduce(0, groups_B, places, "amin")

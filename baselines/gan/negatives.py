"""Mismatched captions for a matching-aware discriminator: which other clip's sentence each clip gets."""

from __future__ import annotations

import torch

from t2vdata.errors import RequestError


def derangement(count: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """Draw a uniform permutation of ``range(count)`` without fixed points: (count,) int64.

    Permutations are drawn until one has no fixed point, 2.7 on average. Two clips may still share a caption; ``others`` never
    pairs such clips.
    """
    if count < 2:
        raise RequestError(f"a batch of {count} clips has no mismatched caption; expected 2 clips or more")
    device = torch.device("cpu") if generator is None else generator.device
    identity = torch.arange(count, device=device)
    while True:
        permutation = torch.randperm(count, generator=generator, device=device)
        if not bool((permutation == identity).any()):
            return permutation


def others(groups_B: torch.Tensor, generator: torch.Generator | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw for each clip another one of a different group: its index (B,) int64, and whether there is one (B,) bool.

    Clips are drawn independently, so that a caption that fills most of the batch is no obstacle. In a batch of
    one group, a clip gets its own index and False.
    """
    differ_BB = groups_B.unsqueeze(0) != groups_B.unsqueeze(1)
    has_other_B = differ_BB.any(1)
    # multinomial needs a nonzero row: a clip without another draws itself.
    chances_BB = torch.where(
        has_other_B.unsqueeze(1), differ_BB, torch.eye(len(groups_B), dtype=torch.bool, device=groups_B.device)
    )
    return torch.multinomial(chances_BB.float(), 1, generator=generator).squeeze(1), has_other_B


def same_captions(tokens_BL: torch.Tensor) -> torch.Tensor:
    """Number captions 0 to K - 1, equal captions alike: (B,) int64."""
    groups: torch.Tensor = torch.unique(tokens_BL, dim=0, return_inverse=True)[1]
    return groups


def first_of_each(groups_B: torch.Tensor) -> torch.Tensor:
    """Return the index of the first member of each group 0 to K - 1: (K,) int64."""
    indices = torch.arange(len(groups_B), device=groups_B.device)
    firsts = torch.full((int(groups_B.max()) + 1,), len(groups_B), device=groups_B.device)
    return firsts.scatter_reduce(0, groups_B, indices, "amin")

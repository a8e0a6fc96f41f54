"""What a trainer gets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch


@dataclass(frozen=True)
class Batch:
    """Clips and their captions, side by side."""

    video: torch.Tensor
    """(B, C, T, H, W) uint8, or float32 when the spec says so. RGB lies in memory as (B, T, H, W, C)
    (``torch.channels_last_3d``): ``contiguous()`` makes the other."""
    captions: Sequence[str] | Sequence[tuple[str, ...]]
    """One text for each clip; with ``LoadSpec(captions="all")`` all of its texts."""
    keys: Sequence[str]
    labels: torch.Tensor
    """(B,) int64: place in ``Loader.labels``, -1 where there is none."""
    tokens: torch.Tensor | None = None
    """(B, L) int64, padded; (B, K, L) with all of up to K captions; None without a vocabulary."""
    lengths: torch.Tensor | None = None
    """(B,) or (B, K) int64: tokens of each caption, 0 where a clip has fewer captions than others."""

    def __len__(self) -> int:
        return len(self.keys)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """Return the batch with its tensors on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Return the batch in memory from which a GPU copies by itself; a DataLoader calls this."""
        return self._map(lambda tensor: tensor if tensor.is_cuda else tensor.pin_memory())

    def _map(self, move: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        tensors: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: move(value) for name, value in tensors.items() if isinstance(value, torch.Tensor)}
        return replace(self, **moved)

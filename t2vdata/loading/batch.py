"""``Batch``: what the loader yields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch


@dataclass(frozen=True)
class Batch:
    """Clips with their captions, keys and labels."""

    video: torch.Tensor
    """(B, C, T, H, W) uint8, or float32 with ``LoadSpec(dtype="float32")``. In memory, RGB is (B, T, H, W, C)
    (``torch.channels_last_3d``); ``contiguous()`` makes it channels first."""
    captions: Sequence[str] | Sequence[tuple[str, ...]]
    """One caption per clip; with ``LoadSpec(captions="all")``, a tuple of all its captions."""
    keys: Sequence[str]
    labels: torch.Tensor
    """(B,) int64: index into ``Loader.labels``, -1 for a clip without a label."""
    tokens: torch.Tensor | None = None
    """(B, L) int64, padded; (B, K, L) with ``captions="all"`` and at most K per clip; None without a vocabulary."""
    lengths: torch.Tensor | None = None
    """(B,) or (B, K) int64: tokens of each caption, 0 for captions that a clip does not have."""

    def __len__(self) -> int:
        return len(self.keys)

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """Return the batch with its tensors on another device."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Return the batch in pinned memory. A DataLoader calls this."""
        return self._map(lambda tensor: tensor if tensor.is_cuda else tensor.pin_memory())

    def _map(self, move: Callable[[torch.Tensor], torch.Tensor]) -> Batch:
        tensors: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        moved: dict[str, Any] = {name: move(value) for name, value in tensors.items() if isinstance(value, torch.Tensor)}
        return replace(self, **moved)

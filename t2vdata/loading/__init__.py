"""Load shards as shuffled, decoded batches of tensors.

>>> dataset = t2vdata.open_dataset("data/mnist-motion")
>>> vocabulary = t2vdata.Vocabulary.load(dataset.vocabulary_path)
>>> for batch in loader(dataset["train"], LoadSpec(batch_size=64, num_frames=16), vocabulary=vocabulary, seed=0):
...     batch.video, batch.tokens
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from t2vdata import extras

__all__ = ["Batch", "BatchDataset", "CacheSpec", "LoadSpec", "Loader", "Resources", "epoch_order", "loader", "share"]

if TYPE_CHECKING:
    from t2vdata.loading.batch import Batch
    from t2vdata.loading.dataloader import Loader, loader
    from t2vdata.loading.order import epoch_order, share
    from t2vdata.loading.spec import CacheSpec, LoadSpec, Resources
    from t2vdata.loading.torch_dataset import BatchDataset

_HOMES = {
    "Batch": "batch",
    "BatchDataset": "torch_dataset",
    "CacheSpec": "spec",
    "LoadSpec": "spec",
    "Loader": "dataloader",
    "Resources": "spec",
    "epoch_order": "order",
    "loader": "dataloader",
    "share": "order",
}


# Imported late: batches need torch, which decoding workers must not import.
def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 't2vdata.loading' has no attribute {name!r}")
    try:
        module = importlib.import_module(f"t2vdata.loading.{_HOMES[name]}")
    except ModuleNotFoundError as error:
        missing = extras.explained(error, "making batches")
        if missing is None:
            raise
        raise missing from error
    return getattr(module, name)

"""Datasets and loaders for text-to-video and text-to-image research.

``build_dataset`` builds a dataset and ``open_dataset`` opens one; the command line is ``t2vdata``. Names are imported on first
use, so that ``import t2vdata`` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["BuildSpec", "Vocabulary", "__version__", "build_dataset", "open_dataset"]

if TYPE_CHECKING:
    from t2vdata.build.run import build_dataset
    from t2vdata.build.spec import BuildSpec
    from t2vdata.format.dataset import open_dataset
    from t2vdata.text.vocabulary import Vocabulary

_MODULES = {
    "BuildSpec": "t2vdata.build.spec",
    "build_dataset": "t2vdata.build.run",
    "open_dataset": "t2vdata.format.dataset",
    "Vocabulary": "t2vdata.text.vocabulary",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 't2vdata' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)

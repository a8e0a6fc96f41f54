"""A decoder for the ``webdataset`` package, for your own pipelines.

import webdataset
from t2vdata.format.webdataset_decoder import decoder

pipeline = webdataset.WebDataset(urls, shardshuffle=False).decode(decoder())
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def decoder() -> Callable[[str, bytes], NDArray[np.uint8] | None]:
    """Return a handler for ``WebDataset.decode``: ``.npy.zst`` and ``.jpg`` members become arrays (T, H, W, C) uint8."""
    from t2vdata.media import jpeg_sheet
    from t2vdata.media.decode import lossless

    def decode(key: str, data: bytes) -> NDArray[np.uint8] | None:
        if key.endswith(".npy.zst"):
            return lossless.decode(data)
        return jpeg_sheet.decode(data, channels=jpeg_sheet.num_channels(data)) if key.endswith(".jpg") else None

    return decode

"""Draw and encode the clip that the decoding backends are tested on: ``python tests/tools/make_clip.py``.

Two discs that move over a slanted field of colours with some grain: about what a small real clip costs to decode.
"""

from __future__ import annotations

import numpy as np

from t2vdata.media.decode import auto
from t2vdata.media.encode import H264
from t2vdata.types import Frames


def draw() -> Frames:
    """Return the frames, (32, 64, 64, 3) at 16 fps."""
    rows, columns = np.mgrid[0:64, 0:64].astype(np.float64)
    grain = np.random.default_rng(0).normal(0, 4, (64, 64, 1))
    pictures = []
    for number in range(auto.NUM_PROBE_FRAMES):
        field = np.stack([rows * 2, columns * 2, 128 + 60 * np.sin((rows + columns + 4 * number) / 12)], axis=-1) + grain
        for start, colour in ((0, (230, 60, 40)), (np.pi, (40, 90, 220))):
            angle = start + 2 * np.pi * number / auto.NUM_PROBE_FRAMES
            disc = (rows - 32 - 18 * np.sin(angle)) ** 2 + (columns - 32 - 18 * np.cos(angle)) ** 2 < 81
            field[disc] = colour
        pictures.append(field.clip(0, 255).astype(np.uint8))
    return Frames(np.stack(pictures), 16.0)


if __name__ == "__main__":
    auto.PROBE_CLIP.write_bytes(H264(crf=23).encode(draw()).data)
    print(f"wrote {auto.PROBE_CLIP}, {auto.PROBE_CLIP.stat().st_size:,} bytes")

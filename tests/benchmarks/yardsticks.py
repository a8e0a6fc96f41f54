"""The script one would write today for bouncing digits: NumPy, a video library, WebDataset, two processes.

``python tests/benchmarks/yardsticks.py pyav --n 1000 --out FOLDER`` writes shards of clips with captions. It is written as
such scripts usually are, neither tuned nor slowed down; bench_build.py compares t2vdata with it.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from t2vdata.datasets.mnist_motion import digits

SIZE, NUM_FRAMES, FPS, SHARD_SIZE = 64, 32, 30, 1000

Video = NDArray[np.uint8]


# Each library is imported where it is used: a script that writes one kind of file loads one library.
def encode_pyav(video: Video) -> bytes:
    """Return an mp4 of grey frames (T, H, W): libx264 in yuv420p, other settings are PyAV's defaults."""
    import av

    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = SIZE, SIZE, "yuv420p"
        for picture in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        container.mux(stream.encode())
    return file.getvalue()


def encode_opencv(video: Video) -> bytes:
    """Return an mp4 of grey frames (T, H, W) in MPEG-4 part 2; OpenCV only writes to files, so the file is read back."""
    import cv2

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "clip.mp4")
        writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"mp4v"), FPS, (SIZE, SIZE), isColor=False)
        for picture in video:
            writer.write(picture)
        writer.release()
        with open(path, "rb") as file:
            return file.read()


def encode_savez(video: Video) -> bytes:
    """Return an npz with the frames (T, H, W)."""
    file = io.BytesIO()
    np.savez_compressed(file, video=video)
    return file.getvalue()


ENCODERS: dict[str, tuple[str, Callable[[Video], bytes]]] = {
    "pyav": ("mp4", encode_pyav),
    "opencv": ("mp4", encode_opencv),
    "savez": ("npz", encode_savez),
}


def draw(image: NDArray[np.uint8], vertical: bool, start: int, step: int, across: int) -> tuple[Video, list[int]]:
    """Return the frames (T, H, W) of a digit that bounces between the edges, and its position in each."""
    video = np.zeros((NUM_FRAMES, SIZE, SIZE), np.uint8)
    side = len(image)
    position, positions = start, []
    for frame in video:
        y, x = (position, across) if vertical else (across, position)
        frame[y : y + side, x : x + side] = image
        positions.append(position)
        if not 0 <= position + step <= SIZE - side:
            step = -step
        position += step
    return video, positions


def write_shards(name: str, worker: int, num_clips: int, out: str) -> None:
    """Write the clips of one worker."""
    import webdataset

    extension, encode = ENCODERS[name]
    images, labels = digits.images(None, "train"), digits.labels(None, "train")
    random = np.random.default_rng(worker)
    pattern = os.path.join(out, f"train-{worker}-%06d.tar")
    with webdataset.ShardWriter(pattern, maxcount=SHARD_SIZE, verbose=0) as sink:
        for number in range(num_clips):
            which, vertical = int(random.integers(len(images))), bool(random.integers(2))
            room = SIZE - len(images[which])
            start, across = (int(position) for position in random.integers(0, room + 1, 2))
            step = int(random.integers(1, 5)) * (1 if random.integers(2) else -1)
            video, positions = draw(images[which], vertical, start, step, across)
            forward, back = ("down", "up") if vertical else ("right", "left")
            first, then = (forward, back) if positions[1] > positions[0] else (back, forward)
            caption = f"the digit {labels[which]} is moving {first} and {then}"
            about: dict[str, Any] = {
                "caption": caption,
                "label": int(labels[which]),
                "mnist_index": which,
                "positions": positions,
                "across": across,
                "fps": FPS,
            }
            sink.write({"__key__": f"{worker}-{number:08d}", extension: encode(video), "txt": caption, "json": about})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=ENCODERS)
    parser.add_argument("--n", type=int, default=1000, help="clips")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--out", required=True, help="an existing folder")
    arguments = parser.parse_args()
    try:
        import webdataset  # noqa: F401  # imported once here; workers are forked where possible
    except ImportError as error:
        sys.exit(f"cannot import webdataset ({error}); install what tests need: pip install -e '.[test]'")
    shares = [
        arguments.n // arguments.workers + (worker < arguments.n % arguments.workers) for worker in range(arguments.workers)
    ]
    with multiprocessing.Pool(arguments.workers) as pool:
        pool.starmap(
            write_shards, [(arguments.name, worker, share, arguments.out) for worker, share in enumerate(shares)], chunksize=1
        )


if __name__ == "__main__":
    main()

"""The script a person would write today for digits that move back and forth: NumPy, a video library, WebDataset, two processes.

``python tests/benchmarks/yardsticks.py pyav --n 1000 --out FOLDER`` writes shards of clips with their captions. Written as such
scripts are, without tricks for or against: bench_build.py measures t2vdata against it.
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
    """Return an mp4 of grey frames (T, H, W): libx264 in yuv420p, everything else as PyAV has it."""
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
    """Return an mp4 of grey frames (T, H, W) in MPEG-4 part 2; OpenCV writes to files only, so it is read back from one."""
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
    """Return the frames (T, H, W) of a digit that bounces between the edges, and where it stands in each."""
    video = np.zeros((NUM_FRAMES, SIZE, SIZE), np.uint8)
    side = len(image)
    place, places = start, []
    for frame in video:
        y, x = (place, across) if vertical else (across, place)
        frame[y : y + side, x : x + side] = image
        places.append(place)
        if not 0 <= place + step <= SIZE - side:
            step = -step
        place += step
    return video, places


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
            start, across = (int(place) for place in random.integers(0, room + 1, 2))
            step = int(random.integers(1, 5)) * (1 if random.integers(2) else -1)
            video, places = draw(images[which], vertical, start, step, across)
            forward, back = ("down", "up") if vertical else ("right", "left")
            first, then = (forward, back) if places[1] > places[0] else (back, forward)
            caption = f"the digit {labels[which]} is moving {first} and {then}"
            about: dict[str, Any] = {
                "caption": caption,
                "label": int(labels[which]),
                "mnist_index": which,
                "positions": places,
                "across": across,
                "fps": FPS,
            }
            sink.write({"__key__": f"{worker}-{number:08d}", extension: encode(video), "txt": caption, "json": about})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("name", choices=ENCODERS)
    parser.add_argument("--n", type=int, default=1000, help="clips")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--out", required=True, help="folder that is there")
    asked = parser.parse_args()
    try:
        import webdataset  # noqa: F401  # once here; the workers are forked where the system can
    except ImportError as error:
        sys.exit(f"cannot import webdataset ({error}); install what tests need: pip install -e '.[test]'")
    shares = [asked.n // asked.workers + (worker < asked.n % asked.workers) for worker in range(asked.workers)]
    with multiprocessing.Pool(asked.workers) as pool:
        pool.starmap(write_shards, [(asked.name, worker, share, asked.out) for worker, share in enumerate(shares)], chunksize=1)


if __name__ == "__main__":
    main()

"""Other ways to load datasets built by t2vdata, each as an expert of that library would write it for two cores.

``python tests/benchmarks/loading_yardsticks.py "webdataset + decord" --folder DATASET`` prints the clips/s over three seconds;
bench_loading.py measures them properly, next to our loader. All yield batches of 64 clips, (B, T, H, W, C) uint8, and the ids
of their captions, forever. All read in the order of the shards, which favours them; ours shuffles.

The floors yield nothing: they decode the same bytes in two processes and discard the pictures.
"""

from __future__ import annotations

import argparse
import functools
import io
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from t2vdata import Vocabulary
from t2vdata.format import manifest, tables

BATCH_SIZE, CORES = 64, 2
NUM_FRAMES = 16
"""Frames per clip if not all are taken."""

Video = NDArray[np.uint8]
Batch = tuple[Any, Any]
"""Video (B, T, H, W, C) uint8 and tokens (B, L) int64, of NumPy or torch."""


@dataclass(frozen=True)
class Task:
    """What to load: the training clips of a dataset, and which of their frames."""

    folder: str
    select: Literal["all", "even", "crop"] = "all"
    """Every frame; 16 evenly spaced around the middle; 16 neighbours at random."""
    scratch: str = ""
    """A folder for what a library converts the shards to before it can read them."""

    @functools.cached_property
    def clips(self) -> list[dict[str, Any]]:
        """The rows of the index."""
        columns = (
            "shard",
            "extension",
            "pixels_offset",
            "pixels_size",
            "captions",
            "num_frames",
            "height",
            "width",
            "channels",
        )
        shards = manifest.read(self.folder).shard_range("train")
        rows: list[dict[str, Any]] = tables.read_index(self.folder, columns, shards=shards).to_pylist()
        return rows

    @property
    def extension(self) -> str:
        extension: str = self.clips[0]["extension"]
        return extension

    @property
    def channels(self) -> int:
        channels: int = self.clips[0]["channels"]
        return channels

    @property
    def shards(self) -> list[str]:
        return [str(Path(self.folder) / name) for name in dict.fromkeys(row["shard"] for row in self.clips)]

    @property
    def batch_shape(self) -> tuple[int, ...]:
        row = self.clips[0]
        num_frames = row["num_frames"] if self.select == "all" else NUM_FRAMES
        return BATCH_SIZE, num_frames, row["height"], row["width"], row["channels"]

    def encode(self, caption: str) -> list[int]:
        """Return the ids of a caption; repeated captions are looked up."""
        return _encoder(self.folder)(caption)

    def selected(self) -> range:
        """Return the frames to take from a clip; all clips have one length."""
        return selected_frames(self.clips[0]["num_frames"], self.select)


@functools.cache
def _encoder(folder: str) -> Callable[[str], list[int]]:
    return functools.cache(Vocabulary.load(str(Path(folder) / manifest.VOCABULARY)).encode)


def selected_frames(num_frames: int, select: str) -> range:
    """Return the indices of the frames to take from a clip of ``num_frames``; decode_floor.c has the same rule."""
    if select == "even":
        stride = (num_frames - 1) // (NUM_FRAMES - 1)
        first = (num_frames - 1 - (NUM_FRAMES - 1) * stride) // 2
        return range(first, first + NUM_FRAMES * stride, stride)
    if select == "crop":
        first = random.randrange(num_frames - NUM_FRAMES + 1)
        return range(first, first + NUM_FRAMES)
    return range(num_frames)


# ---- Decoders: a clip's bytes to (T, H, W, C). For grey clips, one channel of three is kept.


def decode_decord(data: bytes, task: Task) -> Video:
    import decord

    reader = decord.VideoReader(io.BytesIO(data), num_threads=1)
    video: Video = reader.get_batch(task.selected()).asnumpy()
    return video[..., : task.channels]


def decode_torchcodec(data: bytes, task: Task) -> Video:
    from torchcodec.decoders import VideoDecoder

    # Approximate: the rate is even, so frames need not be counted first.
    decoder = VideoDecoder(data, seek_mode="approximate", dimension_order="NHWC", num_ffmpeg_threads=1)
    frames = task.selected()
    if frames.step == 1:
        video: Video = decoder.get_frames_in_range(frames.start, frames.stop).data.numpy()
    else:
        video = decoder.get_frames_at(list(frames)).data.numpy()
    return video[..., : task.channels]


def decode_opencv(data: bytes, task: Task) -> Video:
    """Cut a JPEG sheet, decoded by OpenCV, into its frames: in rows of equal width, the first at the top left."""
    import cv2

    sheet = cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    row = task.clips[0]
    height, width = row["height"], row["width"]
    tiles = sheet.reshape(sheet.shape[0] // height, height, sheet.shape[1] // width, width, 3).swapaxes(1, 2)
    return tiles.reshape(-1, height, width, 3)[task.selected()]


def decode_ours(data: bytes, task: Task) -> Video:
    video = _lossless()(".npy.zst", data)
    assert video is not None
    return video


@functools.cache
def _lossless() -> Callable[[str, bytes], Video | None]:
    from t2vdata.format.webdataset_decoder import decoder

    return decoder()


Decode = Callable[[bytes, Task], Video]


# ---- Batches: decoded clips and their ids to arrays.


def stack_tokens(rows: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    tokens = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for position, row in enumerate(rows):
        tokens[position, : len(row)] = row
    return tokens


def collate(samples: Sequence[tuple[Video, Sequence[int]]]) -> Batch:
    """Return a batch of torch tensors; a DataLoader's worker creates them in shared memory."""
    import torch
    from torch.utils.data import default_collate

    with warnings.catch_warnings():
        # Lossless arrays are read-only; stacking copies them.
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        videos = [torch.from_numpy(video) for video, _ in samples]
    return default_collate(videos), torch.from_numpy(stack_tokens([ids for _, ids in samples]))


def one_thread() -> None:
    """Let torch stack with one thread, as it does in a DataLoader's workers."""
    import torch

    # As fast as two on an idle machine; on a busy one, two wait for each other and are up to ten times slower.
    torch.set_num_threads(1)


# ---- webdataset


def webdataset(task: Task, decode: Decode, num_workers: int) -> Iterator[Batch]:
    import webdataset as wds
    from torch.utils.data import DataLoader

    # The JSON is not needed.
    pixels = task.extension
    pipeline = wds.WebDataset(task.shards, shardshuffle=False, select_files=lambda name: not name.endswith(".json"))
    samples = pipeline.to_tuple(pixels, "txt").map_tuple(
        functools.partial(decode, task=task), lambda text: task.encode(text.decode())
    )
    if num_workers == 0:
        one_thread()
    batches = samples.repeat().batched(BATCH_SIZE, collation_fn=collate, partial=False)
    yield from DataLoader(batches, batch_size=None, num_workers=num_workers)


# ---- Threads: bytes read at the index's offsets, decoded straight into the batch


def threads(task: Task, decode: Decode) -> Iterator[Batch]:
    files = {row["shard"]: os.open(Path(task.folder) / row["shard"], os.O_RDONLY) for row in task.clips}

    def load(row: dict[str, Any], video: Video) -> None:
        video[:] = decode(os.pread(files[row["shard"]], row["pixels_size"], row["pixels_offset"]), task)

    rows = _repeat(task.clips)
    in_progress: deque[tuple[Any, Any, list[Any]]] = deque()
    with ThreadPoolExecutor(CORES) as pool:
        try:
            while True:
                while len(in_progress) < 3:
                    rows_of_batch = [next(rows) for _ in range(BATCH_SIZE)]
                    video = np.empty(task.batch_shape, np.uint8)
                    jobs = [pool.submit(load, *pair) for pair in zip(rows_of_batch, video, strict=True)]
                    in_progress.append((video, stack_tokens([task.encode(row["captions"][0]) for row in rows_of_batch]), jobs))
                video, tokens, jobs = in_progress.popleft()
                for job in jobs:
                    job.result()
                yield video, tokens
        finally:
            pool.shutdown(cancel_futures=True)


def _repeat(clips: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    while True:
        yield from clips


# ---- SPDL


def spdl(task: Task) -> Iterator[Batch]:
    import spdl.io
    from spdl.pipeline import PipelineBuilder

    files = {row["shard"]: os.open(Path(task.folder) / row["shard"], os.O_RDONLY) for row in task.clips}
    pix_fmt = "gray" if task.channels == 1 else "rgb24"
    fps = 30

    def decode(row: dict[str, Any]) -> tuple[Any, list[int]]:
        data = os.pread(files[row["shard"]], row["pixels_size"], row["pixels_offset"])
        frames = task.selected()
        span, picked = None, f"format=pix_fmts={pix_fmt}"
        if task.select == "crop":
            # Half a frame early and late: time stamps are rounded.
            span = ((frames.start - 0.5) / fps, (frames.stop - 0.5) / fps)
            picked = f"trim=start={span[0]}:end={span[1]},{picked}"
        if task.select == "even":
            # Only these are converted to RGB; measured faster than spdl.io.sample_decode_video.
            span = (0, (frames[-1] + 0.5) / fps)
            numbers = "+".join(f"eq(n,{number})" for number in frames)
            picked = f"select='{numbers}',{picked}"
        packets = spdl.io.demux_video(data, timestamp=span)
        return spdl.io.decode_packets(packets, filter_desc=picked), task.encode(row["captions"][0])

    def convert(samples: list[tuple[Any, list[int]]]) -> Batch:
        video = spdl.io.to_numpy(spdl.io.convert_frames([frames for frames, _ in samples]))
        return video.reshape(task.batch_shape), stack_tokens([ids for _, ids in samples])

    pipeline = (
        PipelineBuilder()
        .add_source(_repeat(task.clips))
        .pipe(decode, concurrency=CORES, output_order="input")
        .aggregate(BATCH_SIZE)
        .pipe(convert)
        .add_sink(2)
        .build(num_threads=CORES + 1)
    )
    with pipeline.auto_stop():
        yield from pipeline


# ---- litdata


def prepare_litdata(task: Task, decode: Decode | None, num_workers: int) -> None:
    """Write the clips in litdata's own format: as stored in the shards, or as arrays if it does not decode."""
    import litdata

    if Path(task.scratch, "index.json").exists():
        return
    litdata.optimize(
        functools.partial(_litdata_sample, task, decode_ours if decode is None else None),
        inputs=task.clips,
        output_dir=task.scratch,
        chunk_bytes="64MB",
        num_workers=CORES,
    )


def _litdata_sample(task: Task, decode: Decode | None, row: dict[str, Any]) -> dict[str, Any]:
    with open(Path(task.folder) / row["shard"], "rb") as file:
        data = os.pread(file.fileno(), row["pixels_size"], row["pixels_offset"])
    return {"pixels": data if decode is None else decode(data, task), "caption": row["captions"][0]}


def litdata(task: Task, decode: Decode | None, num_workers: int) -> Iterator[Batch]:
    from litdata import StreamingDataLoader, StreamingDataset

    dataset = StreamingDataset(task.scratch, shuffle=False, drop_last=True)
    loader = StreamingDataLoader(dataset, **_loader_options(num_workers, functools.partial(_litdata_batch, task, decode)))
    while True:
        yield from loader


def _litdata_batch(task: Task, decode: Decode | None, samples: list[dict[str, Any]]) -> Batch:
    loaded = [sample["pixels"] if decode is None else decode(sample["pixels"], task) for sample in samples]
    return collate([(video, task.encode(sample["caption"])) for video, sample in zip(loaded, samples, strict=True)])


# ---- Hugging Face datasets


def hf_streaming(task: Task, decode: Decode) -> Iterator[Batch]:
    import datasets

    dataset = datasets.load_dataset("webdataset", data_files={"train": task.shards}, split="train", streaming=True)
    dataset = dataset.select_columns([task.extension, "txt"]).rename_columns({task.extension: "pixels", "txt": "caption"})
    if task.extension == "mp4":
        # Bytes, instead of a decoder object for each clip.
        dataset = dataset.cast_column("pixels", datasets.Video(decode=False))
    # It turns .npy.zst into lists of frames; its format "numpy" takes three times as long.
    yield from _hf_loader(task, decode, dataset.repeat(None), CORES)


def hf_arrow(task: Task, decode: Decode, num_workers: int) -> Iterator[Batch]:
    import datasets

    loader = _hf_loader(task, decode, datasets.load_from_disk(task.scratch), num_workers)
    while True:
        yield from loader


def prepare_hf_arrow(task: Task, **settings: Any) -> None:
    """Write the clips as stored in the shards into Arrow files, which datasets memory-maps."""
    import datasets

    if Path(task.scratch, "state.json").exists():
        return
    with tempfile.TemporaryDirectory() as cache:
        datasets.Dataset.from_generator(functools.partial(_hf_rows, task), cache_dir=cache).save_to_disk(task.scratch)


def _hf_rows(task: Task) -> Iterator[dict[str, Any]]:
    for row in task.clips:
        with open(Path(task.folder) / row["shard"], "rb") as file:
            data = os.pread(file.fileno(), row["pixels_size"], row["pixels_offset"])
        yield {"pixels": data, "caption": row["captions"][0]}


def _hf_loader(task: Task, decode: Decode, dataset: Any, num_workers: int) -> Any:
    from torch.utils.data import DataLoader

    options = _loader_options(num_workers, functools.partial(_hf_batch, task, decode))
    return DataLoader(dataset, **options)


def _loader_options(num_workers: int, collate_fn: Callable[..., Batch]) -> dict[str, Any]:
    """Return the options of DataLoaders. Workers persist across epochs."""
    if num_workers == 0:
        one_thread()
    options = {"batch_size": BATCH_SIZE, "drop_last": True, "num_workers": num_workers, "collate_fn": collate_fn}
    return {**options, "persistent_workers": num_workers > 0}


def _hf_batch(task: Task, decode: Decode, samples: list[dict[str, Any]]) -> Batch:
    loaded = []
    for sample in samples:
        pixels = sample["pixels"]
        if isinstance(pixels, list):
            loaded.append(np.stack(pixels))
        else:
            loaded.append(decode(pixels["bytes"] if isinstance(pixels, dict) else pixels, task))
    return collate([(video, task.encode(sample["caption"])) for video, sample in zip(loaded, samples, strict=True)])


# ---- Floors: what no loader that decodes these bytes with libavcodec on two cores can beat


def floor_pyav(task: Task) -> Iterator[None]:
    command = [sys.executable, __file__, "--floor", task.select, "--folder", task.folder]
    yield from _count_bytes([command] * CORES)


def _decode_with_pyav(task: Task) -> None:
    """Decode forever, from the key frame before the first selected frame to the last; write a byte for every 64 clips."""
    import av

    for number, row in enumerate(_repeat(task.clips), 1):
        with open(Path(task.folder) / row["shard"], "rb") as file:
            data = os.pread(file.fileno(), row["pixels_size"], row["pixels_offset"])
        frames = task.selected()
        with av.open(io.BytesIO(data), format="mov") as container:
            stream = container.streams.video[0]
            stream.thread_type, stream.thread_count = "NONE", 1
            assert stream.duration is not None
            step = stream.duration // row["num_frames"]
            if frames.start:
                container.seek(frames.start * step, stream=stream)
            for frame in container.decode(stream):
                if frame.pts is not None and frame.pts >= frames[-1] * step:
                    break
        if number % BATCH_SIZE == 0:
            os.write(1, b"+")


def prepare_floor_c(task: Task, *, keep: bool) -> None:
    """Compile decode_floor.c: with FFmpeg's headers and a C compiler (apt: gcc libavformat-dev)."""
    libraries = ["libavformat", "libavcodec", "libavutil"]
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", *libraries], capture_output=True, text=True, check=True)
    source = Path(__file__).with_name("decode_floor.c")
    Path(task.scratch).mkdir(parents=True, exist_ok=True)
    program = str(Path(task.scratch) / "decode_floor")
    subprocess.run(["cc", "-O2", str(source), "-o", program, *flags.stdout.split()], check=True)
    rows = (
        f"{Path(task.folder) / row['shard']} {row['pixels_offset']} {row['pixels_size']} {row['num_frames']}\n"
        for row in task.clips
    )
    (Path(task.scratch) / "clips.txt").write_text("".join(rows))


def floor_c(task: Task, *, keep: bool) -> Iterator[None]:
    program, clips = (str(Path(task.scratch) / name) for name in ("decode_floor", "clips.txt"))
    yield from _count_bytes([[program, clips, task.select, str(NUM_FRAMES), str(int(keep))]] * CORES)


def _count_bytes(commands: Sequence[Sequence[str]]) -> Iterator[None]:
    """Yield once for each byte that a program writes."""
    readable, writable = os.pipe()
    programs = [subprocess.Popen(command, stdout=writable) for command in commands]
    os.close(writable)
    try:
        while os.read(readable, 1):
            yield None
        raise RuntimeError(f"{commands[0][0]} ended with status {programs[0].wait()}")
    finally:
        for program in programs:
            program.kill()
            program.wait()
        os.close(readable)


# ---- The list


@dataclass(frozen=True)
class Yardstick:
    """A way to load, with its name and the datasets that it can read."""

    name: str
    extension: Literal["mp4", "npy.zst"]
    function: Callable[..., Iterator[Batch | None]]
    settings: dict[str, Any]
    packages: str = ""
    """Modules, separated by blanks, to import before the clock starts."""
    prepare_with: Callable[..., None] | None = None
    """Runs once before loading, untimed."""
    is_floor: bool = False
    """Whether it only decodes: its batches are None."""

    def prepare(self, task: Task) -> None:
        if self.prepare_with is not None:
            self.prepare_with(task, **self.settings)

    def batches(self, task: Task) -> Iterator[Batch | None]:
        """Yield batches forever."""
        return self.function(task, **self.settings)


_DECORD, _TORCHCODEC, _OURS = {"decode": decode_decord}, {"decode": decode_torchcodec}, {"decode": decode_ours}
_OPENCV = {"decode": decode_opencv}
_AS_ARRAYS = {"decode": None}
_TWO, _NONE = {"num_workers": CORES}, {"num_workers": 0}

YARDSTICKS: tuple[Yardstick, ...] = (
    Yardstick("webdataset + decord", "mp4", webdataset, _DECORD | _TWO, "torch decord webdataset"),
    Yardstick("webdataset + torchcodec", "mp4", webdataset, _TORCHCODEC | _TWO, "torchcodec webdataset"),
    Yardstick("decord on threads", "mp4", threads, _DECORD, "decord"),
    Yardstick("torchcodec on threads", "mp4", threads, _TORCHCODEC, "torchcodec"),
    Yardstick("SPDL", "mp4", spdl, {}, "spdl.io spdl.pipeline"),
    Yardstick("litdata + torchcodec", "mp4", litdata, _TORCHCODEC | _TWO, "litdata torchcodec", prepare_litdata),
    Yardstick("HF datasets, streaming + torchcodec", "mp4", hf_streaming, _TORCHCODEC, "datasets torchcodec"),
    Yardstick("HF datasets, Arrow + torchcodec", "mp4", hf_arrow, _TORCHCODEC | _TWO, "datasets torchcodec", prepare_hf_arrow),
    Yardstick("webdataset + our decoder", "npy.zst", webdataset, _OURS | _TWO, "torch webdataset"),
    Yardstick("webdataset + our decoder, no workers", "npy.zst", webdataset, _OURS | _NONE, "torch webdataset"),
    Yardstick("litdata + our decoder", "npy.zst", litdata, _OURS | _TWO, "litdata", prepare_litdata),
    Yardstick("litdata + our decoder, no workers", "npy.zst", litdata, _OURS | _NONE, "litdata", prepare_litdata),
    Yardstick("litdata, arrays", "npy.zst", litdata, _AS_ARRAYS | _TWO, "litdata", prepare_litdata),
    Yardstick("litdata, arrays, no workers", "npy.zst", litdata, _AS_ARRAYS | _NONE, "litdata", prepare_litdata),
    Yardstick("HF datasets, streaming", "npy.zst", hf_streaming, _OURS, "datasets torch"),
    Yardstick("HF datasets, Arrow + our decoder", "npy.zst", hf_arrow, _OURS | _TWO, "datasets torch", prepare_hf_arrow),
    Yardstick(
        "HF datasets, Arrow + our decoder, no workers", "npy.zst", hf_arrow, _OURS | _NONE, "datasets torch", prepare_hf_arrow
    ),
    Yardstick("webdataset + OpenCV", "jpg", webdataset, _OPENCV | _TWO, "torch cv2 webdataset"),
    Yardstick("OpenCV on threads", "jpg", threads, _OPENCV, "cv2"),
    Yardstick("floor: PyAV, 2 processes", "mp4", floor_pyav, {}, is_floor=True),
    Yardstick("floor: C, 2 processes", "mp4", floor_c, {"keep": False}, "", prepare_floor_c, is_floor=True),
    Yardstick("floor: C, one decoder for all", "mp4", floor_c, {"keep": True}, "", prepare_floor_c, is_floor=True),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", help="one of: " + "; ".join(yardstick.name for yardstick in YARDSTICKS))
    parser.add_argument("--folder", required=True, help="a dataset with one size and length of clips")
    parser.add_argument("--select", choices=("all", "even", "crop"), default="all", help="frames of a clip [%(default)s]")
    parser.add_argument("--floor", choices=("all", "even", "crop"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.floor:
        _decode_with_pyav(Task(options.folder, options.floor))
    yardstick = next((yardstick for yardstick in YARDSTICKS if yardstick.name == options.name), None)
    if yardstick is None:
        parser.error(f"no yardstick {options.name!r}; expected one of: {'; '.join(yardstick.name for yardstick in YARDSTICKS)}")
    with tempfile.TemporaryDirectory(prefix="yardstick-") as scratch:
        task = Task(options.folder, options.select, scratch)
        yardstick.prepare(task)
        batches = yardstick.batches(task)
        next(batches)
        begun, num_batches = time.perf_counter(), 0
        while time.perf_counter() - begun < 3:
            next(batches)
            num_batches += 1
        print(f"{num_batches * BATCH_SIZE / (time.perf_counter() - begun):,.0f} clips/s")
        batches.close()  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()

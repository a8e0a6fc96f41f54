"""Handwritten digits: the packaged MNIST, or any folder of IDX files.

IDX (Y. LeCun's site): big-endian magic 2051 for images or 2049 for labels, the dimensions, then bytes.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import zlib
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from t2vdata.errors import RawDataError

MnistSplit = Literal["train", "test"]

# SHA-256 of the official files after gunzip.
OFFICIAL_SHA256 = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
LICENCE = "MNIST is copyright Yann LeCun and Corinna Cortes, CC BY-SA 3.0 (https://creativecommons.org/licenses/by-sa/3.0/)"

_NUM_AXES_BY_MAGIC = {2051: 3, 2049: 1}
# File names of a split begin with: MNIST and its relatives say t10k, EMNIST and others say test.
_SPLIT_PREFIXES: dict[MnistSplit, tuple[str, ...]] = {"train": ("train",), "test": ("t10k", "test")}


@functools.lru_cache(maxsize=4)
def images(folder: Path | None, split: MnistSplit) -> NDArray[np.uint8]:
    """Return the images of a split, from ``folder`` or the package: (N, side, side) uint8."""
    name, content = _content(folder, split, "images")
    values = parse_idx(name, content)
    if values.ndim != 3 or values.shape[1] != values.shape[2]:
        raise RawDataError(f"{name}: expected square images, got shape {values.shape}")
    # EMNIST's files hold each image transposed.
    return np.ascontiguousarray(values.transpose(0, 2, 1)) if name.startswith("emnist") else values


@functools.lru_cache(maxsize=4)
def labels(folder: Path | None, split: MnistSplit) -> NDArray[np.uint8]:
    """Return the labels of a split, each of 0 to 9 at least once: (N,) uint8."""
    name, content = _content(folder, split, "labels")
    values = parse_idx(name, content)
    if values.ndim != 1 or (values > 9).any():
        raise RawDataError(f"{name}: expected labels 0 to 9, got up to {values.max()}; is this a set of letters?")
    absent = sorted(set(range(10)) - set(values.tolist()))
    if absent:
        raise RawDataError(f"{name}: no digit {absent[0]} among {len(values)} labels; each digit is needed")
    return values


def missing(folder: Path | None) -> str | None:
    """Return which IDX file is missing in the user's folder, and what was found there; None if it is complete."""
    if folder is None:
        return None
    if not folder.is_dir():
        return f"no folder {folder}; --mnist takes a folder with the four IDX files of MNIST, plain or .gz"
    for split in _SPLIT_PREFIXES:
        for kind in ("images", "labels"):
            if _find(folder, split, kind) is None:
                present = ", ".join(sorted(path.name for path in folder.iterdir())[:6]) or "nothing"
                expected = f"{_SPLIT_PREFIXES[split][0]}-{kind}-idx{3 if kind == 'images' else 1}-ubyte"
                return f"no {expected} (plain or .gz) in {folder}; it holds {present}"
    return None


def sha256(folder: Path | None) -> dict[str, str]:
    """Return {official name: SHA-256 of the unzipped file}: the identity of the digits, whatever their location."""
    if folder is None:
        return dict(OFFICIAL_SHA256)
    for split in _SPLIT_PREFIXES:
        num_images, num_labels = len(images(folder, split)), len(labels(folder, split))
        if num_images != num_labels:
            raise RawDataError(
                f"{folder}: {num_images} {split} images, but {num_labels} labels; the files do not belong together"
            )
    hashes: dict[str, str] = {}
    for name in OFFICIAL_SHA256:
        split = "train" if name.startswith("train") else "test"
        file, content = _content(folder, split, "images" if "images" in name else "labels")
        layout = "transposed " if file.startswith("emnist") else ""
        hashes[name] = layout + hashlib.sha256(content).hexdigest()
    return hashes


def parse_idx(name: str, content: bytes) -> NDArray[np.uint8]:
    """Return the array in an IDX file. Raises RawDataError, with the file's name, if it is not IDX or is truncated."""
    num_axes = _NUM_AXES_BY_MAGIC.get(int.from_bytes(content[:4], "big"))
    if num_axes is None or len(content) < 4 + 4 * num_axes:
        raise RawDataError(f"{name}: not an IDX file of images or labels")
    shape = tuple(int(size) for size in np.frombuffer(content, ">u4", num_axes, 4))
    start = 4 + 4 * num_axes
    size = int(np.prod(shape, dtype=np.int64))
    if len(content) - start != size:
        raise RawDataError(f"{name}: expected {size} bytes for shape {shape}, found {len(content) - start}; download it again")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _content(folder: Path | None, split: MnistSplit, kind: str) -> tuple[str, bytes]:
    """Return the name of an IDX file and its decompressed content."""
    if folder is None:
        import zstandard

        name = next(name for name in OFFICIAL_SHA256 if name.startswith(f"{_SPLIT_PREFIXES[split][0]}-{kind}"))
        compressed = resources.files("t2vdata.datasets.mnist_motion").joinpath("images", f"{name}.zst").read_bytes()
        return name, zstandard.ZstdDecompressor().decompress(compressed)
    path = _find(folder, split, kind)
    if path is None:
        raise RawDataError(missing(folder) or f"no {split} {kind} in {folder}")
    content = path.read_bytes()
    try:
        return path.name, gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise RawDataError(f"{path}: incomplete or not a gzip file ({error}); download it again") from error


def _find(folder: Path, split: MnistSplit, kind: str) -> Path | None:
    """Return the IDX file of a split, or None. Raises RawDataError if the choice is ambiguous."""
    axes = 3 if kind == "images" else 1
    # Some mirrors write a dot for the hyphen before "idx": train-images.idx3-ubyte.
    patterns = [f"*{prefix}-{kind}?idx{axes}-ubyte" for prefix in _SPLIT_PREFIXES[split]]
    matches = {path.name.removesuffix(".gz"): path for pattern in patterns for path in sorted(folder.glob(pattern + "*"))}
    # EMNIST's release has six sets in one folder; the one with ten classes is called "digits".
    candidates = {name: path for name, path in matches.items() if "digits" in name} or matches
    if len(candidates) > 1:
        raise RawDataError(f"{folder} holds {', '.join(candidates)}; expected one set of digits: move the others away")
    return next(iter(candidates.values()), None)

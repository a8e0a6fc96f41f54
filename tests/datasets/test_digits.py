"""The packaged MNIST is the official one; a folder of IDX files is read, or refused with the fault named."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path

import numpy as np
import pytest

from t2vdata import datasets
from t2vdata.datasets.mnist_motion import MnistMotion, digits
from t2vdata.errors import RawDataError, RequestError

SPLITS = (("train", "train"), ("test", "t10k"))
SIDE = 6


def idx(array: np.ndarray) -> bytes:
    """Return an IDX file of bytes."""
    magic = {3: 2051, 1: 2049}[array.ndim]
    return b"".join(number.to_bytes(4, "big") for number in (magic, *array.shape)) + array.astype(np.uint8).tobytes()


def tiny(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return 40 images and labels: four of each digit, no two alike and none its own mirror image."""
    images = np.random.default_rng({"train": 1, "test": 2}[split]).integers(1, 256, (40, SIDE, SIDE))
    return images.astype(np.uint8), (np.arange(40) % 10).astype(np.uint8)


def write_set(folder: Path, *, name: str = "{word}-{kind}-idx{axes}-ubyte", words: dict[str, str] | None = None,
              is_gzipped: bool = False, transposed: bool = False) -> Path:  # fmt: skip
    for split, word in (words or dict(SPLITS)).items():
        images, labels = tiny(split)
        for kind, array in (("images", images.transpose(0, 2, 1) if transposed else images), ("labels", labels)):
            content = idx(array)
            file = folder / (name.format(word=word, kind=kind, axes=array.ndim) + (".gz" if is_gzipped else ""))
            file.write_bytes(gzip.compress(content) if is_gzipped else content)
    assert len(list(folder.iterdir())) >= 4
    return folder


def assert_holds_the_tiny_set(folder: Path) -> None:
    assert digits.missing(folder) is None
    for split in ("train", "test"):
        images, labels = tiny(split)
        assert np.array_equal(digits.images(folder, split), images)
        assert np.array_equal(digits.labels(folder, split), labels)


# The packaged digits


@pytest.mark.parametrize(("split", "word", "count"), [("train", "train", 60_000), ("test", "t10k", 10_000)])
def test_the_packaged_files_are_the_official_ones_bit_for_bit(split: str, word: str, count: int) -> None:
    images, labels = digits.images(None, split), digits.labels(None, split)
    assert (images.shape, labels.shape) == ((count, 28, 28), (count,))
    assert hashlib.sha256(idx(images)).hexdigest() == digits.OFFICIAL_SHA256[f"{word}-images-idx3-ubyte"]
    assert hashlib.sha256(idx(labels)).hexdigest() == digits.OFFICIAL_SHA256[f"{word}-labels-idx1-ubyte"]


def test_the_source_of_the_packaged_digits_is_the_official_hashes() -> None:
    assert digits.sha256(None) == digits.OFFICIAL_SHA256
    assert digits.missing(None) is None
    assert len(set(digits.OFFICIAL_SHA256.values())) == 4


@pytest.mark.real
def test_a_folder_with_the_official_files_is_the_same_source_as_the_package(shared: Path) -> None:
    folder = shared / "data" / "mnist"
    assert digits.missing(folder) is None
    assert digits.sha256(folder) == digits.OFFICIAL_SHA256
    options = datasets.make_options("mnist-motion", {"mnist": folder, "n": 20})
    packaged = datasets.make_options("mnist-motion", {"n": 20})
    for mine, theirs in zip(*(MnistMotion(None, chosen, 0).clips("val") for chosen in (options, packaged)), strict=True):
        assert mine == theirs
        assert np.array_equal(
            MnistMotion(None, options, 0).render(mine).data, MnistMotion(None, packaged, 0).render(theirs).data
        )


# The user's folder


@pytest.mark.parametrize("is_gzipped", [False, True])
def test_idx_files_can_be_plain_or_gzipped(tmp_path: Path, is_gzipped: bool) -> None:
    assert_holds_the_tiny_set(write_set(tmp_path, is_gzipped=is_gzipped))


@pytest.mark.parametrize("word", ["t10k", "test"])
def test_the_test_files_may_be_called_t10k_or_test(tmp_path: Path, word: str) -> None:
    assert_holds_the_tiny_set(write_set(tmp_path, words={"train": "train", "test": word}))


def test_a_dot_may_precede_idx_in_the_name(tmp_path: Path) -> None:
    assert_holds_the_tiny_set(write_set(tmp_path, name="{word}-{kind}.idx{axes}-ubyte"))


def test_a_plain_file_and_its_gzipped_copy_count_as_one(tmp_path: Path) -> None:
    write_set(tmp_path)
    assert_holds_the_tiny_set(write_set(tmp_path, is_gzipped=True))


def test_emnist_digits_are_turned_upright(tmp_path: Path) -> None:
    names = {"train": "train", "test": "test"}
    write_set(tmp_path, name="emnist-digits-{word}-{kind}-idx{axes}-ubyte", words=names, is_gzipped=True, transposed=True)
    assert_holds_the_tiny_set(tmp_path)


def test_emnist_digits_are_found_among_emnists_other_sets(tmp_path: Path) -> None:
    names = {"train": "train", "test": "test"}
    write_set(tmp_path, name="emnist-digits-{word}-{kind}-idx{axes}-ubyte", words=names, transposed=True)
    for other in ("letters", "balanced"):
        (tmp_path / f"emnist-{other}-train-labels-idx1-ubyte").write_bytes(idx(np.arange(27)))
        (tmp_path / f"emnist-{other}-train-images-idx3-ubyte").write_bytes(idx(np.zeros((27, SIDE, SIDE))))
    assert_holds_the_tiny_set(tmp_path)


def test_the_source_is_the_hash_of_the_unzipped_files_in_any_folder(tmp_path: Path) -> None:
    plain, gzipped = tmp_path / "plain", tmp_path / "gzipped"
    for folder in (plain, gzipped):
        folder.mkdir()
        write_set(folder, is_gzipped=folder == gzipped)
    assert digits.sha256(plain) == digits.sha256(gzipped)
    images, labels = tiny("test")
    assert digits.sha256(plain)["t10k-images-idx3-ubyte"] == hashlib.sha256(idx(images)).hexdigest()
    assert digits.sha256(plain)["t10k-labels-idx1-ubyte"] == hashlib.sha256(idx(labels)).hexdigest()


def test_the_source_distinguishes_transposed_images_from_upright_ones(tmp_path: Path) -> None:
    plain, emnist = tmp_path / "plain", tmp_path / "emnist"
    plain.mkdir()
    emnist.mkdir()
    write_set(plain)
    write_set(emnist, name="emnist-digits-{word}-{kind}-idx{axes}-ubyte")
    assert set(digits.sha256(plain).values()).isdisjoint(digits.sha256(emnist).values())


def test_clips_are_drawn_from_the_folder(tmp_path: Path) -> None:
    write_set(tmp_path)
    options = datasets.make_options("mnist-motion", {"mnist": tmp_path, "n": 20, "digit_size": SIDE, "size": 20})
    assert MnistMotion(None, options, 0).missing() is None
    for split, drawn_from in (("train", "train"), ("val", "test"), ("test", "test")):
        images, labels = tiny(drawn_from)
        for clip in MnistMotion(None, options, 0).clips(split):
            (mover,) = clip.meta["digits"]
            assert labels[mover["mnist_index"]] == mover["digit"]
            frame = MnistMotion(None, options, 0).render(clip).data[0, :, :, 0]
            assert sorted(frame[frame > 0]) == sorted(images[mover["mnist_index"]].ravel())


# Faulty folders


def test_a_missing_folder_is_reported_with_what_belongs_there(tmp_path: Path) -> None:
    reason = digits.missing(tmp_path / "nowhere")
    assert reason == f"no folder {tmp_path}/nowhere; --mnist takes a folder with the four IDX files of MNIST, plain or .gz"


@pytest.mark.parametrize("name", sorted(digits.OFFICIAL_SHA256))
def test_a_missing_file_is_reported_with_what_was_found(tmp_path: Path, name: str) -> None:
    write_set(tmp_path)
    (tmp_path / name).unlink()
    present = ", ".join(other for other in sorted(digits.OFFICIAL_SHA256) if other != name)
    assert digits.missing(tmp_path) == f"no {name} (plain or .gz) in {tmp_path}; it holds {present}"
    with pytest.raises(RawDataError, match=re.escape(f"no {name}")):
        digits.sha256(tmp_path)


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    assert str(digits.missing(tmp_path)).endswith("; it holds nothing")


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path: Path, name: str, share: float) -> None:
    file = write_set(tmp_path) / name
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(RawDataError, match=rf"{name}: (expected \d+ bytes for shape .*download it again|not an IDX file)"):
        digits.sha256(tmp_path)


def test_a_file_with_extra_bytes_is_refused(tmp_path: Path) -> None:
    file = write_set(tmp_path) / "train-labels-idx1-ubyte"
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(
        RawDataError, match=r"train-labels-idx1-ubyte: expected 40 bytes for shape \(40,\), found 41; download it"
    ):
        digits.labels(tmp_path, "train")


@pytest.mark.parametrize("damage", ["cut", "text", "flip"])
def test_a_damaged_gzip_file_is_refused(tmp_path: Path, damage: str) -> None:
    file = write_set(tmp_path, is_gzipped=True) / "train-images-idx3-ubyte.gz"
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 0xFF
    file.write_bytes({"cut": content[:200], "text": b"<html>404</html>", "flip": content}[damage])
    with pytest.raises(RawDataError, match=r"train-images-idx3-ubyte\.gz: incomplete or not a gzip file .*download it again"):
        digits.images(tmp_path, "train")


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (write_set(tmp_path) / "train-images-idx3-ubyte").write_bytes(b"<html>404 not found</html>")
    with pytest.raises(RawDataError, match="train-images-idx3-ubyte: not an IDX file of images or labels"):
        digits.images(tmp_path, "train")


def test_images_must_be_square(tmp_path: Path) -> None:
    (write_set(tmp_path) / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((40, 6, 7))))
    with pytest.raises(RawDataError, match=r"train-images-idx3-ubyte: expected square images, got shape \(40, 6, 7\)"):
        digits.images(tmp_path, "train")


def test_letters_are_refused(tmp_path: Path) -> None:
    (write_set(tmp_path) / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(40) % 26 + 1))
    with pytest.raises(RawDataError, match="expected labels 0 to 9, got up to 26; is this a set of letters"):
        digits.labels(tmp_path, "train")


def test_every_digit_must_occur(tmp_path: Path) -> None:
    (write_set(tmp_path) / "t10k-labels-idx1-ubyte").write_bytes(idx(np.arange(40) % 7))
    with pytest.raises(RawDataError, match="t10k-labels-idx1-ubyte: no digit 7 among 40 labels; each digit is needed"):
        digits.labels(tmp_path, "test")


@pytest.mark.parametrize(("split", "word"), SPLITS)
def test_images_and_labels_must_be_equal_in_number(tmp_path: Path, split: str, word: str) -> None:
    (write_set(tmp_path) / f"{word}-labels-idx1-ubyte").write_bytes(idx(np.arange(30) % 10))
    options = datasets.make_options("mnist-motion", {"mnist": tmp_path, "n": 20})
    with pytest.raises(RawDataError, match=f"40 {split} images, but 30 labels; the files do not belong together"):
        MnistMotion(None, options, 0).source()


def test_several_sets_in_one_folder_are_refused(tmp_path: Path) -> None:
    write_set(tmp_path)
    write_set(tmp_path, name="other-{word}-{kind}-idx{axes}-ubyte")
    with pytest.raises(
        RawDataError, match=r"holds .*other-train-images-idx3-ubyte.*; expected one set of digits: move the other"
    ):
        digits.missing(tmp_path)


def test_t10k_and_test_files_together_are_refused(tmp_path: Path) -> None:
    write_set(tmp_path)
    write_set(tmp_path, words={"test": "test"})
    with pytest.raises(RawDataError, match="holds t10k-images-idx3-ubyte, test-images-idx3-ubyte; expected one set"):
        digits.missing(tmp_path)


def test_too_few_images_for_a_split_are_reported_with_a_remedy(tmp_path: Path) -> None:
    write_set(tmp_path)
    for kind, array in (("images", tiny("test")[0][:10]), ("labels", tiny("test")[1][:10])):
        (tmp_path / f"t10k-{kind}-idx{array.ndim}-ubyte").write_bytes(idx(array))
    options = datasets.make_options("mnist-motion", {"mnist": tmp_path, "n": 20})
    with pytest.raises(RequestError, match="too few images of the digit 0 for the split val; use --val 0 or another --mnist"):
        list(MnistMotion(None, options, 0).clips("val"))
    assert len(list(MnistMotion(None, options, 0).clips("test"))) == 2

"""Exact arrays come back, and anything else is refused before it takes memory."""

from __future__ import annotations

import io

import numpy as np
import pytest
import zstandard

from t2vdata.errors import ClipError, DecodeError
from t2vdata.media import decode
from t2vdata.media.decode import lossless
from t2vdata.media.encode import Lossless
from t2vdata.types import Frames

DATA = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), np.uint8)


def packed(array: np.ndarray) -> bytes:
    """Return an array as numpy itself saves it, in a Zstandard frame."""
    file = io.BytesIO()
    np.save(file, array)
    return zstandard.ZstdCompressor().compress(file.getvalue())


def encoded() -> bytes:
    return Lossless().encode(Frames(DATA, 30.0)).data


def test_arrays_come_back_with_their_own_channels() -> None:
    for channels in (1, 3):
        frames = decode.decode("npy.zst", encoded(), fps=12.0, channels=channels)
        assert np.array_equal(frames.data, DATA)
        assert frames.fps == 12.0


def test_an_array_saved_by_numpy_is_read_too() -> None:
    assert np.array_equal(lossless.decode(packed(DATA)), DATA)


def test_decoded_frames_are_read_only() -> None:
    assert not lossless.decode(encoded()).flags.writeable


@pytest.mark.parametrize(
    "array",
    [DATA[0], DATA.astype(np.int8), DATA.astype(np.uint16), np.asfortranarray(DATA), DATA.ravel(), np.zeros(())],
    ids=["3d", "int8", "uint16", "fortran", "1d", "0d"],
)
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(DecodeError, match=r"not a NumPy array \(T, H, W, C\) of uint8"):
        lossless.decode(packed(array))


@pytest.mark.parametrize("shape", [(4, 6, 5, 1), (5, 6, 5, 3), (10**9, 10**9, 10**9, 10**9)], ids=str)
def test_a_header_that_promises_another_size_is_refused(shape: tuple[int, ...]) -> None:
    content = zstandard.ZstdDecompressor().decompress(packed(DATA))
    end = content.index(b"\n")
    patched = content[:end].replace(str(DATA.shape).encode(), str(shape).encode()).ljust(end)[:end] + content[end:]
    assert str(shape).encode() in patched
    with pytest.raises(DecodeError, match="not a NumPy array"):
        lossless.decode(zstandard.ZstdCompressor().compress(patched))


def test_an_array_of_pickled_objects_is_refused() -> None:
    with pytest.raises(DecodeError, match="not a NumPy array"):
        lossless.decode(packed(np.array([[[[None]]]], dtype=object)))


@pytest.mark.parametrize("content", [b"", b"\x93", b"\x93NUMPY\x01\x00", b"\x93NUMPY\x01\x00\xff\xff{", bytes(1000)], ids=len)
def test_a_frame_without_an_array_is_refused(content: bytes) -> None:
    with pytest.raises(DecodeError, match="not a NumPy array"):
        lossless.decode(zstandard.ZstdCompressor().compress(content))


@pytest.mark.parametrize("data", [b"", b"text that is no frame", bytes(100), b"\x28\xb5\x2f\xfd"], ids=len)
def test_bytes_that_are_not_a_frame_are_refused(data: bytes) -> None:
    with pytest.raises(DecodeError, match="not a Zstandard frame"):
        lossless.decode(data)


def test_a_frame_cut_anywhere_is_refused() -> None:
    data = encoded()
    for cut in range(len(data)):
        with pytest.raises(DecodeError, match=r"not a Zstandard frame|claims \d+ bytes"):
            lossless.decode(data[:cut])


def test_a_frame_that_claims_too_much_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lossless, "MAX_BYTES", 400)
    with pytest.raises(DecodeError, match=r"claims 488 bytes of pixels, over the limit of 400"):
        lossless.decode(encoded())


def test_a_frame_that_does_not_say_its_size_is_refused() -> None:
    data = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(100))
    with pytest.raises(DecodeError, match=r"claims \d+ bytes of pixels, over the limit"):
        lossless.decode(data)


@pytest.mark.parametrize("shape", [(0, 2, 2, 1), (1, 2, 2, 2)])
def test_arrays_that_are_not_frames_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ClipError, match="expected frames of shape"):
        decode.decode("npy.zst", packed(np.zeros(shape, np.uint8)), fps=30.0)


def test_the_error_for_an_unknown_extension_lists_the_known_ones() -> None:
    with pytest.raises(DecodeError, match=r"no decoder for \.gif; expected one of npy\.zst, mp4"):
        decode.decode("gif", b"GIF89a", fps=30.0)

"""A dataset from a stranger works or is refused in one line, by every command; nothing outside its folder is read."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import hostile
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hostile import SHARD, VERBS, outcomes, rewrite_index, rewrite_sample, seal, sealed
from support import tiny_spec

import t2vdata
from t2vdata import storage
from t2vdata.build.run import build_dataset
from t2vdata.errors import DataError, NotADatasetError, ShardError, StorageError, T2VError
from t2vdata.format import manifest
from t2vdata.format.manifest import Manifest
from t2vdata.inspect.verify import verify


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of two shards of training clips and one of others; tests only copy it."""
    out = tmp_path_factory.mktemp("hostile") / "out"
    build_dataset(tiny_spec(shard_size=4, n=8, val=2, test=2, holdout=0), out, num_workers=1)
    return out


@pytest.fixture
def folder(small: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(small, tmp_path / "set"))


def test_any_manifest_is_read_or_refused_in_one_line(small: Path) -> None:
    body = json.loads((small / "manifest.json").read_bytes())
    num_read, refused = 0, list[str]()
    for path, variant in hostile.variants(body):
        # As a forger would: the fingerprint of a changed spec is right.
        if path[0] == "spec" and isinstance(variant.get("spec"), dict):
            try:
                variant = {**variant, "fingerprint": manifest.fingerprint(variant["spec"])}
            except UnicodeEncodeError:
                continue
        try:
            opened = Manifest.from_bytes(sealed(variant), "manifest.json")
        except NotADatasetError as error:
            refused.append(str(error))
        else:
            num_read += 1
            # Each name that is used as a path is a name in this folder.
            names = [file.name for file in opened.files] + [shard.name for _, shard in opened.shards()]
            assert all(name == os.path.basename(name) and name not in ("", ".", "..") for name in names), path
    assert all("\n" not in line and len(line) < 400 for line in refused)
    assert len(refused) > 500
    assert num_read > 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body: body["splits"]["train"]["shards"][0].update(bytes="12"), r'shards\[0\]\.bytes is "12"; expected a whole'),
        (lambda body: body["splits"]["train"]["shards"][1].update(name="../x.tar"), r'shards\[1\]\.name is "\.\./x\.tar"'),
        (lambda body: body["splits"]["train"]["shards"][1].update(name="http://h/x.tar"), "plain name of a file"),
        (lambda body: body["splits"]["train"]["shards"][1].update(name=SHARD), "expected each shard once"),
        (lambda body: body["splits"]["train"]["shards"][0].update(samples=10**9), "expected at most"),
        (lambda body: body["files"][0].update(name="/dev/zero"), r'files\[0\]\.name is "/dev/zero"'),
        (lambda body: body.update(dataset="../../evil"), r'dataset is "\.\./\.\./evil"'),
        (lambda body: body.update(fingerprint="<script>"), r'fingerprint is "<script>"; expected the SHA-256 of the spec'),
        (lambda body: body.pop("spec"), "spec is missing"),
        (lambda body: body["splits"]["train"].update(tally=[]), r"tally is \[\]; expected an object"),
    ],
)
def test_every_command_names_the_field_its_value_and_what_was_expected(folder: Path, change: Any, message: str) -> None:
    body = json.loads((folder / "manifest.json").read_bytes())
    change(body)
    (folder / "manifest.json").write_bytes(sealed(body))
    for verb, run in VERBS.items():
        with pytest.raises(NotADatasetError, match=message):
            run(folder)
        assert verb


def test_a_manifest_nested_too_deeply_or_too_long_is_refused(folder: Path) -> None:
    (folder / "manifest.json").write_bytes(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    with pytest.raises(NotADatasetError, match="nested too deeply"):
        t2vdata.open_dataset(folder)
    with (folder / "manifest.json").open("wb") as file:
        file.truncate(3 << 30)
    with pytest.raises(NotADatasetError, match="has more than 67108864 bytes"):
        t2vdata.open_dataset(folder)


# {column: values that its type can hold and that are wrong}
BAD_VALUES = {
    "key": ["", "a/b", "a.b", "x" * 73, "é"],
    "shard": ["../../outside.tar", "/dev/zero", "http://host/x.tar", "mnist-motion-val-000000.tar"],
    "extension": ["gif", "", "../x"],
    "pixels_offset": [-1, 1 << 40, (1 << 63) - 1, -(1 << 63)],
    "pixels_size": [-1, 0, 1 << 40, (1 << 63) - 1],
    "txt_size": [-5, 1 << 62],
    "json_offset": [-512, 0, 1 << 50],
    "json_size": [0, 1, 1 << 30],
    "captions": [[], [None]],
    "num_frames": [0, -1, (1 << 31) - 1],
    "fps": [0.0, -1.0, float("nan"), float("inf"), 1e-300],
    "height": [0, -1, 1 << 30],
    "width": [0, -1, 1 << 30],
    "channels": [0, 2, 4, -1],
}


@pytest.mark.parametrize("column", BAD_VALUES)
def test_a_bad_value_in_the_index_is_refused_in_one_line(small: Path, tmp_path: Path, column: str) -> None:
    for number, value in enumerate(BAD_VALUES[column]):
        folder = Path(shutil.copytree(small, tmp_path / str(number)))

        def change(rows: Any, value: Any = value) -> Any:
            columns = rows.to_pydict()
            columns[column][0] = value
            return pa.Table.from_pydict(columns, schema=rows.schema)

        rewrite_index(folder, change)
        lines = outcomes(folder, "item", "index", "loader", "stats")
        if value not in ("gif", "", "../x") and (column, value) != ("json_size", 1):
            assert column in lines["index"], (value, lines)
            assert SHARD in lines["index"]
        assert lines["item"], value
        assert not verify(str(folder), deep=True).is_sound


def test_a_column_of_another_type_with_nulls_or_missing_is_refused_by_name(small: Path, tmp_path: Path) -> None:
    schema = pq.read_schema(small / "index.parquet")
    for number, field in enumerate(schema):
        folder = Path(shutil.copytree(small, tmp_path / str(number)))
        other = pa.int64() if field.type == pa.string() else pa.string()
        for what in ("type", "nulls", "missing"):
            shutil.copy(small / "index.parquet", folder / "index.parquet")

            def change(rows: Any, field: Any = field, what: str = what, other: Any = other) -> Any:
                index = rows.schema.get_field_index(field.name)
                if what == "missing":
                    return rows.remove_column(index)
                kind = other if what == "type" else field.type
                return rows.set_column(index, pa.field(field.name, kind), pa.nulls(len(rows), kind))

            rewrite_index(folder, change, every=True)
            line = outcomes(folder, "index")["index"]
            if not field.nullable or what == "type":
                assert field.name in line, (field.name, what, line)
            outcomes(folder, "item", "stats", "duplicates", "diff")


@pytest.mark.parametrize("phash", ["zz", "ab", "f" * 49, "\xe9" * 24, ""])
def test_a_perceptual_hash_of_another_form_is_refused_where_duplicates_are_searched(folder: Path, phash: str) -> None:
    def change(rows: Any) -> Any:
        return pa.Table.from_pydict({**rows.to_pydict(), "phash": [None] + [phash] * (len(rows) - 1)}, schema=rows.schema)

    rewrite_index(folder, change, every=True)
    line = outcomes(folder, "duplicates")["duplicates"]
    assert f'row 1 of {SHARD}: phash is "{phash}"; expected 48 of the characters 0-9 a-f' in line


def test_what_pyarrow_says_of_a_damaged_footer_is_one_line(folder: Path) -> None:
    data = (folder / "index.parquet").read_bytes()
    (folder / "index.parquet").write_bytes(data[:-8] + (len(data) - 8).to_bytes(4, "little") + b"PAR1")
    assert "is damaged: " in outcomes(folder, "index")["index"]


def test_an_index_of_millions_of_equal_rows_is_refused_by_its_footer(folder: Path) -> None:
    rows = pq.ParquetFile(folder / "index.parquet").read_row_group(0).slice(0, 1)
    count = 200_000
    with pq.ParquetWriter(folder / "index.parquet", rows.schema, compression="zstd") as writer:
        writer.write_table(rows.take(pa.array(np.zeros(count, np.int32))), row_group_size=count)
    seal(folder, "index.parquet")
    assert (folder / "index.parquet").stat().st_size < 32 * count
    for verb in ("item", "index", "loader", "stats", "diff"):
        assert "rows in" in outcomes(folder, verb)[verb]


def test_a_caption_that_is_repeated_to_gigabytes_is_refused(folder: Path) -> None:
    def change(rows: Any) -> Any:
        count = 500 * len(rows)
        texts = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array(["x" * 1_000_000]))
        captions = pa.ListArray.from_arrays(pa.array(range(0, count + 1, 500), pa.int32()), texts)
        field = pa.field("captions", captions.type, nullable=False)
        return rows.set_column(rows.schema.get_field_index("captions"), field, captions)

    rewrite_index(folder, change, every=True)
    for verb in ("item", "loader", "stats"):
        assert "bytes of text; expected at most" in outcomes(folder, verb)[verb]


# A sample whose shard, index and manifest agree.


@pytest.mark.parametrize(
    "content", [b"[]", b"1", b"null", b"{", b"[" * 50_000, b'{"a": NaN}', b"\xff", b'{"captions": 5, "dialogue": 7}']
)
def test_odd_json_of_a_sample_is_a_finding_and_never_a_traceback(folder: Path, content: bytes) -> None:
    rewrite_sample(folder, {"json": content})
    lines = outcomes(folder)
    assert lines["verify deep"] == ""
    assert any(problem.key == "train-00000000" for problem in verify(str(folder), deep=True).problems)
    assert (lines["item"] == "") == content.startswith(b'{"captions"')


def npy_zst(shape: tuple[int, ...], header: str | None = None) -> bytes:
    text = header or f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    padded = text.ljust(117) + "\n"
    front = b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded.encode()
    return zstandard.ZstdCompressor().compress(front + bytes(int(np.prod(shape))))


@pytest.mark.parametrize(
    "pixels",
    [
        npy_zst((8, 24, 24, 4)),
        npy_zst((8, 24, 24)),
        npy_zst((0, 24, 24, 1)),
        npy_zst((8, 24, 24, 1), "{'descr': '|O', 'fortran_order': False, 'shape': (8, 24, 24, 1), }"),
        npy_zst((8, 24, 24, 1), "{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999, 1, 1, 1), }"),
        zstandard.ZstdCompressor().compress(b""),
        b"",
    ],
    ids=["four channels", "three axes", "no frame", "objects", "beyond 64 bits", "empty", "nothing"],
)
def test_odd_headers_of_arrays_fail_in_one_line(folder: Path, pixels: bytes) -> None:
    rewrite_sample(folder, {"npy.zst": pixels})
    lines = outcomes(folder)
    assert lines["item"]
    assert lines["show"]
    assert not verify(str(folder), deep=True).is_sound


def test_pixels_beyond_the_index_are_refused_before_they_are_decoded(folder: Path) -> None:
    # 8 times what the index says, in a few kilobytes.
    rewrite_sample(folder, {"npy.zst": npy_zst((64, 24, 24, 1))})
    lines = outcomes(folder, "item", "show", "loader")
    for verb in ("item", "show"):
        assert "claims 36992 bytes of pixels; the index says 4608 pixels" in lines[verb]
    texts = [problem.text for problem in verify(str(folder), deep=True).problems]
    assert any("the index says 4608 pixels" in text for text in texts)


# Files that are no files


def test_fifos_devices_and_folders_are_refused_before_they_are_opened(small: Path, tmp_path: Path) -> None:
    for name, kind in [
        *((name, "fifo") for name in ("manifest.json", "index.parquet", "rejects.parquet", "vocabulary.json", SHARD)),
        *((name, kind) for name in ("index.parquet", SHARD) for kind in ("folder", "device")),
    ]:
        folder = Path(shutil.copytree(small, tmp_path / f"{name} {kind}"))
        (folder / name).unlink()
        if kind == "fifo":
            os.mkfifo(folder / name)
        elif kind == "folder":
            (folder / name).mkdir()
        else:
            (folder / name).symlink_to("/dev/zero")
        lines = outcomes(folder, "item", "loader", "stats", "diff")
        if name == "manifest.json":
            assert "expected a regular file" in lines["item"]
        else:
            problems = verify(str(folder)).problems
            assert any(problem.file == name and "expected a regular file" in problem.text for problem in problems), problems


def test_a_link_to_a_file_is_followed_as_in_the_cache_of_the_hub(small: Path, tmp_path: Path) -> None:
    blobs, folder = tmp_path / "blobs", tmp_path / "snapshot"
    shutil.copytree(small, blobs)
    folder.mkdir()
    for path in blobs.iterdir():
        (folder / path.name).symlink_to(path)
    assert set(outcomes(folder).values()) - {outcomes(folder)["duplicates"]} == {""}
    assert verify(str(folder), deep=True).is_sound


def test_a_missing_shard_is_one_line_that_names_it_and_the_next_move(folder: Path) -> None:
    (folder / SHARD).unlink()
    with pytest.raises(
        ShardError, match=rf"no shard {SHARD} in .*; restore it, and see what else is missing with `t2vdata verify"
    ):
        t2vdata.open_dataset(folder)["train"][0]
    assert SHARD in outcomes(folder, "show")["show"]
    assert SHARD in outcomes(folder, "loader")["loader"]


def test_a_disk_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = storage.open_read

    class Broken:
        def __init__(self, file: Any) -> None:
            self._file = file

        def __enter__(self) -> Broken:
            return self

        def __exit__(self, *error: object) -> None:
            self._file.close()

        def read(self, size: int) -> bytes:
            raise OSError(5, "Input/output error")

    def failing(path: str) -> Any:
        return Broken(real_open(path)) if path.endswith(SHARD) else real_open(path)

    monkeypatch.setattr(storage, "open_read", failing)
    report = verify(str(folder))
    assert [str(problem) for problem in report.problems] == [
        f"{SHARD}: cannot be read: Input/output error; check the disk, or restore it from a copy"
    ]
    # The others were checked.
    assert report.num_samples == 8


def test_errors_are_of_the_layer_that_they_come_from() -> None:
    assert issubclass(NotADatasetError, DataError)
    assert issubclass(StorageError, T2VError)

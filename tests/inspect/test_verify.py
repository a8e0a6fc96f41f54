"""Verification reports every kind of damage by file and sample."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tarfile
from pathlib import Path

import pytest
from support import TINY, t2vdata, tiny_spec

from t2vdata import storage
from t2vdata.build.run import BuildResult, BuildSpec, build_dataset
from t2vdata.errors import NotADatasetError
from t2vdata.format import manifest, tables
from t2vdata.format.shards import ShardWriter, read_samples
from t2vdata.inspect.verify import verify
from t2vdata.media.encode import H264, Lossless
from t2vdata.types import Frames, Sample

SHARD = "mnist-motion-train-000001.tar"


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def reseal(folder: Path, shard: str) -> None:
    """Make the manifest agree with a changed shard, as a forger or a writer with a bug would."""
    dataset = manifest.read(str(folder))
    data = (folder / shard).read_bytes()
    body = json.loads(dataset.to_bytes())
    del body["sha256"]
    for split in body["splits"].values():
        for entry in split["shards"]:
            if entry["name"] == shard:
                entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    text = json.dumps({**body, "sha256": manifest.fingerprint(body)})
    (folder / "manifest.json").write_text(text)


def rewrite(folder: Path, shard: str, change: dict[str, bytes]) -> str:
    """Replace members of the first sample of a shard and reseal it; return the sample's key."""
    with (folder / shard).open("rb") as file:
        samples = [sample for sample, _ in read_samples(file)]
    samples[0] = Sample(samples[0].key, {**samples[0].files, **change})
    with storage.written_whole(str(folder / shard)) as file:
        writer = ShardWriter(file)
        for sample in samples:
            writer.add(sample)
        writer.close()
    reseal(folder, shard)
    return samples[0].key


@pytest.mark.parametrize("coding", [Lossless(), H264(gop=4)], ids=["lossless", "h264"])
@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_sound_dataset_is_sound(tmp_path: Path, coding: Lossless | H264, num_workers: int) -> None:
    spec = BuildSpec("mnist-motion", options={**TINY, "n": 12}, shard_size=5, encoding=coding)
    result = build_dataset(spec, tmp_path / "out", num_workers=1)
    report = verify(result.out, deep=True, num_workers=num_workers)
    assert report.problems == ()
    assert (report.num_shards, report.num_samples) == (6, 15)
    assert report.num_bytes == sum(path.stat().st_size for path in (tmp_path / "out").glob("*.tar"))


def test_one_flipped_bit_anywhere_is_found_and_the_file_named(copy: Path) -> None:
    draw = random.Random(0)
    names = [path.name for path in sorted(copy.glob("*.tar"))] + ["index.parquet", "rejects.parquet", "vocabulary.json"]
    assert len(names) == 9
    for name in names:
        path = copy / name
        intact = path.read_bytes()
        # The header, the content, the padding and the end of the archive all count.
        for offset in [0, 300, len(intact) // 2, len(intact) - 1, *(draw.randrange(len(intact)) for _ in range(6))]:
            flip(path, offset)
            assert {problem.file for problem in verify(str(copy)).problems} == {name}, offset
            path.write_bytes(intact)


def test_one_flipped_bit_in_the_manifest_is_found(copy: Path) -> None:
    path = copy / "manifest.json"
    intact = path.read_text()
    for offset in range(0, len(intact), 97):
        if intact[offset].isspace():
            continue
        flip(path, offset)
        with pytest.raises(NotADatasetError, match=r"damaged|no manifest|format"):
            verify(str(copy))
        path.write_text(intact)


def test_a_damaged_sample_is_named(copy: Path) -> None:
    row = tables.read_index(str(copy)).to_pylist()[25]
    flip(copy / SHARD, row["pixels_offset"] + 40)
    problems = verify(str(copy)).problems
    assert [(problem.file, problem.key) for problem in problems] == [(SHARD, None), (SHARD, row["key"])]


def test_a_missing_shard_is_found(copy: Path) -> None:
    (copy / SHARD).unlink()
    (problem,) = verify(str(copy)).problems
    assert str(problem) == f"{SHARD}: is missing; run the build command again to restore it"


def test_a_shard_cut_short_is_found(copy: Path) -> None:
    data = (copy / SHARD).read_bytes()
    (copy / SHARD).write_bytes(data[: len(data) // 2])
    texts = [str(problem) for problem in verify(str(copy)).problems]
    assert any("bytes, expected" in text for text in texts)
    assert any("cut short" in text for text in texts)


def test_a_missing_index_is_found_and_shards_are_still_checked(copy: Path) -> None:
    (copy / "index.parquet").unlink()
    flip(copy / SHARD, 5000)
    assert {problem.file for problem in verify(str(copy)).problems} == {"index.parquet", SHARD}


def test_a_shard_that_is_not_in_the_manifest_is_found(copy: Path) -> None:
    (copy / "mnist-motion-train-000099.tar").write_bytes((copy / SHARD).read_bytes())
    (problem,) = verify(str(copy)).problems
    assert "is not in the manifest" in problem.text


def test_following_the_message_repairs_the_dataset(copy: Path) -> None:
    flip(copy / SHARD, 3000)
    assert "remove it and run the build command again" in verify(str(copy)).problems[0].text
    (copy / SHARD).unlink()
    build_dataset(tiny_spec(), copy, num_workers=1)
    assert verify(str(copy), deep=True).is_sound


# The shard agrees with the manifest, but not with the index: found by the rows, or by decoding.


def test_changed_content_with_a_matching_hash_is_found(copy: Path) -> None:
    key = rewrite(copy, SHARD, {"txt": b"the digit 1 is asleep"})
    problems = verify(str(copy)).problems
    assert {problem.key for problem in problems} >= {key}
    assert any("SHA-256 of its files" in problem.text for problem in problems)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"txt": b"the digit 1 is asleep"}, "the text is 'the digit 1 is asleep', the index says"),
        ({"npy.zst": b"not zstd at all"}, "does not decode: not a Zstandard frame"),
        ({"json": b"{"}, "does not decode: "),
        ({"json": b'{"key": "x"}'}, "its JSON has key 'x', the index says"),
    ],
)
def test_deep_names_the_difference_from_the_row(copy: Path, change: dict[str, bytes], message: str) -> None:
    key = rewrite(copy, SHARD, change)
    texts = [problem.text for problem in verify(str(copy), deep=True).problems if problem.key == key]
    assert any(text.startswith(message) for text in texts), texts


def test_deep_finds_a_wrong_number_of_frames(copy: Path) -> None:
    import numpy as np

    shorter = Lossless().encode(Frames(np.zeros((7, 24, 24, 1), np.uint8), 30.0)).data
    key = rewrite(copy, SHARD, {"npy.zst": shorter})
    texts = [problem.text for problem in verify(str(copy), deep=True).problems if problem.key == key]
    assert "num_frames is 7 when decoded, the index says 8" in texts


def test_an_extra_and_a_missing_sample_are_found(copy: Path) -> None:
    with (copy / SHARD).open("rb") as file:
        samples = [sample for sample, _ in read_samples(file)]
    for kept in (samples[:-1], [*samples, Sample("train-99999999", samples[0].files)]):
        file = io.BytesIO()
        writer = ShardWriter(file)
        for sample in kept:
            writer.add(sample)
        writer.close()
        (copy / SHARD).write_bytes(file.getvalue())
        reseal(copy, SHARD)
        texts = [str(problem) for problem in verify(str(copy)).problems]
        assert f"{SHARD}: has {len(kept)} samples, expected 20" in texts


def test_a_link_in_a_shard_is_refused(copy: Path) -> None:
    with tarfile.open(copy / SHARD, "w", format=tarfile.USTAR_FORMAT) as tar:
        link = tarfile.TarInfo("train-00000020.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    reseal(copy, SHARD)
    assert any("is not a plain file" in problem.text for problem in verify(str(copy)).problems)


def test_the_command_exits_with_1_and_names_the_shard(copy: Path, built: BuildResult) -> None:
    flip(copy / SHARD, 4000)
    done = t2vdata("verify", copy)
    assert done.returncode == 1
    assert SHARD in done.stdout
    done = t2vdata("verify", built.out, "--deep")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "sound; 6 shards, 78 samples" in done.stdout


# Hostile and broken datasets whose hashes agree


def remade(folder: Path, shard: str, content: list[tuple[str, bytes]]) -> None:
    """Write a shard with these members, in order, repeated ones too, and reseal it."""
    with tarfile.open(folder / shard, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in content:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    reseal(folder, shard)


def members(folder: Path, shard: str) -> list[tuple[str, bytes]]:
    with (folder / shard).open("rb") as file:
        return [(f"{sample.key}.{name}", sample.files[name]) for sample, _ in read_samples(file) for name in sample.files]


def problems_of(folder: Path, *, deep: bool = False) -> list[str]:
    return [str(problem) for problem in verify(str(folder), deep=deep).problems]


def test_a_repeated_member_is_named_and_the_others_are_checked(copy: Path) -> None:
    content = members(copy, SHARD)
    remade(copy, SHARD, [content[0], *content])
    texts = problems_of(copy, deep=True)
    assert any(f"{content[0][0]} exists twice" in text for text in texts)
    assert any("has 20 samples" not in text for text in texts)


def test_an_illegal_key_is_named_with_its_shard(copy: Path) -> None:
    content = members(copy, SHARD)
    remade(copy, SHARD, [(f"../{name}" if number < 3 else name, data) for number, (name, data) in enumerate(content)])
    flip(copy / "mnist-motion-val-000000.tar", 700)
    texts = problems_of(copy)
    assert any(text.startswith(SHARD) and "illegal key" in text for text in texts)
    assert any(text.startswith("mnist-motion-val-000000.tar") for text in texts)


def test_json_that_is_no_object_is_a_problem_of_its_sample(copy: Path) -> None:
    key = rewrite(copy, SHARD, {"json": b"[1, 2]"})
    assert any(
        f"{key}: does not decode: the JSON is [1, 2]; expected an object" in text for text in problems_of(copy, deep=True)
    )


def test_a_sparse_tail_is_not_read(copy: Path) -> None:
    num_bytes = (copy / SHARD).stat().st_size
    with (copy / SHARD).open("r+b") as file:
        file.truncate(1 << 40)
    report = verify(str(copy))
    assert str(report.problems[0]) == f"{SHARD}: has {1 << 40} bytes, expected {num_bytes}"
    assert report.num_bytes < 2_000_000


def test_a_member_of_gigabytes_is_not_kept_in_memory(copy: Path) -> None:
    import resource

    content = members(copy, SHARD)
    remade(copy, SHARD, content)
    header = tarfile.TarInfo("train-00000020.mp4")
    header.size = 1 << 32
    data = (copy / SHARD).read_bytes()
    (copy / SHARD).write_bytes(header.tobuf(tarfile.USTAR_FORMAT) + data)
    reseal(copy, SHARD)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert any("cut short inside train-00000020.mp4" in text for text in problems_of(copy, deep=True))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def edited(folder: Path, name: str, value: object) -> None:
    body = json.loads((folder / "manifest.json").read_text())
    del body["sha256"]
    body[name] = value
    (folder / "manifest.json").write_text(json.dumps({**body, "sha256": manifest.fingerprint(body)}))


def test_totals_and_rejects_are_compared_with_the_tallies(copy: Path) -> None:
    body = json.loads((copy / "manifest.json").read_text())
    edited(copy, "tally", {"kept": 5, "rejected": {"too dark": 2}, "failed": {}})
    texts = problems_of(copy)
    assert "manifest.json: tally.kept is 5; its splits add up to 78" in texts
    assert any("tally.rejected.too dark is 2" in text for text in texts)
    body["splits"]["train"]["tally"] |= {"kept": 59, "rejected": {"too dark": 1}}
    edited(copy, "splits", body["splits"])
    texts = problems_of(copy)
    assert any('split "train" has 60 samples in its shards, 60 in samples and 59 in tally.kept' in text for text in texts)
    assert any(text.startswith("rejects.parquet") and "too dark" in text for text in texts)


def test_a_vocabulary_of_other_captions_is_found(copy: Path) -> None:
    from hostile import seal

    body = json.loads((copy / "vocabulary.json").read_text())
    body["words"][5][1] += 1
    (copy / "vocabulary.json").write_text(json.dumps(body))
    seal(copy, "vocabulary.json")
    assert problems_of(copy) == []
    assert problems_of(copy, deep=True) == ["vocabulary.json: its words or counts are not those of the training captions"]
    (copy / "vocabulary.json").write_text('{"format": []}')
    seal(copy, "vocabulary.json")
    assert any(text.startswith("vocabulary.json: ") for text in problems_of(copy))


def test_a_key_in_two_shards_is_found(copy: Path) -> None:
    import pyarrow as pa
    from hostile import rewrite_index

    def change(rows: pa.Table) -> pa.Table:
        columns = rows.to_pydict()
        columns["key"][0] = "train-00000030"
        return pa.Table.from_pydict(columns, schema=rows.schema)

    rewrite_index(copy, change)
    assert any(f"the key train-00000030, in {SHARD}, exists twice" in text for text in problems_of(copy))

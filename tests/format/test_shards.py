"""Shards are plain tar files with deterministic bytes, and any damage in them raises an error."""

from __future__ import annotations

import hashlib
import io
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from t2vdata.errors import RequestError, ShardError
from t2vdata.format import shards
from t2vdata.format.shards import BLOCK, Member, ShardWriter, read_members, read_samples
from t2vdata.types import Sample

SAMPLES = [
    Sample("train-00000000", {"npy.zst": bytes(range(256)) * 5, "txt": b"the digit 9", "json": b'{"a": 1}'}),
    Sample("train-00000001", {"npy.zst": b"", "txt": b"x" * BLOCK, "json": b"{}"}),
    Sample("k" * 72, {"a" * 27: b"the longest name there can be"}),
]

keys = st.text("abcXYZ019_-", min_size=1, max_size=72)
extensions = st.sampled_from(["txt", "json", "mp4", "npy.zst", "a" * 27])
samples = st.builds(Sample, keys, st.dictionaries(extensions, st.binary(max_size=1200), min_size=1))
unique = st.lists(samples, max_size=6, unique_by=lambda sample: sample.key)


def shard_of(content: list[Sample]) -> bytes:
    file = io.BytesIO()
    writer = ShardWriter(file)
    for sample in content:
        writer.add(sample)
    writer.close()
    return file.getvalue()


def members_of(shard: bytes) -> list[tuple[Member, bytes]]:
    return list(read_members(io.BytesIO(shard)))


def tarred(entries: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for info, content in entries:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def plain(name: str) -> tarfile.TarInfo:
    """Return tarfile's entry for a name: mode 644, uid 0, gid 0, mtime 0, no owner name."""
    return tarfile.TarInfo(name)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(unique)
def test_a_shard_has_the_bytes_that_tarfile_writes(content: list[Sample]) -> None:
    entries = [(plain(f"{sample.key}.{name}"), sample.files[name]) for sample in content for name in sorted(sample.files)]
    assert shard_of(content) == tarred(entries)


def test_tarfile_lists_the_members_as_plain_files_without_owner() -> None:
    with tarfile.open(fileobj=io.BytesIO(shard_of(SAMPLES)), mode="r:") as tar:
        listed = tar.getmembers()
        contents = [tar.extractfile(info).read() for info in listed]  # type: ignore[union-attr]
    assert [info.name for info in listed] == [
        f"{sample.key}.{extension}" for sample in SAMPLES for extension in sorted(sample.files)
    ]
    assert {(info.mode, info.uid, info.gid, info.mtime, info.uname, info.type) for info in listed} == {
        (0o644, 0, 0, 0, "", tarfile.REGTYPE)
    }
    assert contents == [sample.files[extension] for sample in SAMPLES for extension in sorted(sample.files)]


def test_gnu_tar_lists_the_members(tmp_path: Path) -> None:
    file = tmp_path / "shard.tar"
    file.write_bytes(shard_of(SAMPLES))
    listed = subprocess.run(["tar", "-tvf", file], capture_output=True, text=True, check=True, env={"TZ": "UTC"})
    assert listed.stderr == ""
    lines = listed.stdout.splitlines()
    assert len(lines) == 7
    assert all(line.startswith("-rw-r--r-- 0/0 ") and "1970-01-01 00:00" in line for line in lines)
    assert lines[1].split()[2::3] == ["1280", "train-00000000.npy.zst"]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(unique)
def test_samples_are_read_as_they_were_written(content: list[Sample]) -> None:
    assert [sample for sample, _ in read_samples(io.BytesIO(shard_of(content)))] == content


def test_members_are_at_the_offsets_that_the_writer_returns() -> None:
    file = io.BytesIO()
    writer = ShardWriter(file)
    written = [member for sample in SAMPLES for member in writer.add(sample)]
    writer.close()
    shard = file.getvalue()
    assert [member for member, _ in members_of(shard)] == written
    assert [members for _, members in read_samples(io.BytesIO(shard))] == [written[:3], written[3:6], written[6:]]
    assert [shard[member.offset :][: member.size] for member in written] == [content for _, content in members_of(shard)]


def test_members_of_a_sample_are_sorted_by_extension() -> None:
    sample = Sample("a", {"txt": b"1", "json": b"2", "mp4": b"3"})
    other = Sample("a", {"mp4": b"3", "txt": b"1", "json": b"2"})
    assert shard_of([sample]) == shard_of([other])
    assert [member.name for member, _ in members_of(shard_of([sample]))] == ["a.json", "a.mp4", "a.txt"]


def test_the_writer_counts_samples_and_bytes_and_hashes_them() -> None:
    file = io.BytesIO()
    writer = ShardWriter(file)
    for sample in SAMPLES:
        writer.add(sample)
    digest = writer.close()
    assert writer.num_samples == 3
    assert writer.num_bytes == len(file.getvalue())
    assert writer.num_bytes % (20 * BLOCK) == 0
    assert digest == hashlib.sha256(file.getvalue()).hexdigest()


def test_an_empty_shard_has_no_members() -> None:
    assert members_of(shard_of([])) == []
    assert list(read_samples(io.BytesIO(shard_of([])))) == []


def test_a_member_over_8_gigabytes_is_refused() -> None:
    class Huge(bytes):
        def __len__(self) -> int:
            return 8**11

    with pytest.raises(RequestError, match=r"a\.mp4 of 8589934592 bytes does not fit a tar member"):
        ShardWriter(io.BytesIO()).add(Sample("a", {"mp4": Huge()}))


# Damage


def test_a_shard_cut_anywhere_before_its_end_is_damaged() -> None:
    shard = shard_of(SAMPLES)
    last, content = members_of(shard)[-1]
    end = last.offset + len(content) + -len(content) % BLOCK
    cuts = [*range(0, end, 97), *range(BLOCK - 2, BLOCK + 3), *range(end - 3, end + BLOCK, 64), end + BLOCK - 1]
    for cut in cuts:
        with pytest.raises(ShardError, match="cut short"):
            members_of(shard[:cut])


def test_samples_before_a_cut_are_still_read() -> None:
    shard = shard_of(SAMPLES)
    members = read_members(io.BytesIO(shard[:3000]))
    assert next(members)[1] == SAMPLES[0].files["json"]
    with pytest.raises(ShardError, match=r"cut short inside train-00000000\.npy\.zst"):
        list(members)


def test_any_flipped_byte_of_a_header_is_noticed() -> None:
    shard = shard_of(SAMPLES)
    # The two bytes after the digits of the checksum terminate it and are ignored.
    positions = [position for position in range(BLOCK) if position not in (154, 155)]
    for position in positions:
        damaged = bytearray(shard)
        damaged[position] ^= 0xFF
        with pytest.raises(ShardError, match=r"(no|damaged) tar header at byte 0|is not a plain file"):
            members_of(bytes(damaged))


def test_a_flipped_byte_in_a_later_header_is_reported_with_its_offset() -> None:
    shard = bytearray(shard_of(SAMPLES))
    at = shard.index(b"train-00000001.json")
    shard[at] ^= 1
    with pytest.raises(ShardError, match=f"damaged tar header at byte {at}"):
        members_of(bytes(shard))


def test_bytes_in_the_padding_are_noticed() -> None:
    shard = bytearray(shard_of(SAMPLES))
    shard[BLOCK + 100] = 1
    with pytest.raises(ShardError, match=r"train-00000000\.json is followed by padding bytes that are not zero"):
        members_of(bytes(shard))


def test_bytes_after_the_end_are_noticed() -> None:
    shard = shard_of(SAMPLES)
    with pytest.raises(ShardError, match="bytes that are not zero after the end of the archive at"):
        members_of(shard + shard)
    assert members_of(shard + bytes(BLOCK)) == members_of(shard)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_folders_and_devices_are_refused(kind: bytes) -> None:
    info = plain("a.txt")
    info.type, info.linkname = kind, "/etc/passwd" if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else ""
    with pytest.raises(ShardError, match=r"'a\.txt/?' at byte 0 is not a plain file"):
        members_of(tarred([(info, b"")]))


def test_a_member_over_the_limit_is_refused_before_it_is_read() -> None:
    with pytest.raises(ShardError, match=r"train-00000000\.npy\.zst claims 1280 bytes; expected at most 1000"):
        list(read_members(io.BytesIO(shard_of(SAMPLES)), max_bytes=1000))


def test_a_member_of_negative_size_is_refused() -> None:
    shard = bytearray(shard_of(SAMPLES))
    shard[124:135] = b"-0000001000"
    shard[148:154] = b"%06o" % (sum(shard[:BLOCK]) - sum(shard[148:156]) + 8 * 0x20)
    members = read_members(io.BytesIO(bytes(shard)))
    with pytest.raises(ShardError, match="tar header at byte 0"):
        next(members)


@pytest.mark.parametrize("content", [b"", b"short", b"not a tar file at all " * 100], ids=["empty", "short", "text"])
def test_content_that_is_not_a_tar_is_damaged(content: bytes) -> None:
    with pytest.raises(ShardError, match=r"cut short at byte|no tar header at byte 0"):
        members_of(content)


def test_a_pax_archive_is_not_a_shard() -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(plain("long/" * 60 + "name.txt"))
    with pytest.raises(ShardError, match="is not a plain file"):
        members_of(file.getvalue())


def test_names_are_only_reported_and_never_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shard = tarred([(plain("../../escape.txt"), b"x")])
    assert [member.name for member, _ in members_of(shard)] == ["../../escape.txt"]
    with pytest.raises(RequestError, match="illegal key"):
        list(read_samples(io.BytesIO(shard)))
    assert list(tmp_path.iterdir()) == []


def test_reading_starts_at_the_current_position() -> None:
    file = io.BytesIO(b"front" + shard_of(SAMPLES))
    file.seek(5)
    assert len(list(shards.read_members(file))) == 7

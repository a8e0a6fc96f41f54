"""A build that resumes believes nothing that was damaged meanwhile, and touches nothing in the folder that is not its own."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support import ROOT, hashes, tiny_spec

from t2vdata.build.checkpoint import Checkpoint
from t2vdata.build.records import sealed, unsealed
from t2vdata.build.run import Progress, build_dataset
from t2vdata.build.spec import BuildSpec
from t2vdata.errors import OtherSpecError, StorageError
from t2vdata.format import manifest
from t2vdata.inspect.verify import verify
from t2vdata.storage import Folder

STATE = ".t2vdata-build"


class StopError(Exception):
    """Stops a build, as a kill would, but for what its workers had not finished."""


@pytest.fixture(scope="module")
def spec() -> Iterator[BuildSpec]:
    """A small dataset with filters, rejected and failed clips, so that a build of it keeps plans and rejects."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tests" / "examples"))
        yield BuildSpec("mydata.wavy_lines", options={"n": 12}, shard_size=3)


def build(spec: BuildSpec, out: Path, stop_after: int | None = None) -> None:
    def check(progress: Progress) -> None:
        if stop_after is not None and progress.clips >= stop_after:
            raise StopError

    with contextlib.suppress(StopError):
        build_dataset(spec, out, num_workers=1, max_failures=1, on_progress=check)


@pytest.fixture(scope="module")
def undisturbed(spec: BuildSpec, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    build(spec, out)
    assert verify(str(out), deep=True).is_sound
    return hashes(out)


@pytest.fixture(scope="module")
def interrupted(spec: BuildSpec, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("interrupted") / "out"
    build(spec, out, stop_after=15)
    assert len(list(out.glob("*.tar"))) == 5
    return out


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def empty_all_files(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "a flipped bit": lambda path: flip(path, random.Random(path.name).randrange(8 * path.stat().st_size)),
    "cut short": lambda path: os.truncate(path, path.stat().st_size // 2),
    "without its last line": lambda path: os.truncate(path, path.read_bytes().rstrip(b"\n").rfind(b"\n") + 1),
    "empty": lambda path: os.truncate(path, 0),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)) and None,
}


@pytest.mark.parametrize(
    "damage", [name if name in ("a flipped bit", "empty") else pytest.param(name, marks=pytest.mark.long) for name in DAMAGES]
)
def test_what_was_damaged_during_an_interruption_is_built_again(
    spec: BuildSpec, interrupted: Path, undisturbed: dict[str, str], tmp_path: Path, damage: str
) -> None:
    kinds = ("spec.json", "lock", "reports/*-000001*", "plans/*-000001*", "../*-000001.tar")
    for number, kind in enumerate(kinds):
        out = Path(shutil.copytree(interrupted, tmp_path / str(number)))
        path = next((out / STATE).glob(kind))
        DAMAGES[damage](path)
        build(spec, out)
        assert hashes(out) == undisturbed, path


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs a file whose reading ends in EIO")
def test_records_that_the_disk_cannot_read_are_built_again(
    spec: BuildSpec, interrupted: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(interrupted, tmp_path / "out"))
    for folder in ("reports", "plans"):
        path = next((out / STATE / folder).glob("*-000002*"))
        path.unlink()
        path.symlink_to("/proc/self/mem")
    build(spec, out)
    assert hashes(out) == undisturbed


@pytest.mark.parametrize("kind", ["reports/*-000001*", "plans/*-000001*", "../*-000001.tar"])
def test_a_folder_in_the_place_of_a_file_is_one_clear_line(
    spec: BuildSpec, interrupted: Path, undisturbed: dict[str, str], tmp_path: Path, kind: str
) -> None:
    out = Path(shutil.copytree(interrupted, tmp_path / "out"))
    path = next((out / STATE).glob(kind))
    path.unlink()
    path.mkdir()
    if kind.startswith("plans"):
        # Its report says the same; both are lost.
        next((out / STATE).glob(kind.replace("plans", "reports"))).unlink()
    with pytest.raises(StorageError, match=f"{path.name} is a folder; expected a file"):
        build(spec, out)
    path.rmdir()
    build(spec, out)
    assert hashes(out) == undisturbed


def test_a_power_cut_that_empties_all_records_costs_no_byte(
    spec: BuildSpec, interrupted: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(interrupted, tmp_path / "out"))
    empty_all_files(out / STATE)
    build(spec, out)
    assert hashes(out) == undisturbed


@pytest.mark.long
def test_a_bit_that_flips_anywhere_during_an_interruption_changes_no_byte(
    spec: BuildSpec, interrupted: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    bits = random.Random(0)
    paths = sorted(path.relative_to(interrupted) for path in interrupted.rglob("*") if path.is_file())
    for number in range(200):
        out = Path(shutil.copytree(interrupted, tmp_path / "out"))
        path = out / paths[number % len(paths)]
        bit = bits.randrange(8 * path.stat().st_size)
        flip(path, bit)
        build(spec, out)
        assert hashes(out) == undisturbed, f"bit {bit} of {path}"
        shutil.rmtree(out)


def test_a_record_holds_for_its_build_its_name_and_its_content_only() -> None:
    record = sealed(b'{"a": 1}\nrow\n', "x.jsonl", "one")
    assert unsealed(record, "x.jsonl", "one") == b'{"a": 1}\nrow\n'
    assert unsealed(record, "y.jsonl", "one") is None
    assert unsealed(record, "x.jsonl", "two") is None
    assert unsealed(record.replace(b"row", b"raw"), "x.jsonl", "one") is None
    for length in range(len(record)):
        assert unsealed(record[:length], "x.jsonl", "one") is None


def test_a_damaged_spec_does_not_make_the_files_of_others_ours(spec: BuildSpec, interrupted: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(interrupted, tmp_path / "out"))
    (out / STATE / "spec.json").write_bytes(b"")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(OtherSpecError, match=r"is not empty and not a t2vdata build: it holds notes\.txt"):
        build(spec, out)


def test_a_build_of_another_spec_is_refused_by_its_records_too(
    spec: BuildSpec, interrupted: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(interrupted, tmp_path / "out"))
    (out / STATE / "spec.json").unlink()
    before = hashes(out)
    other = BuildSpec(spec.dataset, options={"n": 7}, shard_size=3)
    with pytest.raises(OtherSpecError, match=r"out holds another build, .* whose spec\.json is damaged; choose another --out"):
        build(other, out)
    assert hashes(out) == before
    build(spec, out)
    assert hashes(out) == undisturbed


def test_shards_of_another_build_are_never_left_beside_a_finished_one(
    spec: BuildSpec, interrupted: Path, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(interrupted, tmp_path / "out"))
    empty_all_files(out / STATE)
    other = BuildSpec(spec.dataset, options={"n": 7}, shard_size=3)
    with pytest.raises(OtherSpecError, match=r"-00000\d\.tar is no shard of this build; remove it and run the same command"):
        build(other, out)
    assert not (out / manifest.MANIFEST).exists()
    for path in out.glob("*-00000[1-9].tar"):
        path.unlink()
    build(other, out)
    assert verify(str(out), deep=True).is_sound


@pytest.mark.parametrize("name", ["README.md", "index.parquet", "wavy-lines-train-000000.tar"])
def test_a_state_folder_without_a_build_does_not_make_files_ours(spec: BuildSpec, tmp_path: Path, name: str) -> None:
    (tmp_path / STATE / "reports").mkdir(parents=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(OtherSpecError, match=f"is not empty and not a t2vdata build: it holds {name}; choose another --out"):
        build(spec, tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_a_second_build_into_a_folder_is_refused_with_the_process_of_the_first(spec: BuildSpec, tmp_path: Path) -> None:
    with (
        Checkpoint(Folder(str(tmp_path)), spec.as_json()).locked(),
        pytest.raises(
            OtherSpecError, match=rf"process {os.getpid()} is building into .*; wait for it, or choose another --out"
        ),
    ):
        build(spec, tmp_path)
    build(spec, tmp_path)


# Links


def precious(folder: Path) -> dict[str, str]:
    folder.mkdir()
    for name in ("a.txt", "b.jsonl", "c-000000.tar.jsonl", f".x.12345678{'.t2vdata-aside'}", "spec.json", "manifest.json"):
        (folder / name).write_text("mine")
    return hashes(folder)


@pytest.mark.parametrize("name", ["", "reports", "plans", "archives", "before"])
def test_a_folder_of_ours_that_is_a_link_is_refused(tmp_path: Path, name: str) -> None:
    expected = precious(tmp_path / "docs")
    out = tmp_path / "out"
    (out / STATE).parent.mkdir()
    if name:
        (out / STATE).mkdir()
    (out / STATE / name).symlink_to(tmp_path / "docs")
    with pytest.raises(OtherSpecError, match=r"is a link, or no folder; a build keeps its state there, .*: remove it"):
        build_dataset(tiny_spec(n=5), out, num_workers=1)
    assert hashes(tmp_path / "docs") == expected
    (out / STATE / name).unlink()
    build_dataset(tiny_spec(n=5), out, num_workers=1)
    assert hashes(tmp_path / "docs") == expected


@pytest.mark.parametrize("name", ["lock", "spec.json"])
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_file_of_ours_that_is_a_link_is_refused(tmp_path: Path, name: str, link: Callable[[Path, Path], None]) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "out" / STATE).mkdir(parents=True)
    link(tmp_path / "mine.txt", tmp_path / "out" / STATE / name)
    with pytest.raises(OtherSpecError, match="is a link, or no file; a build keeps its state there"):
        build_dataset(tiny_spec(n=5), tmp_path / "out", num_workers=1)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_records_and_shards_that_are_links_are_replaced_and_their_targets_stay(
    spec: BuildSpec, interrupted: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    out = Path(shutil.copytree(interrupted, tmp_path / "out"))
    kept = tmp_path / "kept"
    kept.mkdir()
    for path in (*(out / STATE / "reports").iterdir(), next(out.glob("*-000001.tar"))):
        shutil.move(path, kept / path.name)
        path.symlink_to(kept / path.name)
    expected = hashes(kept)
    flip(next(kept.glob("*-000002.tar.jsonl")), 77)
    expected = hashes(kept)
    build(spec, out)
    assert hashes(kept) == expected
    assert hashes(out) == undisturbed


def test_the_output_folder_itself_may_be_a_link(spec: BuildSpec, undisturbed: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    build(spec, tmp_path / "out", stop_after=6)
    build(spec, tmp_path / "out")
    assert hashes(tmp_path / "disk") == undisturbed


def test_files_of_others_in_folders_of_ours_stay(spec: BuildSpec, interrupted: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(interrupted, tmp_path / "out"))
    others = [out / STATE / "notes.txt", out / STATE / "reports" / "notes.jsonl", out / STATE / "plans" / "deep" / "x"]
    for path in others:
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    os.mkfifo(out / STATE / "reports" / "wavy-lines-train-000009.tar.jsonl")
    build(spec, out)
    assert all(path.read_text() == "mine" for path in others)
    assert verify(str(out), deep=True).is_sound
    # Again, with nothing to do.
    build(spec, out)


# Files that the user has edited


@pytest.mark.parametrize("lost", ["index.parquet", "rejects.parquet", "vocabulary.json"])
def test_restoring_a_table_keeps_what_the_user_has_edited(copy: Path, lost: str) -> None:
    expected = hashes(copy)
    (copy / lost).unlink()
    (copy / "README.md").write_text("my own description\n")
    (copy / "preview.png").write_bytes(b"my own picture")
    result = build_dataset(tiny_spec(), copy, num_workers=1)
    assert (copy / "README.md").read_text() == "my own description\n"
    assert (copy / "preview.png").read_bytes() == b"my own picture"
    assert result.kept_files == ("README.md", "preview.png")
    own = ("README.md", "preview.png")
    assert {name: sha for name, sha in hashes(copy).items() if name not in own} == {
        name: sha for name, sha in expected.items() if name not in own
    }
    assert verify(str(copy), deep=True).is_sound


def test_restoring_a_table_restores_a_lost_card_and_leaves_an_unchanged_one(copy: Path) -> None:
    expected = hashes(copy)
    (copy / "index.parquet").unlink()
    (copy / "README.md").unlink()
    assert build_dataset(tiny_spec(), copy, num_workers=1).kept_files == ()
    assert hashes(copy) == expected


def test_an_edited_vocabulary_is_kept_under_another_name(copy: Path) -> None:
    expected = hashes(copy)
    (copy / "vocabulary.json").write_text('{"edited": true}')
    result = build_dataset(tiny_spec(), copy, num_workers=1)
    assert (copy / "vocabulary.edited.json").read_text() == '{"edited": true}'
    (copy / "vocabulary.edited.json").unlink()
    assert result.kept_files == ("vocabulary.edited.json",)
    assert hashes(copy) == expected


def test_a_manifest_edited_by_hand_is_refused_and_left_unchanged(copy: Path) -> None:
    path = copy / manifest.MANIFEST
    path.write_text(path.read_text().replace('"licence": "', '"licence": "my own, '))
    before = hashes(copy)
    with pytest.raises(OtherSpecError, match="its hash does not match; restore it or build into a new folder"):
        build_dataset(tiny_spec(), copy, num_workers=1)
    assert hashes(copy) == before

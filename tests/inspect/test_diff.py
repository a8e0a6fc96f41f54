"""Comparing builds of two partial copies of a dataset."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from media import video_files
from support import t2vdata

from t2vdata.build.run import BuildResult, BuildSpec, build_dataset
from t2vdata.errors import RequestError
from t2vdata.format.dataset import open_dataset
from t2vdata.inspect.diff import Diff, diff
from t2vdata.media.encode import encoding

NUM_CLIPS = 8


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two labs' copies of eight clips: A lacks 1 and has a broken 2, B lacks 5, and 6 is another file in it."""
    folder = tmp_path_factory.mktemp("labs")
    video, other = video_files.make("h264"), video_files.make("mpeg4")
    for lab, missing in (("a", 1), ("b", 5)):
        (folder / lab).mkdir()
        rows = ["path,caption,group,split"]
        for number in range(NUM_CLIPS):
            rows.append(f"clip-{number}.mp4,clip number {number},{number},{'val' if number == 7 else 'train'}")
            if number != missing:
                (folder / lab / f"clip-{number}.mp4").write_bytes(other if (lab, number) == ("b", 6) else video)
        (folder / lab / "clips.csv").write_text("\n".join(rows) + "\n")
    (folder / "a" / "clip-2.mp4").write_bytes(b"not a video")
    for lab in ("a", "b"):
        build(folder, lab)
    return folder


def build(folder: Path, lab: str, out: str | None = None, **options: object) -> BuildResult:
    chosen = {"table": folder / lab / "clips.csv", "size": 16, "frames": 4, **options}
    spec = BuildSpec("table", options=chosen, encoding=encoding("jpeg"))
    return build_dataset(spec, folder / (out or f"out-{lab}"), num_workers=1, max_failures=1)


def compared(folder: Path, a: str = "out-a", b: str = "out-b") -> Diff:
    return diff(open_dataset(folder / a), open_dataset(folder / b))


def test_each_clip_is_in_one_of_four_groups(labs: Path) -> None:
    difference = compared(labs)
    train = difference.splits["train"]
    assert train.only_in_a == ("clip-5",)
    assert train.only_in_b == ("clip-1", "clip-2")
    assert train.other_bytes == ("clip-6",)
    assert train.same == ("clip-0", "clip-3", "clip-4")
    assert difference.splits["val"].same == ("clip-7",)
    assert not difference.is_same
    assert compared(labs, "out-a", "out-a").is_same


def test_missing_clips_have_reasons(labs: Path) -> None:
    difference = compared(labs)
    assert difference.reasons == {"a": {"no media file": 1, "DecodeError": 1}, "b": {"no media file": 1}}


def test_the_list_of_the_clips_of_both_gives_two_labs_the_same_clips(labs: Path, tmp_path: Path) -> None:
    done = t2vdata("diff", labs / "out-a", labs / "out-b", "--clip-list", tmp_path / "both.txt")
    assert done.returncode == 0, done.stderr
    assert "5 clips in both" in done.stdout
    assert (tmp_path / "both.txt").read_text().split() == ["clip-0", "clip-3", "clip-4", "clip-6", "clip-7"]
    for lab in ("a", "b"):
        build(labs, lab, f"both-{lab}", clip_list=tmp_path / "both.txt")
    both = compared(labs, "both-a", "both-b")
    assert [(split.only_in_a, split.only_in_b) for split in both.splits.values()] == [((), ()), ((), ())]
    assert both.splits["train"].other_bytes == ("clip-6",)


def test_the_list_can_be_limited_to_clips_that_are_equal_byte_for_byte(labs: Path) -> None:
    assert compared(labs).common(same_bytes=True) == ["clip-0", "clip-3", "clip-4", "clip-7"]


def test_a_clip_is_in_the_list_when_both_have_all_its_windows(labs: Path) -> None:
    build(labs, "a", "windows-a", windows=2)
    build(labs, "b", "windows-b", windows=3)
    assert compared(labs, "windows-a", "windows-a").common()[0] == "clip-0"
    assert compared(labs, "windows-a", "windows-b").common() == []


@pytest.fixture(scope="module")
def cats(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two copies of a table with the clips ``cat`` and ``cat-w3``; copy B has only the second, and a dog."""
    folder = tmp_path_factory.mktemp("cats")
    video = video_files.make("h264")
    for lab, names in (("a", ("cat", "cat-w3", "dog")), ("b", ("cat-w3", "dog"))):
        (folder / lab).mkdir()
        rows = ["path,caption,key,split", *(f"{name}.mp4,a pet,{name},train" for name in ("cat", "cat-w3", "dog"))]
        (folder / lab / "clips.csv").write_text("\n".join(rows) + "\n")
        for name in names:
            (folder / lab / f"{name}.mp4").write_bytes(video)
    return folder


def keys_built_from_common_list(folder: Path, tmp_path: Path, windows: int) -> list[str]:
    """Build both copies, and copy A again with the list that ``diff --clip-list`` writes; return the keys of that build."""
    for lab in ("a", "b"):
        build(folder, lab, f"out-{lab}-{windows}", windows=windows)
    done = t2vdata("diff", folder / f"out-a-{windows}", folder / f"out-b-{windows}", "--clip-list", tmp_path / "both.txt")
    assert done.returncode == 0, done.stderr
    again = build(folder, "a", f"again-{windows}", windows=windows, clip_list=tmp_path / "both.txt")
    assert set(again.manifest.tally.rejected) <= {"not in the clip list"}
    return list(open_dataset(again.out)["train"].keys)


def test_a_clip_list_names_a_clip_whose_own_key_looks_like_a_window(cats: Path, tmp_path: Path) -> None:
    assert keys_built_from_common_list(cats, tmp_path, windows=1) == ["cat-w3", "dog"]
    assert (tmp_path / "both.txt").read_text() == "cat-w3\ndog\n"


def test_a_clip_list_names_windows_by_their_clip(cats: Path, tmp_path: Path) -> None:
    assert keys_built_from_common_list(cats, tmp_path, windows=2) == ["cat-w3-w0", "cat-w3-w1", "dog-w0", "dog-w1"]
    assert (tmp_path / "both.txt").read_text() == "cat-w3\ndog\n"


def test_a_clip_list_names_windows_where_the_key_of_their_clip_is_a_window_of_another(cats: Path, tmp_path: Path) -> None:
    dog, cat = ["dog-w0", "dog-w1", "dog-w2", "dog-w3"], ["cat-w3-w0", "cat-w3-w1", "cat-w3-w2", "cat-w3-w3"]
    assert keys_built_from_common_list(cats, tmp_path, windows=4) == [*cat, *dog]
    assert (tmp_path / "both.txt").read_text().split() == [*cat, "dog"]


def test_a_clip_of_one_build_is_not_a_window_of_the_other(cats: Path) -> None:
    for lab, windows in (("a", 1), ("a", 4)):
        build(cats, lab, f"mixed-{windows}", windows=windows)
    mixed = compared(cats, "mixed-1", "mixed-4")
    assert mixed.splits["train"].other_bytes == ("cat-w3",)
    assert mixed.common() == []


def test_different_settings_are_reported(labs: Path) -> None:
    build(labs, "a", "larger", size=24)
    difference = compared(labs, "out-a", "larger")
    assert difference.spec == ("options.size: 16 in A, 24 in B",)
    assert len(difference.splits["train"].other_bytes) == 5


def test_clips_in_different_splits_are_reported(labs: Path) -> None:
    table = labs / "a" / "clips.csv"
    original = table.read_text()
    table.write_text(original.replace("number 3,3,train", "number 3,3,val"))
    build(labs, "a", "moved")
    table.write_text(original)
    difference = compared(labs, "out-a", "moved")
    assert difference.moved == {"clip-3": ("train", "val")}
    assert difference.reasons == {"a": {}, "b": {}}


def test_builds_of_different_datasets_are_refused(labs: Path, built: BuildResult) -> None:
    with pytest.raises(RequestError, match=r"is table and .* is mnist-motion; expected two builds of one dataset"):
        diff(open_dataset(labs / "out-a"), open_dataset(built.out))


def test_the_command_prints_counts_and_keys(labs: Path) -> None:
    done = t2vdata("diff", labs / "out-a", labs / "out-b")
    assert done.returncode == 0, done.stderr
    assert "not in A, 1: no media file" in done.stdout
    named = json.loads(t2vdata("diff", labs / "out-a", labs / "out-b", "--json").stdout)
    assert named["splits"]["train"]["only_in_b"] == ["clip-1", "clip-2"]
    assert "byte for byte" in t2vdata("diff", labs / "out-a", labs / "out-a").stdout

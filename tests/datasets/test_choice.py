"""How datasets of media files choose clips: by lists, language, length, cuts and near-duplicates; each reject has a reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from media.video_files import of_pictures, scene
from PIL import Image
from support import t2vdata

from t2vdata.build.run import BuildResult, BuildSpec, build_dataset
from t2vdata.errors import RequestError, UnknownNameError
from t2vdata.format import tables
from t2vdata.format.dataset import open_dataset
from t2vdata.inspect import duplicates
from t2vdata.media.encode import encoding

# Name, seeds of the scenes, frames of each, split.
CLIPS = {
    "one": ([1], [30], "train"),
    "two": ([2, 5], [12, 20], "train"),
    "three": ([4, 3, 6], [10, 10, 10], "train"),
    "short": ([7], [8], "val"),
    "again": ([1], [30], "test"),
}
# Name of the video, key.
LIKE_WINDOWS = [("one", "cat"), ("two", "cat-w1"), ("short", "dog-w0")]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of one and of several shots, one of them twice in another quality, and a picture."""
    folder = tmp_path_factory.mktemp("media")
    rows = ["path,caption,label,split"]
    for name, (seeds, lengths, split) in CLIPS.items():
        frames = np.concatenate([scene(seed, length) for seed, length in zip(seeds, lengths, strict=True)])
        (folder / f"{name}.mp4").write_bytes(of_pictures(frames, quality=36 if name == "again" else 20))
        rows.append(
            f"{name}.mp4,the camera moves along a wall of coloured blocks,{'wall' if name == 'one' else 'Walls'},{split}"
        )
    Image.fromarray(scene(8, 1)[0]).save(folder / "picture.png")
    rows += [
        "picture.png,eine Wand aus Klötzen,picture,train",
        "picture.png,the camera moves along a wall of coloured blocks,picture,train",
    ]
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    return folder


def build(media: Path, out: Path, **options: object) -> BuildResult:
    spec = BuildSpec("table", {"table": media / "clips.csv", "size": 64, **options}, encoding=encoding("jpeg"))
    return build_dataset(spec, out, num_workers=1)


def reasons(result: BuildResult) -> dict[str, list[str]]:
    keys: dict[str, list[str]] = {}
    for reject in tables.read_rejects(result.out):
        keys.setdefault(reject.reason, []).append(reject.key)
    return keys


def a_list(folder: Path, *lines: str) -> Path:
    path = folder / "list.txt"
    path.write_text("# a list\n\n" + "\n".join(lines) + "\n")
    return path


def test_clips_with_a_cut_are_rejected(media: Path, tmp_path: Path) -> None:
    result = build(media, tmp_path / "out", cuts="reject")
    assert reasons(result) == {"a cut": ["two", "three"]}


def test_a_cut_after_the_frames_of_a_clip_does_not_count(media: Path, tmp_path: Path) -> None:
    result = build(media, tmp_path / "out", cuts="reject", frames=11)
    assert reasons(result) == {"a cut": ["three"], "fewer than 11 frames": ["short"]}


def test_the_longest_shot_is_kept_and_windows_are_cut_from_it(media: Path, tmp_path: Path) -> None:
    longest = open_dataset(build(media, tmp_path / "longest", cuts="longest").out)
    lengths = {item.key: item.frames.num_frames for split in longest.splits for item in longest[split]}
    assert lengths == {"one": 30, "two": 20, "three": 10, "picture": 1, "short": 8, "again": 30}
    cut = open_dataset(build(media, tmp_path / "cut", cuts="longest", frames=8, windows=2).out)
    full = open_dataset(build(media, tmp_path / "full").out).find("two").frames.data
    for window, first in (("two-w0", 12), ("two-w1", 24)):
        frames = cut.find(window).frames.data
        # A sheet of fewer frames is coded otherwise.
        assert np.abs(frames.astype(int) - full[first : first + 8]).mean() < 6


def test_clips_whose_frames_do_not_match_are_rejected(media: Path, tmp_path: Path) -> None:
    result = build(media, tmp_path / "out", min_matches=20)
    assert reasons(result) == {"not smooth: fewer than 20 matches": ["two", "three"]}
    assert open_dataset(result.out).find("one").meta["matches"] > 100
    assert result.manifest.spec["source"]["decoder"]["OpenCV"]


def test_captions_in_another_language_are_dropped(media: Path, tmp_path: Path) -> None:
    english = build(media, tmp_path / "english", language="en")
    assert open_dataset(english.out).find("picture").captions == ("the camera moves along a wall of coloured blocks",)
    german = build(media, tmp_path / "german", language="de")
    assert german.manifest.tally.kept == 1
    assert list(reasons(german)) == ["no caption in de"]


def test_the_length_of_clips_is_limited_in_frames_and_seconds(media: Path, tmp_path: Path) -> None:
    result = build(media, tmp_path / "frames", min_frames=10)
    assert reasons(result) == {"fewer than 10 frames": ["short"]}
    result = build(media, tmp_path / "seconds", max_seconds=1.0)
    assert reasons(result) == {"longer than 1 s": ["one", "two", "three", "again"]}
    result = build(media, tmp_path / "both", min_seconds=0.5, max_seconds=1.25)
    assert reasons(result) == {"longer than 1.25 s": ["two"], "shorter than 0.5 s": ["short"]}


@pytest.mark.parametrize("more", [{}, {"fps": 10.0}, {"windows": 2}], ids=str)
def test_seconds_are_those_of_the_span_not_of_the_frames_taken_from_it(
    media: Path, tmp_path: Path, more: dict[str, object]
) -> None:
    result = build(media, tmp_path / "out", frames=3, min_seconds=0.5, max_seconds=1.25, **more)
    videos = {reason: sorted({key.split("-w")[0] for key in keys}) for reason, keys in reasons(result).items()}
    assert videos == {"longer than 1.25 s": ["two"], "shorter than 0.5 s": ["short"]}
    named = "one-w0" if "windows" in more else "one"
    assert open_dataset(result.out).find(named).meta["seconds"] == 1.2


def test_seconds_are_those_of_the_longest_shot_if_clips_are_cut_to_it(media: Path, tmp_path: Path) -> None:
    result = build(media, tmp_path / "out", frames=3, cuts="longest", min_seconds=0.5)
    assert reasons(result) == {"shorter than 0.5 s": ["three", "short"]}


def test_lists_choose_clips_and_labels(media: Path, tmp_path: Path) -> None:
    clip_list = a_list(tmp_path, "one", "picture", "never heard of")
    result = build(media, tmp_path / "listed", clip_list=clip_list)
    assert result.manifest.tally.kept == 2
    assert reasons(result) == {
        "not in the clip list": ["two", "three", "short", "again"],
        "not in the annotations": ["never_heard_of"],
    }
    messages = {reject.key: reject.message for reject in tables.read_rejects(result.out)}
    assert messages["never_heard_of"] == "list.txt, entry 3: not in the annotations"
    result = build(media, tmp_path / "excluded", exclude_list=a_list(tmp_path, "one", "two"))
    assert reasons(result) == {"in the exclude list": ["one", "two"]}
    result = build(media, tmp_path / "labels", label_list=a_list(tmp_path, "wall", "picture"))
    assert reasons(result) == {"label not in the list": ["two", "three", "short", "again"]}


def test_a_list_names_a_clip_or_one_of_its_windows(media: Path, tmp_path: Path) -> None:
    clip_list = a_list(tmp_path, "one", "two-w1")
    result = build(media, tmp_path / "out", clip_list=clip_list, frames=8, windows=2)
    assert [item.key for item in open_dataset(result.out)["train"]] == ["one-w0", "one-w1", "two-w1"]


def test_a_file_named_like_a_window_is_a_clip_of_its_own(media: Path, tmp_path: Path) -> None:
    table = tmp_path / "clips.csv"
    rows = "".join(f"{media}/{name}.mp4,a wall,{key},train\n" for name, key in LIKE_WINDOWS)
    table.write_text(f"path,caption,key,split\n{rows}")
    listed = a_list(tmp_path, "cat", "dog")
    result = build(tmp_path, tmp_path / "excluded", exclude_list=listed)
    assert reasons(result) == {"in the exclude list": ["cat"]}
    result = build(tmp_path, tmp_path / "listed", clip_list=listed)
    assert reasons(result) == {"not in the clip list": ["cat-w1", "dog-w0"], "not in the annotations": ["dog"]}


def test_an_exclude_list_that_names_no_clip_is_refused(media: Path, tmp_path: Path) -> None:
    # Most likely its ids are written otherwise, and nothing would be left out.
    listed = a_list(tmp_path, "one.mp4", "two.mp4")
    with pytest.raises(RequestError, match=r"list\.txt \(--exclude-list\) names no clip .* expected keys such as 'again'"):
        build(media, tmp_path / "out", exclude_list=listed)
    # Those of another number of windows are known.
    result = build(media, tmp_path / "windows", frames=8, windows=2, exclude_list=a_list(tmp_path, "one-w5"))
    assert result.manifest.tally.rejected == {}


def test_the_content_of_a_list_is_part_of_the_fingerprint(media: Path, tmp_path: Path) -> None:
    first = build(media, tmp_path / "out", exclude_list=a_list(tmp_path, "one"))
    with pytest.raises(RequestError, match=r"source\.decoder\.--exclude-list is"):
        build(media, tmp_path / "out", exclude_list=a_list(tmp_path, "two"))
    assert first.manifest.tally.rejected == {"in the exclude list": 1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cuts": "cut"}, "--cuts: expected one of keep, longest, reject, got 'cut'"),
        ({"min_matches": 0}, "--min-matches 0: expected 1 or more"),
        ({"frames": 8, "min_frames": 9}, "--min-frames 9 is more than --frames 8"),
        ({"min_seconds": 3.0, "max_seconds": 2.0}, "--min-seconds 3 is more than --max-seconds 2"),
        ({"language": "english"}, "no language 'english'; expected one of af"),
        ({"clip_list": Path("nowhere.txt")}, r"no file nowhere\.txt \(--clip-list\)"),
    ],
    ids=str,
)
def test_invalid_options_are_refused(media: Path, tmp_path: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        build(media, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_an_unknown_label_is_reported_with_the_nearest(media: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"no label .* 'Wall'; did you mean 'Walls'"):
        build(media, tmp_path / "out", label_list=a_list(tmp_path, "Wall"))


def test_a_label_list_is_refused_if_no_clip_has_a_label(media: Path, tmp_path: Path) -> None:
    table = tmp_path / "clips.csv"
    table.write_text(f"path,caption\n{media}/one.mp4,a wall\n")
    with pytest.raises(RequestError, match=r"no clip has a label here; leave out --label-list .*list\.txt"):
        build(tmp_path, tmp_path / "out", label_list=a_list(tmp_path, "None"))


def test_an_empty_list_is_refused(media: Path, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"list\.txt is empty; expected one name per line"):
        build(media, tmp_path / "out", clip_list=a_list(tmp_path))


# Near-duplicates


@pytest.fixture(scope="module")
def doubled(media: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset in which a training clip is a test clip in another quality."""
    return Path(build(media, tmp_path_factory.mktemp("doubled") / "out", frames=8, windows=2).out)


def test_near_duplicates_across_splits_are_found(doubled: Path) -> None:
    duplicate_report = duplicates.find(str(doubled))
    assert duplicate_report.counts == {"train and test": 2}
    assert {pair.keys for pair in duplicate_report.pairs} == {("one-w0", "again-w0"), ("one-w1", "again-w1")}
    assert all(pair.bits <= duplicate_report.max_distance for pair in duplicate_report.pairs)
    # What is left out is the training clip: test sets stay as they are.
    assert duplicate_report.to_leave_out == ("one-w0", "one-w1")


def test_a_build_excludes_the_list_of_duplicates(doubled: Path, media: Path, tmp_path: Path) -> None:
    listed = tmp_path / "duplicates.txt"
    done = t2vdata("stats", doubled, "--check-duplicates", "--exclude-list", listed)
    assert done.returncode == 0, done.stderr
    assert "train and test: 2 pairs" in done.stdout
    assert "2 clips to leave out" in done.stdout
    assert "warning: 2 pairs of near-duplicates are in two splits" in done.stderr
    result = build(media, tmp_path / "out", frames=8, windows=2, exclude_list=listed)
    assert not duplicates.find(result.out).pairs
    assert "warning" not in t2vdata("stats", result.out, "--check-duplicates").stderr
    assert reasons(result)["in the exclude list"] == ["one-w0", "one-w1"]
    report = json.loads(t2vdata("stats", doubled, "--check-duplicates", "--json").stdout)
    assert report["counts"] == {"train and test": 2}


def test_windows_of_one_video_are_counted_separately(media: Path, tmp_path: Path) -> None:
    duplicate_report = duplicates.find(build(media, tmp_path / "out", frames=28, windows=2).out)
    assert duplicate_report.of_one_group >= 2
    assert set(duplicate_report.counts) == {"train and test"}


def test_a_dataset_without_hashes_says_so(built: BuildResult) -> None:
    with pytest.raises(RequestError, match="its index has no perceptual hashes; expected a dataset of media files"):
        duplicates.find(built.out)


def test_every_clip_of_a_media_file_has_a_hash(doubled: Path) -> None:
    rows = tables.read_index(str(doubled), ["key", "phash"]).to_pylist()
    assert len(rows) == 2 * 5 + 2
    assert all(len(row["phash"]) == 48 for row in rows)

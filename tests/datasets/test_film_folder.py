"""The second example of docs/add-a-dataset.md: a dataset of media files outside this repository, from public names only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from media import video_files
from support import ROOT, hashes

from t2vdata import storage
from t2vdata.build.run import BuildSpec, build_dataset
from t2vdata.errors import RawDataError
from t2vdata.format import tables
from t2vdata.format.dataset import open_dataset
from t2vdata.media.encode import encoding

OPTIONS = {"size": 16, "frames": 8, "windows": 2, "max_caption_chars": 20}


@pytest.fixture
def films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of nine clips of three films, one whose file is missing, and one without a short caption."""
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "examples"))
    folder = tmp_path / "films"
    folder.mkdir()
    rows = ["file,film,caption"]
    for number in range(9):
        rows.append(f"scene {number}.mp4,film {number // 3},something moves")
        (folder / f"scene {number}.mp4").write_bytes(video_files.make("h264"))
    rows += ["lost.mp4,film 3,a lost scene", "scene 0.mp4,film 0,a caption of more than twenty characters"]
    rows[-1] = rows[-1].replace("scene 0.mp4", "long.mp4")
    (folder / "captions.csv").write_text("\n".join(rows) + "\n")
    return folder


def spec(root: str | None) -> BuildSpec:
    return BuildSpec("mydata.film_folder", OPTIONS, root=root, encoding=encoding("jpeg"), shard_size=5)


def test_a_folder_of_films_is_built(films: Path, tmp_path: Path) -> None:
    result = build_dataset(spec(str(films)), tmp_path / "out", num_workers=2, max_failures=1)
    assert result.manifest.tally.as_json() == {
        "kept": 18, "rejected": {"no caption of 20 characters or fewer": 2, "no media file": 2}, "failed": {},
    }  # fmt: skip
    dataset = open_dataset(result.out)
    items = {item.key: item for split in dataset.splits for item in dataset[split]}
    item = items["scene_4_mp4-w1"]
    assert (item.captions, item.frames.data.shape) == (("something moves",), (8, 16, 16, 3))
    assert (item.meta["media"], item.meta["source"], item.meta["window"]) == ("scene 4.mp4", "captions.csv, line 6", 1)
    groups = {split: {item.meta["group"] for item in dataset[split]} for split in dataset.splits}
    assert set.union(*groups.values()) == {"film 0", "film 1", "film 2"}
    assert sum(map(len, groups.values())) == 3
    (message,) = {reject.message for reject in tables.read_rejects(result.out) if reject.reason == "no media file"}
    assert message == "captions.csv, line 11: no media file"


def test_a_folder_of_films_behind_a_url_has_the_same_bytes(films: Path, tmp_path: Path) -> None:
    for path in films.iterdir():
        storage.write_whole(f"memory://films/{path.name}", path.read_bytes())
    local = build_dataset(spec(str(films)), tmp_path / "local", num_workers=1, max_failures=1)
    remote = build_dataset(spec("memory://films"), tmp_path / "remote", num_workers=1, max_failures=1)
    assert hashes(Path(remote.out)) == hashes(Path(local.out))


def test_missing_raw_files_are_reported_with_what_was_found(films: Path, tmp_path: Path) -> None:
    (films / "captions.csv").unlink()
    for root, message in (
        (None, "give it --root DIR; in --root: captions.csv"),
        (str(films), "no captions.csv in .*found scene 0"),
    ):
        with pytest.raises(RawDataError, match=f"mydata.film_folder: {message}"):
            build_dataset(spec(root), tmp_path / "out")


@pytest.mark.parametrize("name", ["wavy_lines", "film_folder"])
def test_the_examples_use_public_names_only(name: str) -> None:
    tree = ast.parse((ROOT / "tests" / "examples" / "mydata" / f"{name}.py").read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    used = [part for node in imports for part in (*str(node.module).split("."), *(alias.name for alias in node.names))]
    used += [node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr != "_read"]
    assert used
    assert not [part for part in used if part.startswith("_") and part != "__future__"]

"""Run every build command of docs/datasets.md and docs/media.md, with another output folder, on tiny official layouts."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import layouts
import pytest
from media import video_files
from support import ROOT

from t2vdata.cli import main
from t2vdata.format.dataset import open_dataset

PAGES = [(ROOT / "docs" / name).read_text() for name in ("datasets.md", "media.md")]
BLOCKS = [block for page in PAGES for block in re.findall(r"```bash\n(.*?)```", page, re.S)]
BUILDS = [line for block in BLOCKS for line in block.splitlines() if " build " in line]
# --retry-failed needs an earlier build; tests/build/test_append.py covers it.
BUILDS = [line.split("#")[0].strip() for line in BUILDS if "--retry-failed" not in line]
# Clips of each layout that these commands keep.
KEPT = {"table": 12, "msvd": 6, "kinetics": 3, "moments": 3, "visdial-coco": 4}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folders that the page names, with videos of over four seconds."""
    video = video_files.of_pictures(video_files.scene(1, 110, width=160, height=120))
    folder = tmp_path_factory.mktemp("raw")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(video_files, "make", lambda _: video)
        layouts.table(folder / "mydata")
        layouts.msvd(folder / "MSVD")
        layouts.kinetics(folder / "k400")
        layouts.moments(folder / "Moments_in_Time_Raw")
        layouts.visdial_coco(folder / "COCO")
        layouts.moments_mini(folder / "Moments_in_Time_Mini")
    # For --preset adelaide, which keeps what is about cooking.
    corpus = folder / "MSVD" / "video_corpus.csv"
    corpus.write_text(corpus.read_text().replace("A dog runs.", "A man is slicing an onion."))
    for path in (folder / "mydata").glob("*.mp4"):
        path.with_suffix(".txt").write_text(f"{path.stem}\n")
    (folder / "titles.csv").write_text("youtube_id,title\n-olfgolfgo0,How to putt\n_ailsailsa0,Another\n")
    (folder / "t2v_list.txt").write_text("playing golf/-olfgolfgo0\n")
    (folder / "duplicates.txt").write_text("clip_0-f358b6c2\n")
    return folder


def kept(line: str) -> int:
    """Return the clips that a command keeps, of those in the layout."""
    if "t2v_list" in line:
        return 1
    if "cglow" in line:
        # The validation set is left alone.
        return 2
    return KEPT[line.split()[2]] - ("--exclude-list" in line)


def test_every_dataset_has_its_commands() -> None:
    assert {line.split()[2] for line in BUILDS} == set(KEPT)
    assert len(BUILDS) == 11


@pytest.mark.parametrize("line", BUILDS)
def test_a_command_of_the_page_builds(line: str, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(raw)
    _, *words = shlex.split(line)
    if "--dry-run" not in line:
        words[words.index("--out") + 1] = str(tmp_path / "out")
    main([*words, "--workers", "1", "--max-failures", "1"], standalone_mode=False)
    if "--dry-run" not in line:
        assert open_dataset(tmp_path / "out").manifest.tally.kept == kept(line)
    assert not (raw / "data").exists()

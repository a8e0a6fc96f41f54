"""A dataset of one's own has a name of its own, and no file that the user names is dropped silently."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from media import video_files

from t2vdata.build.run import BuildSpec
from t2vdata.build.spec import default_folder
from t2vdata.cli import main
from t2vdata.errors import RequestError
from t2vdata.format.dataset import open_dataset


def run(*words: object) -> int:
    """Run a command in this process; return its exit code."""
    with pytest.raises(SystemExit) as raised:
        main([str(word) for word in words])
    return int(raised.value.code or 0)


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of two videos in the current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("cat", "dog"):
        (tmp_path / f"{name}.mp4").write_bytes(video_files.make("h264"))
    path = tmp_path / "clips.csv"
    path.write_text("path,caption\ncat.mp4,a cat\ndog.mp4,a dog\n")
    return path


def test_a_build_has_the_name_that_it_is_given(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["build", "table", "--table", "clips.csv", "--name", "my-clips", "--size", "16", "--workers", "1"]
    shares = ["--val-share", "0", "--test-share", "0"]
    assert run(*words, *shares) == 0
    assert "-> data/my-clips" in capsys.readouterr().out
    dataset = open_dataset(tmp_path / "data" / "my-clips")
    manifest = dataset.manifest
    assert (manifest.dataset, manifest.spec["dataset"], manifest.spec["built_as"]) == ("my-clips", "my-clips", "table")
    assert [shard.name for _, shard in manifest.shards()] == ["my-clips-train-000000.tar"]
    assert "--name my-clips" in (tmp_path / "data" / "my-clips" / "README.md").read_text()
    for command in (["stats"], ["verify", "--deep"], ["show"]):
        assert run(command[0], "data/my-clips", *command[1:]) == 0
    assert run(*words, *shares, "--retry-failed") == 0
    assert run(*words, *shares) == 0


def test_a_name_is_part_of_the_spec_only_if_it_is_given(table: Path) -> None:
    plain, named = BuildSpec("table", {"table": table}), BuildSpec("table", {"table": table}, name="mine")
    assert plain.as_json()["dataset"] == "table"
    assert {**named.as_json(), "dataset": "table"} == {**plain.as_json(), "built_as": "table"}
    assert (default_folder(plain), default_folder(named)) == ("data/table", "data/mine")
    json.dumps(named.as_json())


@pytest.mark.parametrize("name", ["", "../up", "a b", "-x", "a.b", "x" * 65, "caf\u00e9", "a/b", "a\n"])
def test_a_name_that_cannot_be_in_a_file_name_is_refused(name: str) -> None:
    with pytest.raises(RequestError, match=r"--name .*: expected 1 to 64 of a-z A-Z 0-9 _ -"):
        BuildSpec("table", name=name)


@pytest.mark.parametrize(
    "flag", ["--caption-column", "--path-column", "--table", "--folder", "--clip-list", "--root", "--out", "--name"]
)
def test_a_file_column_or_name_is_given_only_once(flag: str, table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("build", "table", flag, "one", flag, "two") == 2
    assert f"{flag} is given more than once; give it once" in capsys.readouterr().err


def test_a_repeated_number_takes_the_last(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("build", "table", "--table", "clips.csv", "--size", "0", "--size", "16", "--dry-run", "--workers", "1") == 0

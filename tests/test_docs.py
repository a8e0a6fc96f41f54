"""The documentation is true: its commands run, its examples are the tested ones, its links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import io
import re
import shlex
import subprocess
import sys
import tarfile
import typing
from pathlib import Path

import fsspec
import layouts
import pytest
import yaml
from media import video_files
from support import ROOT, t2vdata

from baselines import recipe_file
from t2vdata import datasets, storage
from t2vdata.build.run import BuildResult
from t2vdata.cli import main
from t2vdata.datasets.media import MediaOptions
from t2vdata.format import tables
from t2vdata.format.dataset import open_dataset

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Number of clips that the builds of docs/scale.md process.
NUM_CLIPS = {"kinetics": 5, "table": 1}
TOOLS = ROOT / "tests" / "tools"


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.S)


def test_command_line_page_matches_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import cli_page

    assert cli_page.PAGE.read_text() == cli_page.page(), "run `python tests/tools/cli_page.py`"


def test_contributing_page_matches_docstrings_and_import_contracts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    import package_map

    assert package_map.PAGE.read_text() == package_map.page(), "run `python tests/tools/package_map.py`"


@pytest.mark.parametrize("name", ["wavy_lines", "film_folder"])
def test_example_datasets_on_their_page_are_the_tested_ones(name: str) -> None:
    page = (ROOT / "docs" / "add-a-dataset.md").read_text()
    (example,) = re.findall(rf"<!-- tests/examples/mydata/{name}\.py -->\n```python\n(.*?)```", page, re.S)
    assert example == (ROOT / "tests" / "examples" / "mydata" / f"{name}.py").read_text()


def test_the_python_of_the_dataset_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "examples"))
    (code,) = [block for block in blocks(ROOT / "docs" / "add-a-dataset.md", "python") if "DATASET" not in block]
    names: dict[str, typing.Any] = {}
    exec(code, names)
    assert names["frames"].data.shape == (8, 32, 32, 3)


def test_example_model_on_its_page_is_the_tested_one(monkeypatch: pytest.MonkeyPatch) -> None:
    page = ROOT / "docs" / "recipes.md"
    (example,) = blocks(page, "python")
    assert example == (ROOT / "tests" / "examples" / "mymodel" / "regression.py").read_text()
    monkeypatch.syspath_prepend(str(ROOT / "tests" / "examples"))
    recipe = blocks(page, "yaml")[-1]
    assert recipe_file.parse(yaml.safe_load(recipe)).sections["model"].width == 16


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)", re.sub(r"```.*?```", "", page.read_text(), flags=re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_link_leads_to_a_file_and_heading_that_exist() -> None:
    assert len(PAGES) >= 9
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#]*)#?([^)]*)\)", page.read_text()):
            if not target.startswith("http"):
                path = page.parent / target if target else page
                assert path.exists(), f"{page.name}: {target}"
                assert not anchor or anchor in anchors(path), f"{page.name}: {target}#{anchor}"


def test_index_lists_every_page() -> None:
    listed = set(re.findall(r"\]\(([\w-]+\.md)\)", (ROOT / "docs" / "index.md").read_text()))
    assert listed == {page.name for page in PAGES[1:]} - {"index.md"}


def test_ci_runs_the_test_command_of_the_readme() -> None:
    commands = [line for block in blocks(ROOT / "README.md", "bash") for line in block.splitlines()]
    (tests,) = [line for line in commands if "pytest" in line]
    assert tests in (ROOT / ".ci" / "run").read_text().splitlines()
    assert tests in (ROOT / "docs" / "contributing.md").read_text().splitlines()


def test_documented_commands_have_options_that_exist() -> None:
    from click import Context

    from t2vdata.cli import COMMANDS, main

    checked = 0
    for page in PAGES:
        for line in (line for block in blocks(page, "bash") for line in block.splitlines()):
            words = shlex.split(line.rsplit("t2vdata ", 1)[-1]) if re.search(r"\bt2vdata \w", line) else []
            if not words or words[0] not in COMMANDS or any("." in word for word in words[1:2]):
                continue
            context = Context(main)
            command = main.get_command(context, words[0])
            if words[0] in ("build", "estimate"):
                command = command.get_command(context, words[1])
            known = {flag for option in command.params for flag in option.opts}
            assert {word for word in words if word.startswith("--")} <= known, line
            checked += 1
    assert checked >= 6


def test_every_dataset_of_raw_files_is_documented_with_tree_command_options_licence_and_citation() -> None:
    _, *sections = re.split(r"^## ", (ROOT / "docs" / "datasets.md").read_text(), flags=re.M)
    documented = {section.split("\n")[0]: section for section in sections}
    assert sorted(documented) == [name for name in datasets.names() if name != "mnist-motion"]
    for name, section in documented.items():
        assert re.search(r"^```\n\S+/\s", section, re.M), f"{name}: no tree"
        assert f"```bash\nt2vdata build {name} " in section
        assert re.search(r"licence", section, re.I)
        assert re.search(r"citation", section, re.I)
        for option, kind in typing.get_type_hints(datasets.load(name).Options).items():
            if option == "preset":
                for preset in set(typing.get_args(kind)) - {"none"}:
                    assert f"--preset {preset}" in section
            if option not in MediaOptions.__dataclass_fields__ and not (name == "table" and option.endswith("_column")):
                assert f"--{option.replace('_', '-')}" in section, f"{name}: --{option.replace('_', '-')}"


def test_every_index_column_is_documented() -> None:
    page = (ROOT / "docs" / "format.md").read_text()
    for column in tables.index_schema().names:
        assert f"`{column}`" in page


def test_reader_written_from_the_format_page_reads_a_clip(built: BuildResult) -> None:
    # Without t2vdata: pyarrow for the index, a seek and a read for the clip.
    code = """
import io, json, pathlib, sys
import numpy as np, pyarrow.parquet as pq, zstandard
folder = pathlib.Path(sys.argv[1])
row = pq.read_table(folder / "index.parquet").slice(3, 1).to_pylist()[0]
with open(folder / row["shard"], "rb") as file:
    def member(role):
        file.seek(row[role + "_offset"])
        return file.read(row[role + "_size"])
    frames = np.load(io.BytesIO(zstandard.ZstdDecompressor().decompress(member("pixels"))), allow_pickle=False)
    about = json.loads(member("json"))
    assert member("txt").decode() == row["captions"][0] == about["captions"][0]
mover = about["digits"][0]
d = abs(mover["turn"] - mover["start"])
sign = 1 if mover["first_direction"] in ("down", "right") else -1
for t, position in enumerate(mover["positions"]):
    s = (mover["start_phase"] + mover["speed"] * t) % (2 * d)
    assert position == mover["start"] + sign * min(s, 2 * d - s)
print(frames.shape, frames.dtype)
"""
    done = subprocess.run([sys.executable, "-c", code, built.out], capture_output=True, text=True)
    assert done.stdout.strip() == "(8, 24, 24, 1) uint8", done.stderr


def test_python_of_the_quickstart_runs(tmp_path: Path, built: BuildResult) -> None:
    read, words, build = blocks(ROOT / "docs" / "quickstart.md", "python")[:3]
    small = build.replace("data/small", str(tmp_path / "small")).replace("1000", "20")
    code = (read + words).replace("data/mnist-motion", built.out) + "assert batch.tokens.shape == (2, 5)\n" + small
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Tally(kept=26" in done.stdout


def test_your_own_videos_are_built_as_the_quickstart_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "quickstart.md").read_text()
    section = page.split("## Your own videos\n")[1].split("\n## ")[0]
    table = next(block for block in re.findall(r"```\n(.*?)```", section, re.S) if block.startswith("path,caption"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my-videos").mkdir()
    (tmp_path / "my-videos" / "clips.csv").write_text(table)
    for name, caption in [("cat", "a cat runs"), ("dog", "a dog sleeps"), ("owl", "an owl turns its head")]:
        (tmp_path / "my-videos" / f"{name}.mp4").write_bytes(video_files.of_pictures(video_files.scene(1, 60)))
        (tmp_path / "my-videos" / f"{name}.txt").write_text(caption)
    commands = re.findall(r"^t2vdata (.*)$", section, re.M)
    assert len(commands) == 5
    for command in commands:
        with pytest.raises(SystemExit) as raised:
            main([*shlex.split(command), *(["--workers", "1"] if command.startswith("build") else [])])
        assert not raised.value.code, command
    shown = capsys.readouterr().out
    assert re.search(r" all +3 +1 +0 +2 .*rejected 1: no media file", shown, re.S)
    assert open_dataset("data/my-clips").manifest.splits["val"].num_samples == 1


def test_every_name_in_the_documentation_can_be_imported() -> None:
    names = {name for page in PAGES for name in re.findall(r"`((?:t2vdata|baselines)(?:\.\w+)+)", page.read_text())}
    for page in PAGES:
        for block in blocks(page, "python"):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("t2vdata", "baselines"):
                    names |= {f"{node.module}.{alias.name}" for alias in node.names}
    assert len(names) >= 10
    for name in names:
        assert resolve(name) is not None, name


def resolve(name: str) -> object:
    """Return the module, or the attribute of a module, with this dotted name."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        parent, _, attribute = name.rpartition(".")
        return getattr(resolve(parent), attribute)


def test_python_of_the_readme_and_the_loading_page_reads_batches(built: BuildResult) -> None:
    code = blocks(ROOT / "README.md", "python")[0] + blocks(ROOT / "docs" / "loading.md", "python")[0]
    code = code.replace("data/mnist-motion", built.out) + "print(tuple(batch.video.shape[1:]), batch.tokens.dtype)\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "(1, 16, 24, 24) torch.int64", done.stderr


def test_other_loaders_read_a_dataset_as_the_loading_page_says(built: BuildResult) -> None:
    webdataset_code, datasets_code = (
        block for block in blocks(ROOT / "docs" / "loading.md", "python") if "WebDataset(" in block or "load_dataset(" in block
    )
    code = (
        webdataset_code
        + "print(clip['npy.zst'].shape)\n"
        + datasets_code
        + "print(clip['json']['captions'] == [clip['txt']])\n"
    )
    code = code.replace("data/mnist-motion/", f"{built.out}/").replace("data/mnist-motion", built.out)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.split("\n")[:2] == ["(8, 24, 24, 1)", "True"], done.stderr


@pytest.mark.long
def test_commands_of_the_scale_page_run(tmp_path: Path, s3_settings: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fsspec.filesystem("s3").makedirs("bucket", exist_ok=True)
    video = video_files.of_pictures(video_files.scene(1, 110, width=160, height=120))
    monkeypatch.setattr(video_files, "make", lambda _: video)
    (tmp_path / "video.mp4").write_bytes(video)
    (tmp_path / "clips.csv").write_text("path,caption\nvideo.mp4,something moves\n")
    storage.write_whole("s3://bucket/videos/video.mp4", video)
    raw = layouts.kinetics(tmp_path / "k400").root
    assert raw is not None
    for path in filter(Path.is_file, raw.rglob("*")):
        storage.write_whole(f"s3://bucket/k400/{path.relative_to(raw)}", path.read_bytes())
    for split in ("train", "val"):
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as file:
            file.add(raw / split, ".")
        storage.write_whole(f"s3://bucket/k400_targz/{split}/part_0.tar.gz", packed.getvalue())
        table = (raw / "annotations" / f"{split}.csv").read_bytes()
        storage.write_whole(f"s3://bucket/k400_targz/annotations/{split}.csv", table)
    lines = [line for block in blocks(ROOT / "docs" / "scale.md", "bash") for line in block.splitlines()]
    # --ray-address needs a cluster; tests/engines covers it.
    commands = [line for line in lines if line.startswith("t2vdata ") and "--ray-address" not in line]
    assert len(commands) >= 5
    for line in commands:
        # As written, with fewer clips.
        done = t2vdata(*shlex.split(line.replace("--n 40000", "--n 40 --val 4 --test 4"))[1:], cwd=tmp_path)
        assert done.returncode == 0, (line, done.stderr)
        num_clips = 48 if "mnist" in line else NUM_CLIPS[line.split()[2]]
        assert ("limited by" if " estimate " in line else f"{num_clips} clips in") in done.stdout, line


def test_no_file_names_a_machine_or_registry() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    names = listed.stdout.split() or [str(path.relative_to(ROOT)) for path in ROOT.rglob("*.md")]
    forbidden = re.compile(r"/root/|/work/|files\.pythonhosted|pypi\.org|/tmp/|farm-")
    for name in names:
        path = ROOT / name
        if path.suffix in (".py", ".md", ".toml", ".txt", "") and path.is_file() and name != "tests/test_docs.py":
            match = forbidden.search(path.read_text(errors="replace"))
            assert not match, f"{name}: {match and match.group()}"

"""The dataset card: text for people, and a header for Hugging Face."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from t2vdata.build.run import BuildResult
from t2vdata.format import card
from t2vdata.format.manifest import Manifest
from t2vdata.types import Tally

COMMAND = "t2vdata build mnist-motion --n 60"


def header_of(text: str) -> dict[str, Any]:
    _, header, _ = text.split("---\n", 2)
    return yaml.safe_load(header)


def test_the_card_is_in_the_dataset_with_its_picture(built: BuildResult) -> None:
    text = (Path(built.out) / "README.md").read_text()
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert pictures == [card.PICTURE]
    assert (Path(built.out) / card.PICTURE).read_bytes().startswith(b"\x89PNG")


def test_the_header_lists_every_shard_under_the_hubs_name_of_its_split(built: BuildResult) -> None:
    header = header_of(card.text(built.manifest, COMMAND))
    (config,) = header["configs"]
    expected = {
        {"val": "validation"}.get(split, split): [shard.name for shard in entry.shards]
        for split, entry in built.manifest.splits.items()
    }
    assert {entry["split"]: entry["path"] for entry in config["data_files"]} == expected
    assert len(expected["train"]) == 3
    assert header["license_name"] == built.manifest.licence
    assert header["pretty_name"] == "mnist-motion"


def test_the_card_has_counts_and_the_build_command(built: BuildResult) -> None:
    text = card.text(built.manifest, COMMAND)
    assert "| train | 60 | 3 |" in text
    assert f"```\n{COMMAND}\n```" in text
    assert built.manifest.fingerprint in text
    assert built.manifest.citation in text


def test_the_python_in_the_card_runs(built: BuildResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(built.out)
    (code,) = re.findall(r"```python\n(.*?)```", card.text(built.manifest, COMMAND), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["clip"].key == "train-00000000"


def test_a_licence_with_quotes_and_colons_is_still_yaml(built: BuildResult) -> None:
    odd: Manifest = dataclasses.replace(built.manifest, licence='CC BY: "by name" # 4.0')
    assert header_of(card.text(odd, COMMAND))["license_name"] == 'CC BY: "by name" # 4.0'


def test_without_clips_there_is_no_picture(built: BuildResult) -> None:
    splits = {name: dataclasses.replace(entry, shards=(), tally=Tally()) for name, entry in built.manifest.splits.items()}
    text = card.text(dataclasses.replace(built.manifest, splits=splits), COMMAND)
    assert card.PICTURE not in text
    assert "Of 0 clips" in text

"""`finish`: write what accompanies the finished shards: vocabulary, preview, card, and the manifest last."""

from __future__ import annotations

import hashlib
import logging
import platform
import shlex
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from t2vdata import datasets
from t2vdata.build.spec import BuildSpec
from t2vdata.datasets.media import MediaDataset
from t2vdata.format import card, manifest, tables
from t2vdata.format.dataset import Dataset
from t2vdata.format.manifest import FileEntry, Manifest, SplitEntry
from t2vdata.inspect import show
from t2vdata.media import encode
from t2vdata.storage import Folder
from t2vdata.text.vocabulary import Vocabulary

_log = logging.getLogger(__name__)

# Where a vocabulary goes that somebody has edited.
_EDITED_VOCABULARY = "vocabulary.edited.json"


def finish(
    out: Folder,
    spec: BuildSpec,
    spec_json: Mapping[str, Any],
    splits: Mapping[str, SplitEntry],
    table_files: tuple[FileEntry, ...],
    *,
    before: Manifest | None = None,
) -> tuple[Manifest, tuple[str, ...]]:
    """Turn a folder with finished shards and tables into a dataset; return its manifest, and the files kept as edited.

    ``spec_json`` is the spec as the manifest has it. ``before`` is the manifest of the dataset that is repaired or extended
    here: its users may have edited what is beside the shards, and that stays.
    """
    kept: list[str] = []
    dataset = datasets.load(spec.dataset)
    finished = Manifest(
        dataset=spec.dataset_name,
        fingerprint=manifest.fingerprint(spec_json),
        spec=spec_json,
        splits=splits,
        licence=dataset.LICENCE,
        citation=dataset.CITATION,
        built_with=_built_with(),
        files=table_files,
    )
    if "train" in splits:
        vocabulary = out.retry(lambda: Vocabulary.build(Dataset(out.url, finished)["train"])).to_bytes()
        if before is not None and _is_edited(out, vocabulary, before):
            out.write(_EDITED_VOCABULARY, out.read_bytes(manifest.VOCABULARY))
            kept.append(_EDITED_VOCABULARY)
        out.write(manifest.VOCABULARY, vocabulary)
        # All words of the training captions; ``t2vdata vocab`` makes others.
        finished = replace(finished, files=(*table_files, manifest.file_entry(out, manifest.VOCABULARY)))
    card_before = None if before is None else (before, _command(spec, before.spec))
    if not card.write(out, finished, _command(spec, spec_json), contents=_contents(out, spec, finished), before=card_before):
        kept.append(card.NAME)
    if finished.tally.kept:
        _write_preview(out, finished, is_first=before is None, kept=kept)
    manifest.write(out, finished)
    return finished, tuple(kept)


def _contents(out: Folder, spec: BuildSpec, finished: Manifest) -> card.Contents:
    # Of media files, clips differ in what is known of them: a start, a label.
    pixels = spec.encoding.extension if issubclass(datasets.load(spec.dataset), MediaDataset) else None
    is_pictures = finished.tally.kept > 0 and out.retry(lambda: tables.max_num_frames(out.url)) == 1
    return card.Contents(is_pictures, pixels)


def _is_edited(out: Folder, vocabulary: bytes, before: Manifest) -> bool:
    """Return whether vocabulary.json is neither the new one nor the one that the manifest before describes."""
    written = {file.sha256 for file in before.files if file.name == manifest.VOCABULARY}
    written.add(hashlib.sha256(vocabulary).hexdigest())
    return out.exists(manifest.VOCABULARY) and out.sha256(manifest.VOCABULARY) not in written


def _write_preview(out: Folder, finished: Manifest, *, is_first: bool, kept: list[str]) -> None:
    """Draw the first clips; a picture that is there already stays, since the first shards never change."""
    picture, missing = out.retry(lambda: show.preview(Dataset(out.url, finished)))
    if is_first or not out.exists(card.PICTURE):
        out.write(card.PICTURE, picture)
        if missing is not None:
            _log.warning("%s has %s: drawn as boxes; `t2vdata show` uses the fonts of the system", card.PICTURE, missing)
    elif out.read_bytes(card.PICTURE) != picture:
        kept.append(card.PICTURE)


def _command(spec: BuildSpec, spec_json: Mapping[str, Any]) -> str:
    """Return the command line that builds this dataset again."""
    words = ["t2vdata", "build", spec.dataset]
    if spec.name is not None:
        words += ["--name", spec.name]
    if spec.root is not None:
        words += ["--root", "RAW_FILES"]
    # Files by their names: their folder does not affect the dataset.
    packaged = datasets.load(spec.dataset).PACKAGED
    files = {
        name: value
        for name, value in spec.options.items()
        if value is not None and value is not False and name not in (*spec_json["options"], *packaged)
    }
    words += [word for name, path in files.items() for word in (f"--{name.replace('_', '-')}", Path(path).name)]
    defaults = datasets.option_values(datasets.load(spec.dataset).Options())
    for name, value in spec_json["options"].items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words += [f"--{flag}" if value else f"--no-{flag}"] if value != defaults.get(name, False) else []
        elif name == "n" or value != defaults.get(name):
            words += [f"--{flag}", str(value)]
    for flag, value, default in (("seed", spec.seed, 0), ("shard-size", spec.shard_size, 1000)):
        words += [f"--{flag}", str(value)] if value != default else []
    encoding = {key: value for key, value in spec_json["encoding"].items() if key in ("gop", "crf", "quality")}
    words += ["--encoding", spec.encoding.name] if spec.encoding != encode.Lossless() else []
    words += [word for key, value in encoding.items() for word in (f"--{key}", str(value))]
    # Clips whose files arrived later are in separate shards.
    return shlex.join(words) + (
        "\n# and once more, when other files were there, with --retry-failed" if manifest.APPENDED in spec_json else ""
    )


def _built_with() -> dict[str, str]:
    packages = ("t2vdata", "numpy", "zstandard", "av", "pyarrow", "orjson")
    versions = {package: metadata.version(package) for package in packages}
    return {"t2vdata": versions.pop("t2vdata"), "python": platform.python_version(), **versions}

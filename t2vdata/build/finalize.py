"""`finish`: write what accompanies the finished shards: vocabulary, preview, card, and the manifest last."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

from t2vdata import datasets
from t2vdata.build.spec import BuildSpec
from t2vdata.format import card, manifest
from t2vdata.format.dataset import Dataset
from t2vdata.format.manifest import FileEntry, Manifest, SplitEntry
from t2vdata.inspect import show
from t2vdata.media import encode
from t2vdata.storage import Folder
from t2vdata.text.vocabulary import Vocabulary


def finish(
    out: Folder, spec: BuildSpec, spec_json: Mapping[str, Any], splits: Mapping[str, SplitEntry], tables: tuple[FileEntry, ...]
) -> Manifest:
    """Turn a folder with finished shards and tables into a dataset; return its manifest.

    ``spec_json`` is the spec as the manifest has it.
    """
    dataset = datasets.load(spec.dataset)
    finished = Manifest(
        dataset=datasets.short_name(spec.dataset),
        fingerprint=manifest.fingerprint(spec_json),
        spec=spec_json,
        splits=splits,
        licence=dataset.LICENCE,
        citation=dataset.CITATION,
        built_with=_built_with(),
        files=tables,
    )
    if "train" in splits:
        vocabulary = out.retry(lambda: Vocabulary.build(Dataset(out.url, finished)["train"]))
        out.write(manifest.VOCABULARY, vocabulary.to_bytes())
        # All words of the training captions; ``t2vdata vocab`` makes others.
        finished = replace(finished, files=(*tables, manifest.file_entry(out, manifest.VOCABULARY)))
    if finished.tally.kept:
        out.retry(lambda: show.write_preview(Dataset(out.url, finished), out.join(card.PICTURE)))
    card.write(out, finished, _command(spec, spec_json))
    manifest.write(out, finished)
    return finished


def _command(spec: BuildSpec, spec_json: Mapping[str, Any]) -> str:
    """Return the command line that builds this dataset again."""
    words = ["t2vdata", "build", spec.dataset]
    if spec.root is not None:
        words += ["--root", "RAW_FILES"]
    # Files by their names: their folder does not affect the dataset.
    packaged = datasets.load(spec.dataset).PACKAGED
    files = {
        name: value
        for name, value in spec.options.items()
        if value is not None and name not in (*spec_json["options"], *packaged)
    }
    words += [word for name, path in files.items() for word in (f"--{name.replace('_', '-')}", Path(path).name)]
    defaults = datasets.option_values(datasets.load(spec.dataset).Options())
    for name, value in spec_json["options"].items():
        if name == "n" or value != defaults.get(name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    for flag, value, default in (("seed", spec.seed, 0), ("shard-size", spec.shard_size, 1000)):
        words += [f"--{flag}", str(value)] if value != default else []
    encoding = {key: value for key, value in spec_json["encoding"].items() if key in ("gop", "crf", "quality")}
    words += ["--encoding", spec.encoding.name] if spec.encoding != encode.Lossless() else []
    words += [f"--{key} {value}" for key, value in encoding.items()]
    # Clips whose files arrived later are in separate shards.
    return " ".join(words) + (
        "\n# and once more, when other files were there, with --retry-failed" if manifest.APPENDED in spec_json else ""
    )


def _built_with() -> dict[str, str]:
    packages = ("t2vdata", "numpy", "zstandard", "av", "pyarrow", "orjson")
    versions = {package: metadata.version(package) for package in packages}
    return {"t2vdata": versions.pop("t2vdata"), "python": platform.python_version(), **versions}

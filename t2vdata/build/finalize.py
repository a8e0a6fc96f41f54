"""What stands beside the shards when all of them are whole: vocabulary, picture, card, and the manifest last."""

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
    out: Folder, spec: BuildSpec, written: Mapping[str, Any], splits: Mapping[str, SplitEntry], tables: tuple[FileEntry, ...]
) -> Manifest:
    """Make the folder a dataset, with the shards of ``splits`` and the tables in it; return its manifest.

    ``written`` is the spec as the manifest tells it.
    """
    dataset = datasets.load(spec.dataset)
    whole = Manifest(
        dataset=datasets.short_name(spec.dataset),
        fingerprint=manifest.fingerprint(written),
        spec=written,
        splits=splits,
        licence=dataset.LICENCE,
        citation=dataset.CITATION,
        built_with=_built_with(),
        files=tables,
    )
    if "train" in splits:
        vocabulary = out.retry(lambda: Vocabulary.build(Dataset(out.url, whole)["train"]))
        out.write(manifest.VOCABULARY, vocabulary.to_bytes())
        # With all words of the training captions; ``t2vdata vocab`` makes others.
        whole = replace(whole, files=(*tables, manifest.file_entry(out, manifest.VOCABULARY)))
    if whole.tally.kept:
        out.retry(lambda: show.write_preview(Dataset(out.url, whole), out.join(card.PICTURE)))
    card.write(out, whole, _command(spec, written))
    manifest.write(out, whole)
    return whole


def _command(spec: BuildSpec, wanted: Mapping[str, Any]) -> str:
    """Return the command line that gives this dataset again."""
    words = ["t2vdata", "build", spec.dataset]
    if spec.root is not None:
        words += ["--root", "RAW_FILES"]
    # Files by their names alone: where they lie is not what a build is.
    packaged = getattr(datasets.load(spec.dataset), "PACKAGED", ())
    files = {
        name: value for name, value in spec.options.items() if value is not None and name not in (*wanted["options"], *packaged)
    }
    words += [word for name, path in files.items() for word in (f"--{name.replace('_', '-')}", Path(path).name)]
    defaults = datasets.option_values(datasets.load(spec.dataset).Options())
    for name, value in wanted["options"].items():
        if name == "n" or value != defaults.get(name):
            words += [f"--{name.replace('_', '-')}", str(value)]
    for flag, value, default in (("seed", spec.seed, 0), ("shard-size", spec.shard_size, 1000)):
        words += [f"--{flag}", str(value)] if value != default else []
    encoding = {key: value for key, value in wanted["encoding"].items() if key in ("gop", "crf", "quality")}
    words += ["--encoding", spec.encoding.name] if spec.encoding != encode.Lossless() else []
    words += [f"--{key} {value}" for key, value in encoding.items()]
    # Clips whose files came later are in shards of their own.
    return " ".join(words) + (
        "\n# and once more, when other files were there, with --retry-failed" if manifest.APPENDED in wanted else ""
    )


def _built_with() -> dict[str, str]:
    packages = ("t2vdata", "numpy", "zstandard", "av", "pyarrow", "orjson")
    versions = {package: metadata.version(package) for package in packages}
    return {"t2vdata": versions.pop("t2vdata"), "python": platform.python_version(), **versions}

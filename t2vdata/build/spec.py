"""`BuildSpec`: everything that determines the bytes of a built dataset."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from t2vdata import datasets
from t2vdata.datasets import Dataset
from t2vdata.errors import RawDataError, RequestError
from t2vdata.media import encode

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True)
class BuildSpec:
    """What to build. Equal specs give the same bytes, on any machine and with any number of workers."""

    dataset: str
    """A name from ``t2vdata datasets``, or the dotted path of your own module."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Values for fields of the dataset's Options."""
    seed: int = 0
    encoding: encode.Encoding = field(default_factory=encode.Lossless)
    shard_size: int = 1000
    """Maximum number of samples in a shard."""
    root: str | None = None
    """Folder or URL of the raw files, for datasets that read raw files."""
    name: str | None = None
    """What to call the dataset that is built; default: the name of ``dataset``, without the path of a module."""

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 63:
            raise RequestError(f"--seed {self.seed}: expected 0 to 2**63 - 1")
        if self.shard_size < 1:
            raise RequestError(f"--shard-size {self.shard_size}: expected 1 sample or more")
        if self.name is not None and not _NAME.fullmatch(self.name):
            raise RequestError(f"--name {self.name!r}: expected 1 to 64 of a-z A-Z 0-9 _ -, and no - or _ at its start")

    @property
    def dataset_name(self) -> str:
        """The name in the manifest, on the card, and at the start of every shard's name."""
        return self.name or datasets.short_name(self.dataset)

    @functools.cached_property
    def resolved(self) -> Any:
        """The dataset's Options, validated. Raises RequestError for an invalid option."""
        return datasets.make_options(self.dataset, self.options)

    def open(self) -> Dataset:
        """Open the dataset; no other code of a build does. Every call gives a new object, which lists its root again."""
        return datasets.load(self.dataset)(self.root, self.resolved, self.seed)

    def as_json(self, dataset: Dataset | None = None) -> dict[str, Any]:
        """Return everything that affects the bytes, as JSON values: hashes of the raw data, but no local paths.

        Pass the ``dataset`` if it is open already; otherwise it is opened for its hashes.
        """
        dataset = dataset or self.open()
        return {
            "dataset": self.dataset_name,
            **({} if self.name is None else {"built_as": datasets.short_name(self.dataset)}),
            "version": dataset.VERSION,
            "seed": self.seed,
            "options": datasets.option_values(self.resolved),
            "source": dataset.source(),
            "encoding": self.encoding.identity(),
            "shard_size": self.shard_size,
        }


def default_folder(spec: BuildSpec) -> str:
    """Return the default output folder: data/NAME."""
    return os.path.join("data", spec.dataset_name)


def check_can_build(spec: BuildSpec, dataset: Dataset) -> None:
    """Raise RawDataError when raw files are missing, RequestError when the encoding cannot hold the clips."""
    why = dataset.why_not_encoding(spec.encoding.name)
    if why is not None:
        raise RequestError(why)
    why = dataset.missing()
    if why is not None:
        raise RawDataError(f"{spec.dataset}: {why}")
    size = dataset.frame_size()
    if size is not None:
        spec.encoding.check(*size)

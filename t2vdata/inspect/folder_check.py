"""Check what a dataset folder has beside its shards: the manifest's totals, the tables, the vocabulary, and other files."""

from __future__ import annotations

from collections.abc import Iterator

from t2vdata import storage
from t2vdata.errors import DataError, RequestError, StorageError
from t2vdata.format import manifest, schema, tables
from t2vdata.format.dataset import Dataset
from t2vdata.format.manifest import MANIFEST, VOCABULARY, Manifest
from t2vdata.inspect.problems import Problem
from t2vdata.inspect.shard_check import CHANGED, MISSING
from t2vdata.text.vocabulary import Vocabulary
from t2vdata.types import Reject, Tally


def check(path: str, dataset: Manifest) -> list[Problem]:
    """Return the problems of a folder."""
    problems = [*_check_files(path, dataset), *_check_totals(path, dataset), *_check_extra_shards(path, dataset)]
    bad_files = {problem.file for problem in problems}
    if tables.REJECTS not in bad_files:
        problems += _check_rejects(path, dataset)
    if VOCABULARY not in bad_files and any(file.name == VOCABULARY for file in dataset.files):
        problems += _check_vocabulary(path, dataset)
    return problems


def check_words(path: str, dataset: Manifest) -> list[Problem]:
    """Count the words of the training captions again and compare them with the vocabulary; the index has to be sound."""
    if "train" not in dataset.splits or all(file.name != VOCABULARY for file in dataset.files):
        return []
    vocabulary = Vocabulary.load(storage.join(path, VOCABULARY))
    counted = Vocabulary.build(Dataset(path, dataset)["train"], tokenizer=vocabulary.tokenizer)
    is_same = (counted.words, counted.counts) == (vocabulary.words, vocabulary.counts)
    return [] if is_same else [Problem(VOCABULARY, "its words or counts are not those of the training captions")]


def _check_files(path: str, dataset: Manifest) -> Iterator[Problem]:
    names = {file.name for file in dataset.files}
    for name in (tables.INDEX, tables.REJECTS):
        if name not in names:
            yield Problem(MANIFEST, f"lists no {name}")
    for file in dataset.files:
        try:
            text = _why_changed(storage.join(path, file.name), file)
        except StorageError as error:
            text = f"cannot be read: {error}"
        if text is not None:
            yield Problem(file.name, text)


def _why_changed(path: str, file: manifest.FileEntry) -> str | None:
    """Return what is wrong with a file, comparing its size before it is read."""
    storage.check_regular(path)
    num_bytes = storage.size(path)
    if num_bytes is None:
        return MISSING
    if num_bytes != file.num_bytes:
        return f"has {num_bytes} bytes, expected {file.num_bytes}; remove it and run the build command again"
    return None if storage.sha256(path) == file.sha256 else CHANGED


def _check_totals(path: str, dataset: Manifest) -> Iterator[Problem]:
    """Compare the sums that the manifest states with what they are sums of."""
    body = schema.parse(storage.read_bytes(storage.join(path, MANIFEST), max_bytes=manifest.MAX_BYTES))
    for name, split in dataset.splits.items():
        stated = body["splits"][name]["samples"]
        if not stated == split.num_samples == split.tally.kept:
            text = f"split {schema.shown(name)} has {split.num_samples} samples in its shards, {stated} in samples and "
            yield Problem(MANIFEST, f"{text}{split.tally.kept} in tally.kept; expected the same number")
    stated_tally = Tally(body["tally"]["kept"], body["tally"]["rejected"], body["tally"]["failed"])
    if stated_tally != dataset.tally:
        for field, stated, summed in manifest.spec_differences(stated_tally.as_json(), dataset.tally.as_json(), "tally"):
            yield Problem(MANIFEST, f"{field} is {stated}; its splits add up to {summed}")


def _check_extra_shards(path: str, dataset: Manifest) -> Iterator[Problem]:
    known = {shard.name for _, shard in dataset.shards()}
    for name in storage.list_names(path):
        if name.endswith(".tar") and name not in known:
            yield Problem(name, "is not in the manifest, but readers of *.tar would read it; move it out of the folder")


def _check_rejects(path: str, dataset: Manifest) -> Iterator[Problem]:
    most = dataset.tally.num_rejected + dataset.tally.num_failed
    try:
        rejects = tables.read_rejects(path, max_rows=most)
    except (DataError, StorageError) as error:
        yield Problem(tables.REJECTS, str(error))
        return
    by_split: dict[str, list[Reject]] = {split: [] for split in dataset.splits}
    for reject in rejects:
        by_split.setdefault(reject.split, []).append(reject)
    for split, own_rejects in by_split.items():
        entry = dataset.splits.get(split)
        expected = Tally() if entry is None else Tally(0, entry.tally.rejected, entry.tally.failed)
        for field, counted, stated in manifest.spec_differences(
            Tally.of(0, own_rejects).as_json(), expected.as_json(), f"splits[{schema.shown(split)}].tally"
        ):
            yield Problem(tables.REJECTS, f"it has {counted} rows of {field}; the manifest says {stated}")


def check_index_shards(path: str, dataset: Manifest) -> Iterator[Problem]:
    num_shards = sum(len(split.shards) for split in dataset.splits.values())
    try:
        num_groups = tables.num_index_shards(path)
    except (DataError, StorageError) as error:
        yield Problem(tables.INDEX, str(error))
        return
    if num_groups > num_shards:
        yield Problem(tables.INDEX, "has rows of shards that are not in the manifest")


def _check_vocabulary(path: str, dataset: Manifest) -> Iterator[Problem]:
    try:
        Vocabulary.load(storage.join(path, VOCABULARY), fingerprint=dataset.fingerprint)
    except (DataError, RequestError, StorageError) as error:
        yield Problem(VOCABULARY, str(error))

"""Datasets that nobody would build: every field of every file wrong in every way, and the commands that meet them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import t2vdata
from t2vdata.errors import T2VError
from t2vdata.format import manifest
from t2vdata.format.shards import ShardWriter, read_samples
from t2vdata.inspect import duplicates, show, stats
from t2vdata.inspect.diff import diff
from t2vdata.inspect.verify import verify
from t2vdata.loading import LoadSpec, loader
from t2vdata.text.vocabulary import Vocabulary
from t2vdata.types import Sample

SHARD = "mnist-motion-train-000000.tar"

# What may stand in place of any value.
VALUES: tuple[Any, ...] = (
    None, True, "12", "", "x" * 100_000, "../../outside", "/etc/passwd", "a\x1b[31mb\0c", "\ud800", -1, 0, 1.5, 1e400, 1 << 31,
    1 << 70, [], [[]], {}, {"a": {"b": []}}, ["x", None],
)  # fmt: skip


def sealed(body: Any) -> bytes:
    """Return a manifest whose hash is right."""
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name != "sha256"}
        try:
            body["sha256"] = manifest.fingerprint(body)
        except UnicodeEncodeError:
            body["sha256"] = "0" * 64
    return json.dumps(body).encode()


def seal(folder: Path, *names: str, body: dict[str, Any] | None = None) -> None:
    """Make the manifest agree with files that were changed, as one who forges a dataset would."""
    body = json.loads((folder / "manifest.json").read_bytes()) if body is None else body
    for entry in [*body["files"], *(shard for split in body["splits"].values() for shard in split["shards"])]:
        if entry["name"] in names:
            data = (folder / entry["name"]).read_bytes()
            entry |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "manifest.json").write_bytes(sealed(body))


def variants(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield (path, copy of a JSON value with another value there, or nothing) for each path and each of VALUES.

    The elements of a list are alike: its first stands for all.
    """
    for name in value if isinstance(value, dict) else range(min(1, len(value))) if isinstance(value, list) else ():
        own = (*path, name)
        without = {key: item for key, item in value.items() if key != name} if isinstance(value, dict) else None
        if without is not None:
            yield (*own, "missing"), without
        for other in VALUES:
            yield (*own, type(other).__name__), _replaced(value, name, other)
        for inner_path, inner in variants(value[name], own):
            yield inner_path, _replaced(value, name, inner)


def _replaced(value: Any, name: Any, other: Any) -> Any:
    copy = value.copy()
    copy[name] = other
    return copy


def rewrite_index(folder: Path, change: Callable[[Any], Any], *, every: bool = False) -> None:
    """Change the first row group of the index, or every one, and seal the folder."""
    path = folder / "index.parquet"
    file = pq.ParquetFile(path)
    groups = [file.read_row_group(group) for group in range(file.num_row_groups)]
    groups[: None if every else 1] = map(change, groups[: None if every else 1])
    with pq.ParquetWriter(path, groups[0].schema, store_schema=False) as writer:
        for table in groups:
            writer.write_table(table, row_group_size=max(1, len(table)))
    seal(folder, "index.parquet")


def rewrite_sample(folder: Path, change: dict[str, bytes]) -> None:
    """Replace members of the first training sample, in shard, index and manifest, so that only their content is odd."""
    with (folder / SHARD).open("rb") as file:
        samples = [sample for sample, _ in read_samples(file)]
    samples[0] = Sample(samples[0].key, {**samples[0].files, **change})
    members = []
    with (folder / SHARD).open("wb") as file:
        writer = ShardWriter(file)
        members = [writer.add(sample) for sample in samples]
        writer.close()

    def moved(rows: Any) -> Any:
        columns = rows.to_pydict()
        for index, own in enumerate(members):
            digest = hashlib.sha256(b"".join(samples[index].files[name] for name in sorted(samples[index].files)))
            columns["sha256"][index] = digest.hexdigest()
            for member in own:
                role = member.name.partition(".")[2]
                role = role if role in ("txt", "json") else "pixels"
                columns[f"{role}_offset"][index], columns[f"{role}_size"][index] = member.offset, member.size
        return type(rows).from_pydict(columns, schema=rows.schema)

    seal(folder, SHARD)
    rewrite_index(folder, moved)


def first_batch(folder: Path) -> None:
    split = t2vdata.open_dataset(folder)["train"]
    with loader(split, LoadSpec(batch_size=2, num_frames=4, resize=(16, 16), channels=1, crop=16), seed=0) as reading:
        next(iter(reading))


def drawn(folder: Path) -> None:
    dataset = t2vdata.open_dataset(folder)
    show.contact_sheet(show.choose(dataset))


# What a user does with a folder.
VERBS: dict[str, Callable[[Path], object]] = {
    "item": lambda folder: t2vdata.open_dataset(folder)["train"][0],
    "index": lambda folder: t2vdata.open_dataset(folder).index,
    "loader": first_batch,
    "show": drawn,
    "stats": lambda folder: stats.compute(str(folder)),
    "verify": lambda folder: verify(str(folder)),
    "verify deep": lambda folder: verify(str(folder), deep=True),
    "diff": lambda folder: diff(t2vdata.open_dataset(folder), t2vdata.open_dataset(folder)),
    "duplicates": lambda folder: duplicates.find(str(folder)),
    "vocab": lambda folder: Vocabulary.build(t2vdata.open_dataset(folder)["train"]),
}


def outcomes(folder: Path, *verbs: str) -> dict[str, str]:
    """Return {verb: the line that it ends with, or ""}. Any exception but a T2VError of one short line is a failure."""
    lines = {}
    for verb in verbs or VERBS:
        try:
            VERBS[verb](folder)
        except T2VError as error:
            lines[verb] = str(error)
            assert "\n" not in lines[verb], lines[verb]
            assert len(lines[verb]) < 1000, lines[verb]
        else:
            lines[verb] = ""
    return lines

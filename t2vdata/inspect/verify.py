"""Check a dataset against its manifest: hashes, sizes, offsets and counts; with ``deep``, decode every clip."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from t2vdata.engines import local
from t2vdata.errors import DataError
from t2vdata.format import manifest, tables
from t2vdata.format.manifest import ShardEntry
from t2vdata.inspect import folder_check
from t2vdata.inspect.problems import Problem
from t2vdata.inspect.shard_check import ShardCheck, ShardResult, check_shard

__all__ = ["Problem", "VerifyReport", "check_shard", "verify"]


@dataclass(frozen=True)
class VerifyReport:
    """The result of a check."""

    problems: tuple[Problem, ...]
    num_shards: int
    num_samples: int
    """Samples read from the shards."""
    num_bytes: int
    deep: bool

    @property
    def is_sound(self) -> bool:
        return not self.problems


def verify(
    path: str, *, deep: bool = False, num_workers: int = 1, on_progress: Callable[[int, int], None] = lambda done, total: None
) -> VerifyReport:
    """Check a dataset folder. ``deep`` also decodes every clip and compares it with its row in the index.

    ``on_progress`` is called with the number of checked shards and their total. Raises NotADatasetError if there is no
    readable manifest; whatever else cannot be read is a problem.
    """
    dataset = manifest.read(path)
    problems = folder_check.check(path, dataset)
    shards = list(dataset.shards())
    results: list[ShardResult] = []
    checks = _checks(path, shards, problems)
    for result in local.run(functools.partial(check_shard, path, deep), checks, num_workers=num_workers):
        results.append(result)
        on_progress(len(results), len(shards))
    if not any(problem.file == tables.INDEX for problem in problems):
        problems += folder_check.check_index_shards(path, dataset)
    if deep and not {tables.INDEX, manifest.VOCABULARY} & {problem.file for problem in problems}:
        problems += folder_check.check_words(path, dataset)
    problems += sorted((problem for result in results for problem in result.problems), key=lambda problem: problem.file)
    num_samples, num_bytes = sum(result.num_samples for result in results), sum(result.num_bytes for result in results)
    return VerifyReport(tuple(problems), len(shards), num_samples, num_bytes, deep)


def _checks(path: str, shards: list[tuple[str, ShardEntry]], problems: list[Problem]) -> Iterator[ShardCheck]:
    """Yield the check of each shard with its rows; add problems of the index to ``problems``."""
    # A changed index has been reported already, by its hash. Its rows do not matter then: shards have their own hashes.
    is_changed = any(problem.file == tables.INDEX for problem in problems)
    entries = [entry for _, entry in shards]
    by_shard = iter(()) if is_changed else tables.read_index_by_shard(path, entries)
    keys = _Keys()
    for split, entry in shards:
        rows = None
        try:
            answer = next(by_shard, None)
        except (DataError, OSError) as error:
            answer, by_shard = None, iter(())
            problems.append(Problem(tables.INDEX, str(error)))
        if isinstance(answer, DataError):
            problems.append(Problem(tables.INDEX, str(answer)))
        elif answer is not None:
            rows = answer
            problems += [Problem(tables.INDEX, text) for text in keys.add(entry, [row["key"] for row in rows])]
        yield ShardCheck(entry, split, rows)


class _Keys:
    """The keys of all samples so far, as hashes: 64 bytes each."""

    def __init__(self) -> None:
        self._hashes: set[int] = set()

    def add(self, entry: ShardEntry, keys: list[str]) -> Iterator[str]:
        """Add the keys of a shard; yield a text for each that exists already."""
        for key in keys:
            if hash(key) in self._hashes:
                yield f"the key {key}, in {entry.name}, exists twice"
            self._hashes.add(hash(key))

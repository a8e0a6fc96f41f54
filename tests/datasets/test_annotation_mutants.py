"""Damaged annotations of every dataset: one line that says what is wrong, or a plan in which every row is counted."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import layouts
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from t2vdata.build import planning
from t2vdata.build.run import BuildSpec
from t2vdata.errors import RequestError

NUM_MUTANTS = 12
NUM_CAMPAIGN_MUTANTS = 100

# What may stand where a text, a number or a list is expected.
WRONG_VALUES: list[Any] = [
    None, True, 0, -1, 1 << 70, 1.5, float("nan"), float("inf"), "", "x", "\ud800", "\0", "9" * 30, "1e400", [], {}, [[]],
    [None], [1, 2, 3], {"a": {}}, {"bytes": 1, "path": []},
]  # fmt: skip
INSERTED = [b'"', b"\0", b"\xff\xfe", b",", b"\n", b"\r", b"[" * 9, b"{", "\u2028".encode(), b"\\ud800", b"9" * 5000]


def kinetics_json(folder: Path) -> layouts.Layout:
    """Kinetics with the JSON of DeepMind's archive."""
    layout = layouts.kinetics(folder)
    entries = {
        video: {"annotations": {"label": "sailing", "segment": [10.0, 20.0]}, "duration": 10.0, "subset": "train", "url": "u"}
        for video in ("-olfgolfgo0", "_ailsailsa0")
    }
    (folder / "annotations" / "train.csv").unlink()
    (folder / "annotations" / "train.json").write_text(json.dumps(entries))
    return layout


def msvd_json(folder: Path) -> layouts.Layout:
    """MSVD with the annotations of MLDS."""
    layout = layouts.msvd(folder)
    (folder / "video_corpus.csv").unlink()
    for name in ("training", "testing"):
        items = [{"caption": ["a dog runs", "it eats"], "id": f"-4wsuPCjDBc_{start}_{start + 10}.avi"} for start in (0, 5)]
        (folder / f"{name}_label.json").write_text(json.dumps(items))
    return layout


ROWS = [
    {"path": "clip 0.mp4", "caption": "a cat", "start": 0.0, "end": 1.0, "label": "cat", "split": "train"},
    {"path": "clip 1.mp4", "caption": "a dog", "start": None, "end": None, "label": "dog", "split": None},
    {"path": "lost.mp4", "caption": "nothing", "start": 2.0, "end": 3.5, "label": None, "split": "val"},
]


def table(ending: str) -> Callable[[Path], layouts.Layout]:
    """Return a layout with a table of that format."""

    def make(folder: Path) -> layouts.Layout:
        layouts.table(folder)
        path = folder / f"clips.{ending}"
        if ending == "jsonl":
            path.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
        elif ending == "json":
            path.write_text(json.dumps(ROWS))
        elif ending == "parquet":
            pq.write_table(pa.Table.from_pylist(ROWS * 50), path, compression="zstd")
        elif ending == "feather":
            pyarrow.feather.write_feather(pa.Table.from_pylist(ROWS * 50), str(path), compression="uncompressed")
        else:
            separator = "\t" if ending == "tsv" else ","
            lines = [ROWS[0].keys(), *(["" if value is None else str(value) for value in row.values()] for row in ROWS)]
            path.write_text("".join(f"{separator.join(line)}\n" for line in lines))
        return layouts.Layout(None, {"table": path, "size": 16})

    return make


# {name: (dataset, layout, files to damage)}
CASES: dict[str, tuple[str, Callable[[Path], layouts.Layout], tuple[str, ...]]] = {
    "kinetics": ("kinetics", layouts.kinetics, ("annotations/train.csv", "annotations/val.csv")),
    "kinetics-json": ("kinetics", kinetics_json, ("annotations/train.json",)),
    "moments": ("moments", layouts.moments, ("trainingSet.csv", "validationSet.csv", "moments_categories.txt")),
    "msvd": ("msvd", layouts.msvd, ("video_corpus.csv",)),
    "msvd-json": ("msvd", msvd_json, ("training_label.json", "testing_label.json")),
    "visdial-coco": (
        "visdial-coco",
        layouts.visdial_coco,
        ("annotations/captions_train2014.json", "visdial_0.9_train.json", "annotations/captions_val2014.json"),
    ),
    **{
        f"table-{ending}": ("table", table(ending), (f"clips.{ending}",))
        for ending in ("csv", "tsv", "jsonl", "json", "parquet", "feather")
    },
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, layouts.Layout, list[Path]]:
    """A dataset with sound annotations; tests replace one file at a time."""
    name, make, files = CASES[request.param]
    folder = tmp_path_factory.mktemp(request.param) / "root"
    layout = make(folder)
    return name, layout, [folder / file for file in files]


def check_plan(name: str, layout: layouts.Layout) -> None:
    """Plan a build; its rows are all counted, or it is refused in one line."""
    spec = BuildSpec(name, layout.options, root=None if layout.root is None else str(layout.root))
    try:
        dataset = spec.open()
        if (why := dataset.missing()) is not None:
            assert "\n" not in why
            return
        dataset.source()
        splits = planning.splits(dataset)
        plans = list(planning.plan_shards(spec, splits, dataset.clip_filters()))
    except RequestError as error:
        assert_one_line(error)
        return
    kept = [clip for plan in plans for clip in plan.clips]
    rejects = [reject for plan in plans for reject in plan.rejects]
    assert len(kept) + len(rejects) == sum(len(clips) for _, clips in splits)
    json.dumps([[clip.captions, dict(clip.meta)] for clip in kept], ensure_ascii=False).encode()
    json.dumps([[reject.key, reject.reason, reject.message] for reject in rejects], ensure_ascii=False).encode()


def assert_one_line(error: RequestError) -> None:
    assert "\n" not in str(error)
    str(error).encode()


def damaged(data: bytes, seed: int) -> bytes:
    """Return bytes with flips, a cut, a repeated or a removed piece, or bytes of another encoding."""
    rng = random.Random(seed)
    result = bytearray(data)
    match seed % 5:
        case 0:
            for _ in range(rng.choice([1, 4, 32])):
                result[rng.randrange(len(result))] ^= 1 << rng.randrange(8)
        case 1:
            del result[rng.randrange(len(result)) :]
        case 2:
            start = rng.randrange(len(result))
            del result[start : start + rng.randrange(1, 40)]
        case 3:
            start = rng.randrange(len(result))
            result[start:start] = rng.choice(INSERTED)
        case _:
            start, end = sorted(rng.randrange(len(result)) for _ in range(2))
            result[start:start] = result[start:end] * rng.choice([1, 3])
    return bytes(result)


def wrong_values(value: Any) -> Iterator[Callable[[Any], None]]:
    """Yield a change for each place below a JSON value: it puts another value there."""
    items = enumerate(value) if isinstance(value, list) else value.items() if isinstance(value, dict) else ()
    for index, item in items:
        yield lambda other, index=index: value.__setitem__(index, other)
        yield from wrong_values(item)


def check_mutants(case: tuple[str, layouts.Layout, list[Path]], seeds: range) -> None:
    name, layout, paths = case
    for path in paths:
        data = path.read_bytes()
        try:
            for seed in seeds:
                path.write_bytes(damaged(data, seed))
                try:
                    check_plan(name, layout)
                except Exception as error:
                    error.add_note(f"seed {seed} of {path.name}")
                    raise
            for content in wrong_contents(path, data, seeds):
                path.write_text(content)
                try:
                    check_plan(name, layout)
                except Exception as error:
                    error.add_note(f"{path.name}: {content[:2000]}")
                    raise
        finally:
            path.write_bytes(data)


def wrong_contents(path: Path, data: bytes, seeds: range) -> Iterator[str]:
    """Yield a JSON file with a wrong value at one of its places, or with one value only."""
    if path.suffix not in (".json", ".jsonl"):
        return
    text = data.decode()
    value = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
    num_places = sum(1 for _ in wrong_values(value))
    for seed in seeds:
        rng = random.Random(seed)
        changed = json.loads(json.dumps(value))
        list(wrong_values(changed))[rng.randrange(num_places)](rng.choice(WRONG_VALUES))
        yield json.dumps(changed) if path.suffix == ".json" else "".join(f"{json.dumps(row)}\n" for row in changed)
    for wrong in WRONG_VALUES:
        yield json.dumps(wrong)


def test_damaged_annotations_are_counted_or_refused_in_one_line(case: tuple[str, layouts.Layout, list[Path]]) -> None:
    check_plan(*case[:2])
    check_mutants(case, range(NUM_MUTANTS))


@pytest.mark.long
@pytest.mark.campaign
def test_a_campaign_of_damaged_annotations(case: tuple[str, layouts.Layout, list[Path]]) -> None:
    check_mutants(case, range(1000, 1000 + NUM_CAMPAIGN_MUTANTS))

"""Damaged videos of many kinds, through a build: each is kept, rejected or failed, and the same again in another build."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from media import numbered_files

from t2vdata.build.run import BuildResult, BuildSpec, build_dataset
from t2vdata.format import tables
from t2vdata.media.encode import encoding

SPANS = (("", ""), ("0.5", "1.1"), ("1.3", ""), ("0", "0.2"))
OPTIONS = ({"fps": 10.0, "frames": 4}, {"frames": 6, "skip_damage": True}, {"min_seconds": 0.3, "fps": 25.0})


def mutated(data: bytes, draws: random.Random) -> bytes:
    """Return the data with bytes changed, a stretch overwritten, lost or repeated, or the end missing."""
    changed = bytearray(data)
    position = draws.randrange(len(changed))
    stretch = slice(position, position + draws.choice((1, 8, 188, 1000)))
    match draws.randrange(6):
        case 0 | 1:
            for _ in range(draws.choice((1, 3, 20))):
                changed[draws.randrange(min(len(changed), draws.choice((200, 2000, len(changed)))))] = draws.randrange(256)
        case 2:
            changed[stretch] = bytes(len(changed[stretch]))
        case 3:
            del changed[stretch]
        case 4:
            changed[stretch] = changed[stretch] * 2
        case 5:
            del changed[position:]
    return bytes(changed)


def build(folder: Path, out: Path, options: dict[str, object], *, num_workers: int) -> BuildResult:
    values = {"table": folder / "clips.csv", "size": 16, "val_share": 0.0, "test_share": 0.0, "timeout": 30.0, **options}
    spec = BuildSpec("table", values, encoding=encoding("lossless"), shard_size=100)
    return build_dataset(spec, out, num_workers=num_workers, max_failures=1)


def check(folder: Path, options: dict[str, object], seeds: range) -> None:
    kinds, rows = list(numbered_files.KINDS), []
    for seed in seeds:
        draws = random.Random(seed)
        name = kinds[seed % len(kinds)]
        (folder / f"{seed}.video").write_bytes(mutated(numbered_files.make(name), draws))
        start, end = draws.choice(SPANS)
        rows.append(f"{seed}.video,{name},m{seed},{start},{end}")
    # Sound files between the damaged ones: damage must not reach them.
    (folder / "sound.mp4").write_bytes(numbered_files.make("open"))
    rows += [f"sound.mp4,x,s{number},{0.04 * number:g},{0.04 * number + 0.8:g}" for number in range(0, 40, 9)]
    random.Random(len(rows)).shuffle(rows)
    (folder / "clips.csv").write_text("path,caption,key,start,end\n" + "\n".join(rows))
    first, second = (build(folder, folder / f"{num_workers}", options, num_workers=num_workers) for num_workers in (1, 2))
    assert first.manifest.tally.seen == len(rows)
    assert first.manifest.fingerprint == second.manifest.fingerprint
    rejects = [[(reject.key, reject.reason) for reject in tables.read_rejects(result.out)] for result in (first, second)]
    assert rejects[0] == rejects[1]
    assert not any(key.startswith("s") for key, _ in rejects[0])
    shards = [{path.name: path.read_bytes() for path in Path(result.out).glob("*.tar")} for result in (first, second)]
    assert shards[0] == shards[1]


@pytest.mark.long
def test_damaged_videos_have_the_same_outcome_twice(tmp_path: Path) -> None:
    check(tmp_path, OPTIONS[1], range(24))


@pytest.mark.long
@pytest.mark.campaign
@pytest.mark.parametrize("options", OPTIONS, ids=["fps", "skip_damage", "min_seconds"])
def test_a_thousand_damaged_videos_have_the_same_outcome_twice(options: dict[str, object], tmp_path: Path) -> None:
    check(tmp_path, options, range(1000, 2000))

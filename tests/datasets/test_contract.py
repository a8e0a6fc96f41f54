"""What every dataset promises, on a tiny raw folder in its official layout."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from layouts import LAYOUTS, Layout
from PIL import Image
from support import hashes

from t2vdata import datasets
from t2vdata.build.run import BuildResult, BuildSpec, build_dataset
from t2vdata.errors import RawDataError
from t2vdata.estimate.dry_run import NUM_SAMPLED, dry_run
from t2vdata.format import tables
from t2vdata.format.dataset import open_dataset
from t2vdata.format.shards import read_samples
from t2vdata.inspect import show, stats
from t2vdata.inspect.verify import verify
from t2vdata.loading import Loader, LoadSpec
from t2vdata.media.encode import encoding
from t2vdata.types import Clip, check_key

# What the JSON of a clip has of its row, beside where that row is.
FROM_ANNOTATIONS = {
    "kinetics": {"label", "video", "segment"},
    "moments": {"label", "label_id", "positive_responses", "negative_responses"},
    "msvd": {"video", "segment", "rows"},
    "table": set[str](),
    "visdial-coco": {"image_id", "caption_ids", "dialogue", "dialogue_text", "visdial_caption"},
}


@pytest.fixture(scope="module", params=sorted(LAYOUTS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def layout(name: str, tmp_path_factory: pytest.TempPathFactory) -> Layout:
    return LAYOUTS[name](tmp_path_factory.mktemp(name) / "raw")


@pytest.fixture(scope="module")
def result(name: str, layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> BuildResult:
    return build(name, layout, tmp_path_factory.mktemp(f"built-{name}") / "out")


def spec(name: str, layout: Layout, **change: object) -> BuildSpec:
    root = None if layout.root is None else str(layout.root)
    return BuildSpec(name, {**layout.options, **change}, root=root, encoding=encoding("jpeg"), shard_size=2)


def build(name: str, layout: Layout, out: Path, num_workers: int = 1) -> BuildResult:
    return build_dataset(spec(name, layout), out, num_workers=num_workers, max_failures=1)


def clips(name: str, layout: Layout) -> dict[str, list[Clip]]:
    dataset = spec(name, layout).open()
    return {split: list(dataset.clips(split)) for split in dataset.SPLITS}


def test_every_dataset_has_a_layout() -> None:
    assert sorted(LAYOUTS) == datasets.names()
    assert len(LAYOUTS) == 6


def test_keys_are_legal_and_none_occurs_twice(name: str, layout: Layout) -> None:
    keys = [clip.key for split_clips in clips(name, layout).values() for clip in split_clips]
    for key in keys:
        check_key(key)
    assert len(set(keys)) == len(keys) == layout.num_clips


def test_kept_rejected_and_failed_clips_add_up_to_those_requested(result: BuildResult, layout: Layout) -> None:
    tally = result.manifest.tally
    assert (tally.kept, tally.seen) == (layout.num_kept, layout.num_clips)
    assert len(tables.read_rejects(result.out)) == layout.num_clips - layout.num_kept


def test_every_sample_has_captions_and_a_group(result: BuildResult) -> None:
    rows = tables.read_index(result.out).to_pylist()
    assert len(rows) == result.manifest.tally.kept
    for row in rows:
        assert row["captions"]
        assert all(caption.strip() for caption in row["captions"])
        assert row["group"]


def test_the_json_has_all_captions_in_order_and_the_text_the_first(name: str, layout: Layout, result: BuildResult) -> None:
    captions = {clip.key: clip.captions for split_clips in clips(name, layout).values() for clip in split_clips}
    checked = 0
    for path in Path(result.out).glob("*.tar"):
        with path.open("rb") as file:
            for sample, _ in read_samples(file):
                assert tuple(json.loads(sample.files["json"])["captions"]) == captions[sample.key]
                assert sample.files["txt"].decode() == captions[sample.key][0]
                checked += 1
    assert checked == layout.num_kept


def test_meta_has_the_source_of_a_clip_and_the_facts_of_its_file(name: str, result: BuildResult) -> None:
    if name == "mnist-motion":
        return
    dataset = open_dataset(result.out)
    for item in (item for split in dataset.splits for item in dataset[split]):
        assert FROM_ANNOTATIONS[name] | {"source", "media", "start_seconds", "end_seconds"} <= item.meta.keys()
        original = {"height", "width", "codec", "hdr"} | ({"fps"} if name != "visdial-coco" else set())
        assert item.meta["original"].keys() == original


def test_stats_counts_it_and_show_draws_it(result: BuildResult) -> None:
    counted = stats.compute(result.out)
    assert {name: split.clips for name, split in counted.splits.items()} == {
        name: split.num_samples for name, split in result.manifest.splits.items()
    }
    dataset = open_dataset(result.out)
    for split in dataset.splits:
        items = list(dataset[split])[:3]
        for drawn in (show.contact_sheet(items), show.animation(items)):
            assert Image.open(io.BytesIO(drawn)).width > 0


def test_a_dry_run_counts_the_clips_of_the_annotations(name: str, layout: Layout, result: BuildResult) -> None:
    report = dry_run(spec(name, layout), num_workers=1)
    assert report.num_clips + sum(sum(split.rejected.values()) for split in report.splits.values()) == layout.num_clips
    # These are few: all of them are tried, or as good as all.
    assert (report.num_kept, report.sampled.seen) == (layout.num_kept, min(report.num_clips, NUM_SAMPLED))
    assert report.bytes_per_clip > 0
    assert report.seconds_per_clip > 0


def test_no_group_is_in_two_splits(name: str, layout: Layout, result: BuildResult) -> None:
    assert not stats.compute(result.out).shared_groups
    groups = {split: {clip.group for clip in split_clips} for split, split_clips in clips(name, layout).items()}
    for split, own_groups in groups.items():
        for other in groups.keys() - {split}:
            assert not own_groups & groups[other]


def test_two_builds_are_equal_byte_for_byte(name: str, layout: Layout, result: BuildResult, tmp_path: Path) -> None:
    again = build(name, layout, tmp_path / "again", num_workers=2)
    assert hashes(Path(again.out)) == hashes(Path(result.out))


def test_no_path_of_the_machine_is_in_what_is_built(layout: Layout, result: BuildResult) -> None:
    raw = str(layout.root or layout.options.get("table", "")).encode()
    if not raw:
        return
    for path in Path(result.out).iterdir():
        assert raw not in path.read_bytes()


def test_deep_verification_finds_no_problem(result: BuildResult) -> None:
    assert verify(result.out, deep=True).is_sound


def test_a_loader_trains_from_it(result: BuildResult) -> None:
    dataset = open_dataset(result.out)
    (batch,) = Loader(dataset["train"], LoadSpec(batch_size=len(dataset["train"])))
    assert len(batch) == dataset.manifest.splits["train"].num_samples
    assert batch.video.shape[1:2] in ((1,), (3,))
    assert all(batch.captions)


def test_missing_raw_files_are_reported(name: str, layout: Layout, tmp_path: Path) -> None:
    if name == "mnist-motion":
        assert spec(name, layout).open().missing() is None
        return
    nowhere = BuildSpec(name, {"table": tmp_path / "none.csv"} if name == "table" else {}, root=str(tmp_path / "none"))
    with pytest.raises(RawDataError, match=rf"^{name}: no (folder|file) .*none.* \(--(root|table)\)"):
        build_dataset(nowhere, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_wrong_folder_is_reported_with_what_it_holds_and_what_was_expected(name: str, tmp_path: Path) -> None:
    if name == "mnist-motion":
        return
    wrong = tmp_path / "wrong"
    wrong.mkdir()
    (wrong / "holiday.doc").write_text("")
    wrong_spec = BuildSpec(name, {"folder": wrong}) if name == "table" else BuildSpec(name, root=str(wrong))
    with pytest.raises(RawDataError, match=r"no .*(found) holiday\.doc") as raised:
        build_dataset(wrong_spec, tmp_path / "out")
    assert re.search(r"https?://|expected such as cat\.mp4", str(raised.value))
    assert not (tmp_path / "out").exists()

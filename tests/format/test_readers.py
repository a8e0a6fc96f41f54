"""Shards can be read by webdataset, tarfile, GNU tar, Hugging Face datasets and NumPy."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import webdataset
import zstandard
from support import TINY

from t2vdata.build.run import BuildResult, BuildSpec, build_dataset
from t2vdata.format import tables
from t2vdata.format.dataset import open_dataset
from t2vdata.format.webdataset_decoder import decoder
from t2vdata.media.encode import H264


@pytest.fixture(scope="module")
def mp4s(tmp_path_factory: pytest.TempPathFactory) -> BuildResult:
    spec = BuildSpec("mnist-motion", options={**TINY, "n": 12}, shard_size=5, encoding=H264(gop=4))
    return build_dataset(spec, tmp_path_factory.mktemp("mp4s") / "out", num_workers=1)


def urls(result: BuildResult, split: str) -> list[str]:
    return [str(Path(result.out) / shard.name) for shard in result.manifest.splits[split].shards]


def test_webdataset_groups_and_counts_like_the_index(built: BuildResult, mp4s: BuildResult) -> None:
    for result, extension in ((built, "npy.zst"), (mp4s, "mp4")):
        for split, entry in result.manifest.splits.items():
            samples = list(webdataset.WebDataset(urls(result, split), shardshuffle=False))
            assert len(samples) == entry.num_samples > 0
            for sample in samples:
                assert {name for name in sample if not name.startswith("__")} == {extension, "json", "txt"}
            rows = tables.read_index(result.out, ["key"], shards=result.manifest.shard_range(split)).to_pylist()
            assert [sample["__key__"] for sample in samples] == [row["key"] for row in rows]


def test_webdataset_decodes_text_json_and_frames(built: BuildResult) -> None:
    pipeline = webdataset.WebDataset(urls(built, "train"), shardshuffle=False).decode(decoder())
    ours = open_dataset(built.out)["train"]
    for number, sample in enumerate(pipeline):
        assert (sample["npy.zst"] == ours[number].frames.data).all()
        assert sample["txt"] == ours[number].captions[0]
        assert sample["json"] == ours[number].meta
    assert number == 59


def test_webdataset_returns_mp4_members_undecoded(mp4s: BuildResult) -> None:
    for sample in webdataset.WebDataset(urls(mp4s, "train"), shardshuffle=False).decode():
        assert sample["mp4"][4:8] == b"ftyp"
        assert sample["json"]["num_frames"] == 8


def test_the_decoder_in_the_format_page_reads_a_member(built: BuildResult) -> None:
    def decode_npy_zst(key: str, data: bytes) -> np.ndarray | None:
        if key.endswith(".npy.zst"):
            return np.load(io.BytesIO(zstandard.ZstdDecompressor().decompress(data)), allow_pickle=False)
        return None

    page = Path(__file__).parents[2] / "docs" / "format.md"
    assert "zstandard.ZstdDecompressor().decompress(data)), allow_pickle=False)" in page.read_text()
    sample = next(iter(webdataset.WebDataset(urls(built, "train"), shardshuffle=False).decode(decode_npy_zst)))
    assert (sample["npy.zst"] == open_dataset(built.out)["train"][0].frames.data).all()


def test_tarfile_and_gnu_tar_list_every_member(built: BuildResult, mp4s: BuildResult) -> None:
    for result in (built, mp4s):
        for _, shard in result.manifest.shards():
            path = Path(result.out) / shard.name
            with tarfile.open(path) as tar:
                names = tar.getnames()
            listed = subprocess.run(["tar", "-tf", path], capture_output=True, text=True, check=True)
            assert listed.stdout.split() == names
            assert listed.stderr == ""
            assert len(names) == 3 * shard.num_samples
            # Members of a sample are adjacent, sorted by name.
            keys = [name.split(".")[0] for name in names]
            assert keys == sorted(keys)
            assert set(Counter(keys).values()) == {3}


@pytest.mark.parametrize("extension", ["npy.zst", "mp4"])
def test_hugging_face_datasets_finds_every_split(
    built: BuildResult, mp4s: BuildResult, extension: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    import datasets as hub  # after the environment is set: it is read at import

    result = built if extension == "npy.zst" else mp4s
    splits = hub.load_dataset(result.out, streaming=True, cache_dir=str(tmp_path))
    assert set(splits) == {"train", "validation", "test", "compositional"}
    for name, split in splits.items():
        # Decoding in Hugging Face datasets needs torchcodec; finding and reading is what t2vdata promises.
        bare = split.cast_column("mp4", hub.Video(decode=False)) if extension == "mp4" else split
        rows = list(bare.remove_columns([extension]))
        ours = result.manifest.splits["val" if name == "validation" else name]
        assert len(rows) == ours.num_samples
        assert rows[0]["txt"] == rows[0]["json"]["captions"][0]
    by_file_names = hub.load_dataset("webdataset", data_dir=result.out, streaming=True, cache_dir=str(tmp_path))
    assert set(by_file_names) == {"train", "validation", "test"}


def test_the_json_member_is_plain_json_with_sorted_names(built: BuildResult) -> None:
    with tarfile.open(urls(built, "train")[0]) as tar:
        text = tar.extractfile("train-00000000.json").read()
    body = json.loads(text)
    assert list(body) == sorted(body)
    assert {"captions", "digits", "fps", "group", "key", "label", "meaning", "num_frames", "split"} <= set(body)

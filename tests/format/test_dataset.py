"""Reading a built dataset."""

from __future__ import annotations

import builtins
import copy as copy_module
import os
import pickle
from pathlib import Path

import fsspec
import numpy as np
import pytest
import servers
from support import tiny_spec

import t2vdata
from t2vdata import storage
from t2vdata.build.run import BuildResult
from t2vdata.errors import DecodeError, NotADatasetError, RequestError, ShardError, StorageError, UnknownNameError


def test_a_clip_is_its_frames_captions_and_meta(built: BuildResult) -> None:
    dataset = t2vdata.open_dataset(built.out)
    item = dataset["train"][17]
    spec = tiny_spec()
    drawn = spec.open()
    clip = drawn.clips("train")[17]
    assert (item.frames.data == drawn.render(clip).data).all()
    assert item.frames.fps == 30.0
    assert item.captions == clip.captions
    assert item.meta["meaning"] == clip.meta["meaning"]


def test_a_clip_takes_a_single_read_at_an_offset(built: BuildResult, monkeypatch: pytest.MonkeyPatch) -> None:
    split = t2vdata.open_dataset(built.out)["train"]
    first = split[0]
    opened: list[str] = []
    reads: list[tuple[str, int, int]] = []
    real_open, real_range = builtins.open, storage.read_range

    def watched_open(path: object, *args: object, **settings: object) -> object:
        opened.append(str(path))
        return real_open(path, *args, **settings)

    def watched_range(path: str, offset: int, size: int) -> bytes:
        reads.append((path, offset, size))
        return real_range(path, offset, size)

    monkeypatch.setattr(builtins, "open", watched_open)
    monkeypatch.setattr(storage, "read_range", watched_range)
    assert (split[0].frames.data == first.frames.data).all()
    assert len(opened) == len(reads) == 1
    assert reads[0][2] < 4000


def test_splits_slices_and_negative_numbers(built: BuildResult) -> None:
    dataset = t2vdata.open_dataset(built.out)
    assert dataset.splits == ("train", "val", "test", "compositional")
    train = dataset["train"]
    assert len(train) == 60
    assert train[-1].key == train[59].key == "train-00000059"
    assert [item.key for item in train[58:]] == ["train-00000058", "train-00000059"]
    assert [item.key for item in dataset["val"]] == [f"val-{number:08d}" for number in range(6)]
    with pytest.raises(IndexError, match="clip 60 of split 'train', which has 60"):
        train[60]


def test_the_index_is_a_pandas_frame(built: BuildResult) -> None:
    index = t2vdata.open_dataset(built.out).index
    assert len(index) == 78
    assert index.groupby("split").size().to_dict() == {"compositional": 6, "test": 6, "train": 60, "val": 6}


def test_a_dataset_survives_a_change_of_the_working_directory(
    built: BuildResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(Path(built.out).parent)
    by_path, by_url = t2vdata.open_dataset(Path(built.out).name), t2vdata.open_dataset(f"file://{Path(built.out).name}")
    monkeypatch.chdir(tmp_path)
    assert by_path["train"][0].key == by_url["train"][0].key
    assert len(by_path.index) == len(by_url.index)


def test_a_clip_is_found_by_its_key(built: BuildResult) -> None:
    dataset = t2vdata.open_dataset(built.out)
    assert dataset.find("test-00000003").key == "test-00000003"
    with pytest.raises(UnknownNameError, match="no key 'test-00000099'; did you mean 'test-0000000"):
        dataset.find("test-00000099")
    with pytest.raises(UnknownNameError, match="no key 'x'"):
        dataset.find("x")


def test_an_unknown_split_suggests_the_nearest(built: BuildResult) -> None:
    with pytest.raises(UnknownNameError, match="no split 'trian'; did you mean 'train'"):
        t2vdata.open_dataset(built.out)["trian"]


def test_a_dataset_is_read_from_a_url(built: BuildResult) -> None:
    memory = fsspec.filesystem("memory")
    memory.put(built.out, "/far/mnist-motion", recursive=True)
    far = t2vdata.open_dataset("memory://far/mnist-motion")
    near = t2vdata.open_dataset(built.out)
    assert np.array_equal(far["val"][3].frames.data, near["val"][3].frames.data)
    assert far.index.equals(near.index)


def test_the_error_for_a_path_without_a_dataset_says_what_it_holds(built: BuildResult, tmp_path: Path) -> None:
    with pytest.raises(NotADatasetError, match=r"there is no such folder; build one with"):
        t2vdata.open_dataset(tmp_path / "nothing")
    with pytest.raises(NotADatasetError, match=r"it has no manifest\.json"):
        t2vdata.open_dataset(tmp_path)
    with pytest.raises(NotADatasetError, match=r"but there is one in .*out"):
        t2vdata.open_dataset(Path(built.out).parent)
    (tmp_path / ".t2vdata-build").mkdir()
    with pytest.raises(NotADatasetError, match=r"is not finished; run the build command again"):
        t2vdata.open_dataset(tmp_path)
    with pytest.raises(NotADatasetError, match=r"manifest.json: that is a file; expected the folder"):
        t2vdata.open_dataset(Path(built.out) / "manifest.json")


def test_a_missing_shard_is_named_by_its_clips(copy: Path) -> None:
    (copy / "mnist-motion-train-000000.tar").unlink()
    with servers.plain_server(copy) as url:
        for folder in (str(copy), url):
            with pytest.raises(ShardError, match=r"no shard mnist-motion-train-000000.tar in .*; restore it, .*t2vdata verify"):
                t2vdata.open_dataset(folder)["train"][0]


def test_an_index_that_is_a_pipe_is_not_waited_for(copy: Path) -> None:
    (copy / "index.parquet").unlink()
    os.mkfifo(copy / "index.parquet")
    with pytest.raises(StorageError, match=r"index.parquet is a pipe \(FIFO\); expected a regular file"):
        _ = t2vdata.open_dataset(copy).index


def test_a_damaged_clip_raises_an_error(copy: Path) -> None:
    dataset = t2vdata.open_dataset(copy)
    row = dataset.index.iloc[0]
    path = copy / row["shard"]
    data = bytearray(path.read_bytes())
    data[row["pixels_offset"]] ^= 255
    path.write_bytes(data)
    with pytest.raises(DecodeError, match="not a Zstandard frame"):
        dataset["train"][0]


def test_what_a_repl_shows_is_a_line(built: BuildResult) -> None:
    dataset = t2vdata.open_dataset(built.out)
    assert repr(dataset).startswith("<dataset mnist-motion in ")
    assert "train 60, val 6" in repr(dataset)
    assert repr(dataset["train"]).endswith(": 60 clips>")
    assert repr(dataset["train"][0]).startswith('<clip train-00000000: "the digit ')
    assert repr(dataset["train"][0]).endswith("8x24x24x1 uint8 at 30 fps>")


def test_a_clip_of_a_split_is_also_found_by_its_key(built: BuildResult) -> None:
    train = t2vdata.open_dataset(built.out)["train"]
    assert train["train-00000007"].key == train[7].key
    with pytest.raises(UnknownNameError, match="no key 'train-00000099'; did you mean 'train-000000"):
        train["train-00000099"]
    with pytest.raises(RequestError, match=r"clip None of split 'train': expected a number or a key"):
        train[None]  # type: ignore[call-overload]


def test_a_wrong_attribute_or_index_says_what_to_use(built: BuildResult) -> None:
    dataset = t2vdata.open_dataset(built.out)
    with pytest.raises(AttributeError, match=r"that split is dataset\['train'\]"):
        dataset.train  # noqa: B018
    with pytest.raises(AttributeError, match=r"its clips dataset\[NAME\]\[0\]"):
        dataset.clips  # noqa: B018
    with pytest.raises(AttributeError, match=r"its clips are split\[0\] or split\[KEY\]"):
        dataset["train"].frames  # noqa: B018
    with pytest.raises(RequestError, match=r"expected the name of a split, such as dataset\['train'\]\[0\]"):
        dataset[0]  # type: ignore[index]


def test_a_dataset_and_its_splits_are_copied_and_pickled(built: BuildResult) -> None:
    dataset = t2vdata.open_dataset(built.out)
    for again in (copy_module.deepcopy(dataset), pickle.loads(pickle.dumps(dataset))):
        assert again["train"][3].key == "train-00000003"
    assert pickle.loads(pickle.dumps(dataset["val"]))[0].key == "val-00000000"

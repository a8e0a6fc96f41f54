"""Frame selection, resizing, cropping, flipping, and captions of a batch."""

from __future__ import annotations

import dataclasses
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from support import ROOT

import t2vdata
from t2vdata.build.run import BuildSpec, build_dataset
from t2vdata.errors import DataError, RequestError
from t2vdata.format.dataset import Dataset
from t2vdata.loading import Loader, LoadSpec, Resources
from t2vdata.loading.batch import Batch
from t2vdata.loading.index import SplitIndex
from t2vdata.loading.transforms import check_flip, swap_sides
from t2vdata.media.encode import ENCODINGS


def build(folder: Path, encoding: str = "lossless", **options: object) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tests" / "examples")
        spec = BuildSpec("mydata.mixed", options=options, encoding=ENCODINGS[encoding](), shard_size=10)
        return t2vdata.open_dataset(build_dataset(spec, folder / "out", num_workers=1).out)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Clips of 12 to 16 frames, 32 to 36 high, 40 or 44 wide, at 10 or 20 fps, with one to four captions."""
    return build(tmp_path_factory.mktemp("mixed"))


@pytest.fixture(scope="module")
def same(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Clips of 12 frames of 40x32."""
    return build(tmp_path_factory.mktemp("same"), same=True)


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Clips of 12 frames of 40x32 whose captions mention left and right."""
    return build(tmp_path_factory.mktemp("sides"), same=True, sides=True)


def load(dataset: Dataset, seed: int = 0, epoch: int = 0, vocabulary: object = None, **settings: object) -> Batch:
    """Return all clips of the training split as one batch, in the order in which they are stored."""
    spec = LoadSpec(batch_size=100, shuffle=False, **settings)
    reading = Loader(dataset["train"], spec, seed=seed, vocabulary=vocabulary, resources=Resources(workers=1))
    reading.set_epoch(epoch)
    (batch,) = reading
    return batch


def frames_of(batch: Batch) -> np.ndarray:
    """Return which frames were taken: (B, T)."""
    return batch.video[:, 0, :, 0, 0].numpy() // 4


SHAPE = {"resize": (32, 40)}


def test_a_stride_takes_every_nth_frame(same: Dataset) -> None:
    assert frames_of(load(same, num_frames=4, stride=3, start="first")).tolist() == [[0, 3, 6, 9]] * 24
    assert frames_of(load(same, num_frames=4, stride=2, start="centre")).tolist() == [[2, 4, 6, 8]] * 24


def test_a_random_start_depends_on_seed_epoch_and_key(same: Dataset) -> None:
    first, again = (frames_of(load(same, num_frames=4, seed=1)) for _ in range(2))
    assert (first == again).all()
    assert (np.diff(first) == 1).all()
    starts = Counter(
        int(start)
        for seed in range(3)
        for epoch in range(6)
        for start in frames_of(load(same, num_frames=4, seed=seed, epoch=epoch))[:, 0]
    )
    assert sorted(starts) == list(range(9))
    # 432 draws of 9: 48 each; chi-square with 8 degrees of freedom, above 26.1 once in a thousand.
    assert sum((times - 48) ** 2 / 48 for times in starts.values()) < 26.1


def test_fps_takes_the_frame_shown_at_each_time(mixed: Dataset) -> None:
    taken = frames_of(load(mixed, num_frames=4, fps=5.0, start="first", **SHAPE))
    assert taken[0].tolist() == [0, 2, 4, 6]  # 10 fps
    assert taken[1].tolist() == [0, 4, 8, 12]  # 20 fps
    assert frames_of(load(mixed, num_frames=6, fps=20.0, start="first", **SHAPE))[0].tolist() == [0, 0, 1, 1, 2, 2]


def test_a_short_clip_holds_its_last_frame_or_loops(mixed: Dataset) -> None:
    held = frames_of(load(mixed, num_frames=14, start="first", short="hold", **SHAPE))[0]
    assert held.tolist() == [*range(12), 11, 11]
    looped = frames_of(load(mixed, num_frames=14, start="first", short="loop", **SHAPE))[0]
    assert looped.tolist() == [*range(12), 0, 1]


def test_a_short_clip_can_be_refused(mixed: Dataset) -> None:
    with pytest.raises(DataError, match="train-0000 cannot be loaded: DecodeError: too short for 16 frames"):
        load(mixed, num_frames=16, short="refuse", **SHAPE)
    batch = load(mixed, num_frames=16, short="refuse", on_error="count", **SHAPE)
    assert batch.keys == ["train-0004", "train-0009", "train-0014", "train-0019"]


def test_resizing_to_an_exact_size_equals_opencv(mixed: Dataset) -> None:
    batch = load(mixed, num_frames=2, start="first", resize=(16, 20))
    for position, key in enumerate(batch.keys):
        frames = mixed.find(key).frames.data
        expected = [cv2.resize(frame, (20, 16), interpolation=cv2.INTER_AREA) for frame in frames[:2]]
        assert np.array_equal(batch.video[position].permute(1, 2, 3, 0).numpy(), np.stack(expected))


def test_resizing_the_shorter_side_keeps_proportions_and_crops_the_centre(mixed: Dataset) -> None:
    batch = load(mixed, num_frames=1, start="first", resize=64, crop=64)
    assert batch.video.shape == (24, 3, 1, 64, 64)
    # Clip 0 is 32x40: twice as large it is 64x80, of which columns 8 to 71 stay: 4 to 35 of the clip.
    columns = batch.video[0, 1, 0, 32].numpy() / 4
    assert columns[0] == pytest.approx(4, abs=0.5)
    assert columns[-1] == pytest.approx(35.5, abs=0.5)


def test_a_random_crop_is_the_same_for_all_frames(same: Dataset) -> None:
    batch = load(same, crop=(20, 24), crop_at="random")
    green, blue = batch.video[:, 1, :, :, 0].numpy() // 4, batch.video[:, 2, :, 0].numpy() // 4
    assert (green == green[:, :1]).all()
    lefts, tops = green[:, 0, 0], blue[:, 0, 0]
    assert lefts.max() <= 16
    assert tops.max() <= 12
    assert len(set(zip(lefts.tolist(), tops.tolist(), strict=True))) > 12
    assert np.array_equal(batch.video[3, 2, 0, :, 0].numpy() // 4, tops[3] + np.arange(20))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "clips have different numbers of frames.*num_frames=16"),
        ({"num_frames": 4}, r"clips have different sizes.*resize=\(64, 64\)"),
        ({"num_frames": 4, "crop": 38}, "a crop of 38x38 does not fit into 40x32; choose a smaller crop"),
        ({"num_frames": 0}, "LoadSpec.num_frames 0: expected more than 0"),
        ({"num_frames": 4, "fps": 5.0, "stride": 2}, "both stride 2 and fps 5; give one"),
        ({"stride": 2}, "stride or fps without num_frames"),
        ({"num_frames": 4, "start": "center"}, "no LoadSpec.start 'center'; did you mean 'centre'"),
        ({"num_frames": 4, "channels": 2}, r"LoadSpec.channels 2: expected 1 \(grey\), 3"),
        ({"window": 0}, "LoadSpec.window 0: expected 1 or more shards"),
    ],
)
def test_requests_that_do_not_fit_the_dataset_are_refused(mixed: Dataset, settings: dict, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        load(mixed, **settings)


def test_rgb_becomes_grey_by_luma(same: Dataset) -> None:
    colour, grey = load(same), load(same, channels=1)
    weights = np.array([0.299, 0.587, 0.114])
    assert grey.video.shape == (24, 1, 12, 32, 40)
    expected = np.einsum("bcthw,c->bthw", colour.video.numpy().astype(float), weights)
    assert np.abs(grey.video[:, 0].numpy() - expected).max() <= 0.51


def test_flips_mirror_half_of_the_clips(same: Dataset) -> None:
    batch, plain = load(same, flip=True, seed=3), load(same, seed=3)
    is_flipped = (batch.video[:, 1, 0, 0, 0] != 0).numpy()
    assert 6 <= is_flipped.sum() <= 18
    for position, flipped in enumerate(is_flipped):
        expected = plain.video[position].flip(-1) if flipped else plain.video[position]
        assert np.array_equal(batch.video[position].numpy(), expected.numpy())


def test_flips_are_refused_for_captions_with_left_or_right(sides: Dataset, same: Dataset) -> None:
    with pytest.raises(
        RequestError, match=r"flip: the caption 'right to the other side, clip 0' mentions left or right.*flip_captions=True"
    ):
        load(sides, flip=True)


def test_captions_are_flipped_with_their_clip(sides: Dataset) -> None:
    batch, plain = load(sides, flip=True, flip_captions=True), load(sides)
    is_flipped = (batch.video[:, 1, 0, 0, 0] != 0).tolist()
    assert any(is_flipped)
    for flipped, caption, before in zip(is_flipped, batch.captions, plain.captions, strict=True):
        assert caption == (swap_sides(before) if flipped else before)
        assert (caption != before) == flipped


def test_flips_are_refused_for_labels_with_left_or_right(same: Dataset) -> None:
    index = dataclasses.replace(SplitIndex.read(same["train"]), labels=("swipe left",))
    with pytest.raises(RequestError, match="the label 'swipe left' mentions left or right"):
        check_flip(LoadSpec(flip=True, flip_captions=True), index)


@pytest.mark.parametrize(
    ("caption", "other"),
    [
        ("moves left, then RIGHT", "moves right, then LEFT"),
        ("Left-handed, the leftmost rightwards", "Right-handed, the rightmost leftwards"),
        ("what is left over is brightly lit", "what is right over is brightly lit"),
        ("no side", "no side"),
    ],
)
def test_left_and_right_are_swapped_word_by_word(caption: str, other: str) -> None:
    assert swap_sides(caption) == other
    assert swap_sides(other) == caption


def test_a_random_caption_is_chosen_for_each_epoch(mixed: Dataset) -> None:
    drawn: dict[int, Counter[str]] = {position: Counter() for position in range(4)}
    for epoch in range(80):
        captions = load(mixed, num_frames=1, epoch=epoch, **SHAPE).captions
        for position in drawn:
            drawn[position][str(captions[position])] += 1
    assert [len(seen) for seen in drawn.values()] == [1, 2, 3, 4]
    # 80 draws of 4: chi-square with 3 degrees of freedom, above 16.3 once in a thousand.
    assert sum((times - 20) ** 2 / 20 for times in drawn[3].values()) < 16.3
    assert load(mixed, num_frames=1, epoch=7, **SHAPE).captions == load(mixed, num_frames=1, epoch=7, **SHAPE).captions


def test_the_first_or_all_captions_can_be_loaded(mixed: Dataset) -> None:
    words = t2vdata.Vocabulary.build(mixed["train"])
    first = load(mixed, num_frames=1, captions="first", **SHAPE)
    assert first.captions[:2] == ["clip 0 in words 0", "clip 1 in words 0"]
    all_captions = load(mixed, num_frames=1, captions="all", vocabulary=words, **SHAPE)
    assert all_captions.captions[2] == tuple(f"clip 2 in words {k}" for k in range(3))
    assert all_captions.tokens is not None
    assert all_captions.lengths is not None
    assert all_captions.tokens.shape == (24, 4, 7)
    assert all_captions.lengths[:4].tolist() == [[7, 0, 0, 0], [7, 7, 0, 0], [7, 7, 7, 0], [7, 7, 7, 7]]
    assert words.decode(all_captions.tokens[3, 2].tolist()) == "clip 3 in words 2"
    assert (all_captions.tokens[0, 1:] == words.pad_id).all()


def test_long_captions_keep_their_end(mixed: Dataset) -> None:
    words = t2vdata.Vocabulary.build(mixed["train"])
    batch = load(mixed, num_frames=1, max_length=4, vocabulary=words, **SHAPE)
    assert batch.tokens is not None
    assert batch.tokens.shape == (24, 4)
    assert (batch.tokens[:, -1] == words.ids["<end>"]).all()


def test_batches_of_videos_have_the_pixels_of_the_dataset(tmp_path: Path) -> None:
    dataset = build(tmp_path, "h264")
    batch = load(dataset, num_frames=3, stride=4, start="first", crop=(20, 30))
    for position, key in enumerate(batch.keys):
        frames = dataset.find(key).frames.data[0:9:4]
        top, left = (frames.shape[1] - 20) // 2, (frames.shape[2] - 30) // 2
        expected = frames[:, top : top + 20, left : left + 30]
        assert np.array_equal(batch.video[position].permute(1, 2, 3, 0).numpy(), expected)

"""Pictures of clips."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from t2vdata.build.run import BuildResult
from t2vdata.errors import RequestError, StorageError, UnknownNameError
from t2vdata.format.dataset import Item, open_dataset
from t2vdata.inspect import show
from t2vdata.types import Frames


def item(
    value: int, *, num_frames: int = 5, size: tuple[int, int] = (32, 32), fps: float = 10.0, caption: str = "a square"
) -> Item:
    return Item("k", Frames(np.full((num_frames, *size, 3), value, np.uint8), fps), (caption,), {})


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def test_a_sheet_has_a_row_per_clip_with_frames_from_left_to_right() -> None:
    data = np.zeros((8, 48, 48, 1), np.uint8)
    for number in range(8):
        data[number] = 20 * number
    moving = Item("k", Frames(data, 30.0), ("getting lighter",), {})
    sheet = opened(show.contact_sheet([moving, item(200)])).convert("L")
    tile = 96 + 4
    assert [sheet.getpixel((4 + 48 + number * tile, 50)) for number in range(8)] == [20 * number for number in range(8)]
    assert sheet.getpixel((50, sheet.height // 2 + 50)) == 200


def test_the_caption_is_written_below_its_clip() -> None:
    with_text = np.asarray(opened(show.contact_sheet([item(255, caption="the digit 9 is moving")])).convert("L"))
    without = np.asarray(opened(show.contact_sheet([item(255, caption="")])).convert("L"))
    assert (with_text[:90] == without[:90]).all()
    assert (with_text[100:] < 128).sum() > 50
    assert (without[100:] < 128).sum() == 0


def test_a_long_caption_is_wrapped_to_at_most_four_lines() -> None:
    sheet = opened(show.contact_sheet([item(0, num_frames=1, caption="word " * 200)]))
    assert sheet.width < 120
    assert sheet.height < 200


def test_a_dialogue_is_written_below_the_caption_of_its_picture() -> None:
    turns = [{"question": "is it sunny", "answer": "yes"}, {"question": "how many?", "answer": None}]
    plain = item(255, num_frames=1, size=(256, 256))
    spoken = Item("k", plain.frames, plain.captions, {"dialogue": turns})
    without, with_turns = (np.asarray(opened(show.contact_sheet([shown])).convert("L")) for shown in (plain, spoken))
    # A line per turn, below the caption.
    assert (with_turns.shape[0] - without.shape[0]) % 2 == 0
    assert (with_turns[: len(without) - 8] == without[:-8]).all()
    assert (with_turns[len(without) - 4 :] < 128).sum() > 50


def test_frames_of_any_size_fit_on_the_sheet() -> None:
    sizes = [(1, 1), (720, 1280), (37, 300), (300, 37)]
    sheet = opened(show.contact_sheet([item(9, size=size) for size in sizes]))
    assert sheet.width <= 8 * 200 + 100


def test_an_animation_of_grey_clips_has_their_exact_greys() -> None:
    greys = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1).repeat(2, 0)
    greys[1] = 255 - greys[1]
    gif = opened(show.animation([Item("k", Frames(greys, 10.0), ("all greys",), {})]))
    for number, frame in enumerate(greys[..., 0]):
        gif.seek(number)
        shown = np.asarray(gif.convert("L"))[4 : 4 + 12 * 16, 4 : 4 + 12 * 16]
        assert np.array_equal(shown[::12, ::12], frame)


def test_an_animation_has_every_frame_at_the_rate_of_its_clip() -> None:
    gif = opened(show.animation([item(50, num_frames=7, fps=10), item(90, num_frames=4, fps=10)]))
    assert gif.n_frames in (1, 7)  # equal frames may be merged
    shades = np.arange(7, dtype=np.uint8)[:, None, None, None] * 30 + np.zeros((7, 32, 32, 1), np.uint8)
    changing = Item("k", Frames(shades, 10.0), ("c",), {})
    gif = opened(show.animation([changing]))
    assert gif.n_frames == 7
    assert gif.info["duration"] == 100
    assert gif.info["loop"] == 0


def test_the_same_clips_give_the_same_picture(built: BuildResult) -> None:
    items = open_dataset(built.out)["train"][:3]
    assert show.contact_sheet(items) == show.contact_sheet(items)
    assert show.animation(items) == show.animation(items)


def test_clips_are_chosen_by_key_at_random_or_from_the_start(built: BuildResult) -> None:
    dataset = open_dataset(built.out)
    assert [clip.key for clip in show.choose(dataset)] == [f"train-{number:08d}" for number in range(4)]
    assert [clip.key for clip in show.choose(dataset, keys=["val-00000002"])] == ["val-00000002"]
    drawn = [clip.key for clip in show.choose(dataset, split="test", num_random=3, seed=5)]
    assert drawn == [clip.key for clip in show.choose(dataset, split="test", num_random=3, seed=5)]
    assert drawn != [clip.key for clip in show.choose(dataset, split="test", num_random=3, seed=6)]
    assert len(set(drawn)) == 3


def test_invalid_choices_are_refused(built: BuildResult, tmp_path: Path) -> None:
    dataset = open_dataset(built.out)
    with pytest.raises(RequestError, match="--random 7: expected 1 to 6 clips of split 'val'"):
        show.choose(dataset, split="val", num_random=7)
    with pytest.raises(RequestError, match="expected keys or --random, not both"):
        show.choose(dataset, keys=["val-00000002"], num_random=2)
    with pytest.raises(UnknownNameError, match="no split 'vall'; did you mean 'val'"):
        show.choose(dataset, split="vall")
    with pytest.raises(RequestError, match=r"x.jpeg: expected a name that ends in .png .* or .gif"):
        show.write([item(0)], str(tmp_path / "x.jpeg"))
    with pytest.raises(StorageError, match="No such file or directory"):
        show.write([item(0)], str(tmp_path / "no" / "x.png"))


def test_a_clip_of_days_per_frame_is_shown_as_slowly_as_a_gif_can() -> None:
    gif = opened(
        show.animation([Item("k", Frames(np.arange(2 * 64, dtype=np.uint8).reshape(2, 8, 8, 1), 1e-6), ("slow",), {})])
    )
    assert gif.info["duration"] == 655_350

"""Tiny raw folders for every dataset, in the official layout, with generated clips: the inputs of the contract tests."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from media import video_files
from PIL import Image


@dataclass(frozen=True)
class Layout:
    """A raw folder, the options to build it with, and the clips to expect."""

    root: Path | None
    options: dict[str, object] = field(default_factory=dict)
    num_clips: int = 0
    """Clips in all splits, rejected and failed ones included."""
    num_kept: int = 0


def mnist_motion(folder: Path) -> Layout:
    """No raw files."""
    return Layout(None, {"n": 20, "frames": 8, "size": 24, "digit_size": 12}, 24, 24)


def kinetics(folder: Path) -> Layout:
    """Kinetics-400 in CVDF's layout: one clip without a file, one broken."""
    header = "label,youtube_id,time_start,time_end,split,is_cc\n"
    ids = {"train": ["-olfgolfgo0", "_ailsailsa0", "ailsailsai1", "lostlostlo0"], "val": ["golfgolfgo2"], "test": []}
    (folder / "annotations").mkdir(parents=True)
    for split, videos in ids.items():
        rows = "".join(f"golf putting,{video},10,20,{split},0\n" for video in videos)
        (folder / "annotations" / f"{split}.csv").write_text(header + rows)
        (folder / split).mkdir()
        for video in videos:
            if not video.startswith("lost"):
                (folder / split / f"{video}_000010_000020.mp4").write_bytes(video_files.make("sound"))
    (folder / "train" / "ailsailsai1_000010_000020.mp4").write_bytes(b"not a video")
    return Layout(folder, {"size": 16, "frames": 8}, 5, 3)


def moments(folder: Path) -> Layout:
    """Moments in Time, as its README describes it: tables without a header. Two windows of each clip."""
    clips = {
        "training": ["adult+female+singing/yt-jX-hTAlTcqY_15.mp4", "clapping/flickr-5-9_1.mp4"],
        "validation": ["clapping/getty-a_3.mp4"],
    }
    for split, paths in clips.items():
        for path in paths:
            (folder / split / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / split / path).write_bytes(video_files.make("h264"))
        name = {"training": "trainingSet.csv", "validation": "validationSet.csv"}[split]
        (folder / name).write_text("".join(f"{path},{path.split('/')[0]},3,0\n" for path in paths))
    (folder / "moments_categories.txt").write_text("clapping,0\nadult+female+singing,7\n")
    return Layout(folder, {"size": 16, "frames": 8, "windows": 2}, 6, 6)


def moments_mini(folder: Path) -> Layout:
    """The same with 200 categories, by which Moments in Time Mini is recognised."""
    layout = moments(folder)
    others = [f"other+{number}" for number in range(198)]
    with (folder / "trainingSet.csv").open("a") as rows, (folder / "moments_categories.txt").open("a") as categories:
        rows.writelines(f"{label}/yt-{number:011d}_1.mp4,{label},3,0\n" for number, label in enumerate(others))
        categories.writelines(f"{label},{number + 8}\n" for number, label in enumerate(others))
    return layout


def msvd(folder: Path) -> Layout:
    """MSVD with Microsoft's CSV: ids that begin with - and _, several clips of one video, one without a file."""
    clips = [f"-4wsuPCjDBc_{start}_{start + 10}" for start in (0, 5, 12)]
    clips += [f"{letter}O9kWD8nuR__{number}_4" for number, letter in enumerate("_abcdefgh", -5) if number > 0]
    (folder / "YouTubeClips").mkdir(parents=True)
    rows = "VideoID,Start,End,WorkerID,Source,AnnotationTime,Language,Description\n"
    for clip in [*clips, "lostvideo00_1_9"]:
        if not clip.startswith("lost"):
            (folder / "YouTubeClips" / f"{clip}.avi").write_bytes(video_files.make("h264-b-frames-avi"))
        rows += "".join(f"{','.join(clip.rsplit('_', 2))},7,clean,30,English,A dog {verb}.\n" for verb in ("runs", "eats"))
    (folder / "video_corpus.csv").write_text(rows)
    return Layout(folder, {"size": 16, "frames": 8, "val_share": 0.3, "test_share": 0.2}, len(clips) + 1, len(clips))


def visdial_coco(folder: Path) -> Layout:
    """COCO 2014 with VisDial 0.9: three pictures in train, one in val."""
    (folder / "annotations").mkdir(parents=True)
    for split, images in (("train", (9, 25, 30)), ("val", (42,))):
        (folder / f"{split}2014").mkdir()
        for image in images:
            pixels = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{split}2014" / f"COCO_{split}2014_{image:012d}.jpg")
        captions = {
            "images": [{"file_name": f"COCO_{split}2014_{image:012d}.jpg", "id": image} for image in images],
            "annotations": [{"image_id": image, "id": image, "caption": f"picture {image}"} for image in images],
        }
        (folder / "annotations" / f"captions_{split}2014.json").write_text(json.dumps(captions))
        turn = {"question": 0, "answer": 0, "answer_options": [0] * 100, "gt_index": 0}
        dialogs = [{"image_id": image, "caption": "a picture", "dialog": [turn] * 10} for image in images]
        data = {"questions": ["is it sunny"], "answers": ["yes"], "dialogs": dialogs}
        (folder / f"visdial_0.9_{split}.json").write_text(json.dumps({"version": "0.9", "split": split, "data": data}))
    return Layout(folder, {"size": 16}, 4, 4)


def table(folder: Path) -> Layout:
    """A CSV beside its files: videos and pictures, one row without a file."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = "path,caption,group\n"
    for number in range(12):
        rows += f"clip {number}.mp4,clip number {number},video {number // 2}\n"
        (folder / f"clip {number}.mp4").write_bytes(video_files.make("h264"))
    (folder / "clips.csv").write_text(rows + "lost.mp4,nothing,lost\n")
    options = {"table": folder / "clips.csv", "size": 16, "frames": 8, "val_share": 0.3, "test_share": 0.2}
    return Layout(None, options, 13, 12)


LAYOUTS: dict[str, Callable[[Path], Layout]] = {
    "kinetics": kinetics,
    "mnist-motion": mnist_motion,
    "moments": moments,
    "msvd": msvd,
    "table": table,
    "visdial-coco": visdial_coco,
}

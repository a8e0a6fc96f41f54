"""Time and memory of reading annotations and planning: 650,000 clips, the size of Kinetics-700, and all of VisDial.

python tests/benchmarks/bench_plan.py [--n 650000] [--only visdial-coco]

Each row is a fresh process. Annotations are synthetic, in the official formats; there are no media files, so every clip becomes
a reject, which the plan holds. visdial-coco always has the 123,287 dialogues of VisDial 0.9, with 1.2 million questions and
answers, and the captions of COCO 2014, whatever ``--n``; its files take 1.2 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import string
import subprocess
import sys
import tempfile
from pathlib import Path

LETTERS = string.ascii_letters + string.digits + "-_"
RUN = """
import resource, sys, time
from pathlib import Path
from t2vdata.build.planning import plan_shards, splits
from t2vdata.build.spec import BuildSpec
name, root, windows = sys.argv[1:]
options = {} if name == "visdial-coco" else {"frames": 8, "windows": int(windows)}
if name == "table":
    options["table"] = Path(root) / "clips.csv"
start = time.perf_counter()
spec = BuildSpec(name, options, root=None if name == "table" else root)
dataset = spec.open()
clips_of_splits = splits(dataset)
read = time.perf_counter() - start
clips = sum(len(plan.clips) + len(plan.rejects) for plan in plan_shards(spec, clips_of_splits, dataset.clip_filters()))
planned = time.perf_counter() - start - read
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(f"| {name} | {windows} | {clips:,} | {read:.1f} | {planned:.1f} | {memory:,.0f} |")
"""


def kinetics(folder: Path, n: int, random_numbers: random.Random) -> None:
    """Write a CSV of Kinetics-700 and one video, since a folder without videos is refused."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "train").mkdir()
    (folder / "train" / "aaaaaaaaaaa_000000_000010.mp4").write_bytes(b"")
    with open(folder / "annotations" / "train.csv", "w") as file:
        file.write("label,youtube_id,time_start,time_end,split\n")
        for number in range(n):
            start = random_numbers.randrange(600)
            video = "".join(random_numbers.choices(LETTERS, k=11))
            file.write(f"action number {number % 700} (of some kind),{video},{start},{start + 10},train\n")


def moments(folder: Path, n: int, random_numbers: random.Random) -> None:
    """Write the tables of Moments in Time."""
    for name in ("training", "validation"):
        (folder / name).mkdir(parents=True)
    (folder / "moments_categories.txt").write_text("".join(f"action+{number},{number}\n" for number in range(339)))
    with open(folder / "trainingSet.csv", "w") as train, open(folder / "validationSet.csv", "w") as val:
        for number in range(n):
            label = f"action+{number % 339}"
            name = f"yt-{''.join(random_numbers.choices(LETTERS, k=11))}_{number % 300}.mp4"
            (train if number % 25 else val).write(f"{label}/{name},{label},3,0\n")


def table(folder: Path, n: int, random_numbers: random.Random) -> None:
    """Write a table of clips."""
    folder.mkdir()
    with open(folder / "clips.csv", "w") as file:
        file.write("path,caption,start,end,label\n")
        for number in range(n):
            label, start = f"action number {number % 700}", random_numbers.randrange(600)
            video = "".join(random_numbers.choices(LETTERS, k=11))
            file.write(f"videos/{video}.mp4,a person is doing {label} in the garden,{start},{start + 10},{label}\n")


def visdial_coco(folder: Path, n: int, random_numbers: random.Random) -> None:
    """Write VisDial 0.9 and the captions of COCO 2014 at their real size, and one picture."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "train2014").mkdir()
    (folder / "train2014" / "COCO_train2014_000000000001.jpg").write_bytes(b"")
    begin = 1
    for split, count in (("train", 82_783), ("val", 40_504)):
        images = range(begin, begin + count)
        begin += count
        _visdial(folder / f"visdial_0.9_{split}.json", split, images, random_numbers)
        with open(folder / "annotations" / f"captions_{split}2014.json", "w") as file:
            rows = (f'{{"file_name": "COCO_{split}2014_{image:012d}.jpg", "id": {image}}}' for image in images)
            file.write(f'{{"images": [{", ".join(rows)}], "annotations": [')
            text = "A person who stands in the garden is looking at something."
            captions = (
                f'{{"image_id": {image}, "id": {5 * image + number}, "caption": "{text}"}}'
                for image in images
                for number in range(5)
            )
            file.write(f"{', '.join(captions)}]}}")


def _visdial(path: Path, split: str, images: range, random_numbers: random.Random) -> None:
    questions = [f"is the number {number} person on the left looking at you" for number in range(4 * len(images))]
    answers = [f"no, it seems to be {number} of them" for number in range(4 * len(images))]
    numbers = [str(random_numbers.randrange(len(answers))) for _ in range(100_000)]
    with open(path, "w") as file:
        file.write(f'{{"version": "0.9", "split": "{split}", "data": {{"questions": {json.dumps(questions)}, ')
        file.write(f'"answers": {json.dumps(answers)}, "dialogs": [')
        for index, image in enumerate(images):
            turns = []
            for _ in range(10):
                start, right = random_numbers.randrange(len(numbers) - 100), random_numbers.randrange(100)
                options = numbers[start : start + 100]
                turns.append(
                    f'{{"answer": {options[right]}, "gt_index": {right}, '
                    f'"question": {random_numbers.randrange(len(questions))}, '
                    f'"answer_options": [{", ".join(options)}]}}'
                )
            file.write(f'{", " if index else ""}{{"image_id": {image}, "caption": "a person", "dialog": [{", ".join(turns)}]}}')
        file.write("]}}")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=650_000)
    parser.add_argument("--only", choices=("kinetics", "moments", "table", "visdial-coco"))
    arguments = parser.parse_args()
    n = arguments.n
    print(f"Python {platform.python_version()}, {platform.machine()}; {n:,} rows\n")
    print("| dataset | windows | clips | reading, s | planning, s | memory, MiB |\n|---|--:|--:|--:|--:|--:|")
    for write in (kinetics, moments, table, visdial_coco):
        name = write.__name__.replace("_", "-")
        if arguments.only not in (None, name):
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / "raw"
            write(folder, n, random.Random(0))
            for windows in (1,) if name == "visdial-coco" else (1, 2):
                subprocess.run([sys.executable, "-c", RUN, name, str(folder), str(windows)], check=True)


if __name__ == "__main__":
    main()

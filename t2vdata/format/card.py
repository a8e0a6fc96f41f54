"""The dataset card: a README.md for people, with a YAML header for Hugging Face."""

from __future__ import annotations

import json
from dataclasses import dataclass

from t2vdata.format.manifest import Manifest
from t2vdata.storage import Folder

NAME, PICTURE = "README.md", "preview.png"
# Hugging Face's name for this split, which it also uses when it derives splits from file names.
_HUB_NAMES = {"val": "validation"}
# {extension of the pixels: type of that column in Hugging Face datasets, in YAML}
_PIXEL_TYPES = {
    "mp4": ["dtype: video"],
    "jpg": ["dtype: image"],
    "npy.zst": ["list:", "  list:", "    list:", "      list: uint8"],
}


@dataclass(frozen=True)
class Contents:
    """What the card says about the clips that the manifest does not have."""

    is_pictures: bool = False
    """Whether all clips have one frame."""
    pixels: str | None = None
    """The extension of the pixels, if samples differ in the fields of their JSON: Hugging Face datasets derives types from the
    first samples, which is wrong for those, so the card states the types. Else None."""


def write(
    folder: Folder,
    manifest: Manifest,
    command: str,
    *,
    contents: Contents = Contents(),
    before: tuple[Manifest, str] | None = None,
) -> bool:
    """Write the card of a dataset; ``command`` is the command that builds it. Return whether it is there now.

    ``before`` are the manifest and the command of the dataset that is repaired or extended: a card that differs from the one
    written for it has been edited, and stays.
    """
    card = text(manifest, command, contents=contents).encode()
    if before is not None:
        written = (card, text(*before, contents=contents).encode())
        if folder.exists(NAME) and folder.read_bytes(NAME) not in written:
            return False
    folder.write(NAME, card)
    return True


def text(manifest: Manifest, command: str, *, contents: Contents = Contents()) -> str:
    """Return the card: YAML header, description, counts, how to read it, build command, licence and citation."""
    return "\n".join([*_header(manifest, contents), "", *_body(manifest, command)]) + "\n"


def _header(manifest: Manifest, contents: Contents) -> list[str]:
    lines = ["---", f"pretty_name: {json.dumps(manifest.dataset)}", "license: other"]
    lines += [f"license_name: {json.dumps(manifest.licence)}"]
    lines += ["task_categories:", f"- {'text-to-image' if contents.is_pictures else 'text-to-video'}"]
    lines += ["configs:", "- config_name: default", "  data_files:"]
    for split, entry in manifest.splits.items():
        if entry.shards:
            lines += [f"  - split: {_HUB_NAMES.get(split, split)}", "    path:"]
            lines += [f"    - {json.dumps(shard.name)}" for shard in entry.shards]
    return [*lines, *([] if contents.pixels is None else _types(contents.pixels)), "---"]


def _types(pixels: str) -> list[str]:
    """Return the types of the columns of Hugging Face datasets."""
    columns = {
        # Any JSON, with its own fields in each sample.
        "json": ["dtype: json"],
        pixels: _PIXEL_TYPES[pixels],
        "txt": ["dtype: string"],
        "__key__": ["dtype: string"],
        "__url__": ["dtype: string"],
    }
    lines = ["dataset_info:", "  features:"]
    for name, kind in columns.items():
        lines += [f"  - name: {json.dumps(name)}", *(f"    {line}" for line in kind)]
    return lines


def _body(manifest: Manifest, command: str) -> list[str]:
    return [*_contents(manifest), "", *_usage(manifest), "", *_origin(manifest, command)]


def _contents(manifest: Manifest) -> list[str]:
    tally = manifest.tally
    lines = [
        f"# {manifest.dataset}",
        "",
        "Captioned clips in WebDataset shards, built by t2vdata. `t2vdata show .` draws the picture, `t2vdata stats .` counts "
        "what is in it, and `t2vdata verify .` checks every byte.",
        "",
        *([f"![the first clips: frames from left to right, captions below]({PICTURE})", ""] if tally.kept else []),
        "| split | clips | shards | MB |",
        "|---|---:|---:|---:|",
    ]
    for split, entry in manifest.splits.items():
        megabytes = sum(shard.num_bytes for shard in entry.shards) / 1e6
        lines.append(f"| {split} | {entry.num_samples:,} | {len(entry.shards)} | {megabytes:,.1f} |")
    lines += [
        "",
        f"Of {tally.seen:,} clips, {tally.kept:,} were kept, {tally.num_rejected:,} rejected, {tally.num_failed:,} failed.",
    ]
    return lines


def _usage(manifest: Manifest) -> list[str]:
    return [
        "```python",
        "import t2vdata",
        'dataset = t2vdata.open_dataset(".")',
        f'clip = dataset["{next(iter(manifest.splits))}"][0]     # clip.frames (T, H, W, C) uint8, clip.captions, clip.meta',
        "```",
    ]


def _origin(manifest: Manifest, command: str) -> list[str]:
    return [
        "Made by",
        "",
        "```",
        command,
        "```",
        "",
        f"fingerprint `{manifest.fingerprint}`, built with "
        + ", ".join(f"{name} {version}" for name, version in manifest.built_with.items())
        + ".",
        "",
        "## Licence",
        "",
        manifest.licence,
        "",
        "## Citation",
        "",
        manifest.citation,
    ]

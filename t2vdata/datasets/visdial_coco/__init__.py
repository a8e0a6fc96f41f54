"""COCO pictures with their captions, and a VisDial dialogue about each: one sample per image.

COCO 2014 or 2017 and VisDial 0.9 or 1.0 are read as downloaded and joined on the image's id.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

from t2vdata.datasets import _text_files
from t2vdata.datasets.media import MediaDataset, MediaOptions, check_media_options, published
from t2vdata.datasets.visdial_coco import joined, layout, visdial
from t2vdata.datasets.visdial_coco.images import ImageClips
from t2vdata.datasets.visdial_coco.joined import ImageRow, Joined
from t2vdata.errors import RequestError
from t2vdata.types import Clip


@dataclass(frozen=True)
class VisdialCocoOptions:
    coco: Literal["auto", "2014", "2017"] = "auto"
    """Year of COCO's files; `auto` detects it."""
    visdial: Literal["auto", "0.9", "1.0"] = "auto"
    """Version of VisDial; `auto` detects it."""
    require: Literal["dialogue", "captions", "both"] = "both"
    """What an image must have; without a caption from COCO, VisDial's caption is used."""
    split: Literal["visdial", "coco"] = "visdial"
    """Which split to use for an image in both datasets; images without a dialogue use COCO's."""
    captions_per_image: int = 5
    """Maximum number of COCO captions per image, the first by annotation id."""
    size: int = 256
    """Height and width of a picture, in pixels; 0 keeps the file's size."""
    resize: Literal["shorter", "squash", "pad"] = "shorter"
    """`shorter` scales the shorter side to the size and crops the centre, `squash` ignores proportions, `pad` adds black."""
    keep_original: bool = False
    """Keep the bytes of the JPEG files unchanged, in their own size."""
    max_caption_chars: int | None = None
    """Drop captions with more characters than this."""
    max_caption_words: int | None = None
    """Drop captions with more words than this."""
    language: str | None = None
    """Drop captions whose text cannot be in this language, such as en. Needs t2vdata[language]."""
    clip_list: Path | None = None
    """Only these images: a file with one key per line, such as `diff` and `stats` write."""
    exclude_list: Path | None = None
    """All but these images: a file with one key per line."""
    min_size: int | None = None
    """Reject pictures with fewer pixels than this on their shorter side."""
    timeout: float = 60.0
    """Maximum decoding time of a picture, in seconds of processor time or sleep; a slower one fails."""


class VisdialCoco(MediaDataset):
    VERSION = 2
    SPLITS = ("train", "val", "test")
    LICENCE = (
        "VisDial's dialogues and COCO's captions: CC BY 4.0. Images: each has the Flickr licence of its owner, "
        "named in COCO's annotations; not ours to pass on."
    )
    CITATION = (
        "Abhishek Das et al.: Visual Dialog. CVPR 2017. Tsung-Yi Lin et al.: Microsoft COCO: Common Objects in Context. "
        "ECCV 2014. Xinlei Chen et al.: Microsoft COCO Captions: Data Collection and Evaluation Server. arXiv 1504.00325, 2015."
    )
    EXAMPLE = "--root COCO"
    ENCODING = "jpeg"
    TREE = """
COCO/
  annotations/captions_train2014.json, captions_val2014.json        or ...2017.json
  train2014/COCO_train2014_000000000009.jpg ...  val2014/ ...       or train2017/000000000009.jpg; also below images/
  visdial_0.9_train.json, visdial_0.9_val.json                      or visdial_1.0_{train,val,test}.json
  VisualDialog_val2018/VisualDialog_val2018_000000185565.jpg ...    images of 1.0's val and test, which are not COCO's
"""
    RAW_FILES = (
        "in --root, COCO's annotations/captions_{train,val}2014.json and folders train2014, val2014 (or 2017), "
        "and VisDial's visdial_0.9_{train,val}.json or visdial_1.0_{train,val,test}.json"
    )

    Options = VisdialCocoOptions
    options: VisdialCocoOptions

    @functools.cached_property
    def media_options(self) -> MediaOptions:
        return _media_options(self.options)

    @staticmethod
    def check(options: VisdialCocoOptions) -> None:
        defaults = VisdialCocoOptions
        if options.keep_original and (options.size, options.resize) != (defaults.size, defaults.resize):
            raise RequestError("--keep-original keeps the size of pictures; leave out --size and --resize")
        if options.captions_per_image < 1:
            raise RequestError(f"--captions-per-image {options.captions_per_image}: expected 1 or more")
        check_media_options(_media_options(options))

    def missing(self) -> str | None:
        """Return what the folder lacks and how to get it, or None."""
        if self.root is None:
            return f"give the folder of COCO and VisDial with --root DIR: {self.RAW_FILES.removeprefix('in --root, ')}"
        if (why := self.listing.missing()) is not None:
            return why
        why = self._files.why_not
        return super().missing() if why is None else f"{why} (in {self.root}, {self.listing.summary()})"

    def source(self) -> dict[str, Any]:
        """Return the hashes of the annotations. Images are not read."""
        paths = [self.listing.local(name) for name in (*self._files.dialogues, *self._files.captions)]
        return {"files": [[path.name, _text_files.sha256(path)] for path in paths], "decoder": self.decoder_identity()}

    def clips(self, split: str) -> Sequence[Clip]:
        """Return the images of a split as a lazy sequence: all clips together would take a gigabyte.

        Raises RawDataError for annotations that cannot be understood.
        """
        return ImageClips(self, tuple(self.joined.rows[split]))

    def original(self, clip: Clip) -> bytes | None:
        return self.media_bytes(clip) if self.options.keep_original else None

    def why_not_encoding(self, encoding: str) -> str | None:
        if not self.options.keep_original or encoding == "jpeg":
            return None
        return f"--keep-original keeps JPEG files, but --encoding is {encoding}; add --encoding jpeg"

    @functools.cached_property
    def joined(self) -> Joined:
        """The annotations of all images; read for all splits at once."""
        captions, dialogues = (
            [self.listing.local(name) for name in names] for names in (self._files.captions, self._files.dialogues)
        )
        table = joined.join(captions, dialogues, self._files.year, prefer_coco_split=self.options.split == "coco")
        if (self.options.clip_list, self.options.exclude_list) != (None, None):
            keys = {table.key(row) for rows in table.rows.values() for row in rows}
            self.lists.check_names(keys, frozenset())
            table.rows["train"] += [ImageRow(0, unlisted=clip) for clip in self.lists.unmatched_lines(keys)]
        return table

    def clip(self, row: ImageRow) -> Clip:
        """Return an image with its captions and its dialogue."""
        if row.unlisted is not None:
            return row.unlisted
        dialogues = self.joined.dialogues_of(row)
        is_coco = dialogues is None or dialogues.is_coco
        captions = self.joined.captions.of(row.image_id, self.options.captions_per_image) if is_coco else []
        kept_captions = set(self.kept_captions(text for _, text in captions))
        captions = [(caption_id, text) for caption_id, text in captions if text in kept_captions]
        turns = None if dialogues is None else dialogues.turns(row.number)
        visdial_caption = "" if dialogues is None else dialogues.captions[row.number]
        meta = {
            "image_id": row.image_id,
            "caption_ids": [caption_id for caption_id, _ in captions] or None,
            "caption_from": "coco" if captions else "visdial",
            "visdial": None if dialogues is None else f"{dialogues.version} {dialogues.split}",
            "visdial_caption": visdial_caption or None,
            "dialogue": turns,
            "dialogue_text": visdial.dialogue_text(turns) if turns else None,
        }
        source, problem = self.joined.source(row), self.joined.problem(row)
        return Clip(
            self.joined.key(row),
            # Without captions, "no caption" would be its only reason.
            tuple(text for _, text in captions) or (visdial_caption or "-",),
            media=self.listing.media(self._path(row)),
            group=self.joined.name(row),
            meta=published(meta),
            source=source if problem is None else f"{source} ({problem[1]})",
            reject_reason=self._why_not(row, turns, bool(captions), visdial_caption) if problem is None else problem[0],
        )

    @functools.cached_property
    def _files(self) -> layout.Files:
        return layout.find(self.listing, self.options.coco, self.options.visdial, self.options.require)

    def _path(self, row: ImageRow) -> str:
        """Return where an image is below the root; where it should be, if it is missing."""
        root, names = self.listing, self.joined.possible_paths(row)
        paths = [path for name in names for path in (name, f"images/{name}")]
        # A web server that lists no folders would get a request for each image.
        return next((path for path in paths if root.unlisted_reason is None and root.has(path)), names[0])

    def _why_not(self, row: ImageRow, turns: list[Any] | None, has_captions: bool, visdial_caption: str) -> str | None:
        if row.is_repeated:
            return "a second dialogue of its image"
        if row.file_index is not None and turns is None:
            return "a question or answer that its file does not have"
        if self.options.require != "captions" and not turns:
            return "no dialogue"
        if self.options.require != "dialogue" and not has_captions:
            dialogues = self.joined.dialogues_of(row)
            return "no captions" if dialogues is None or dialogues.is_coco else "no captions: not an image of COCO's"
        return None if has_captions or visdial_caption else "no captions"


DATASET = VisdialCoco


def _media_options(options: VisdialCocoOptions) -> MediaOptions:
    names = {field.name for field in fields(options)} & {field.name for field in fields(MediaOptions)}
    shared = MediaOptions(**{name: getattr(options, name) for name in names})
    return replace(shared, size=0) if options.keep_original else shared

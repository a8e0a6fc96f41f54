"""Pictures of COCO with their captions and a dialogue about each, from VisDial: one sample an image.

COCO 2014 or 2017 and VisDial 0.9 or 1.0 are read as downloaded and joined on the image's id.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple, overload

from t2vdata.datasets import _root
from t2vdata.datasets import media as media_base
from t2vdata.datasets._root import Root
from t2vdata.datasets.visdial_coco import coco, layout, visdial
from t2vdata.errors import RequestError
from t2vdata.filters import ClipFilter, FrameFilter
from t2vdata.types import Clip, Frames

VERSION = 2
SPLITS = ("train", "val", "test")
LICENCE = (
    "VisDial's dialogues and COCO's captions: CC BY 4.0. Images: each has the Flickr licence of its owner, "
    "named in COCO's annotations; not ours to pass on."
)
CITATION = (
    "Abhishek Das et al.: Visual Dialog. CVPR 2017. Tsung-Yi Lin et al.: Microsoft COCO: Common Objects in Context. ECCV 2014. "
    "Xinlei Chen et al.: Microsoft COCO Captions: Data Collection and Evaluation Server. arXiv 1504.00325, 2015."
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


@dataclass(frozen=True)
class Options:
    coco: Literal["auto", "2014", "2017"] = "auto"
    """Year of COCO's files; `auto` takes the one that is there."""
    visdial: Literal["auto", "0.9", "1.0"] = "auto"
    """Version of VisDial; `auto` takes the one that is there."""
    require: Literal["dialogue", "captions", "both"] = "both"
    """What an image must have; without captions of COCO's, VisDial's own is its caption."""
    split: Literal["visdial", "coco"] = "visdial"
    """Whose split counts for an image that has both; one that has no dialogue is in COCO's."""
    captions_per_image: int = 5
    """Captions of COCO's to keep of an image, the first by annotation id."""
    size: int = 256
    """Height and width of a picture, in pixels; 0 keeps the file's own."""
    resize: Literal["shorter", "squash", "pad"] = "shorter"
    """`shorter` brings the shorter side to the size and cuts out the middle, `squash` ignores proportions, `pad` adds black."""
    keep_original: bool = False
    """Keep the bytes of the JPEG files as they are, in the size that they have."""
    max_caption_chars: int | None = None
    """Leave out captions of more characters."""
    max_caption_words: int | None = None
    """Leave out captions of more words."""
    language: str | None = None
    """Leave out captions that cannot be in this language, such as en, by their text. Needs t2vdata[language]."""
    clip_list: Path | None = None
    """Only these images: a file with a key a line, such as `diff` and `stats` write."""
    exclude_list: Path | None = None
    """All but these images: a file with a key a line."""
    min_size: int | None = None
    """Leave out pictures with fewer pixels on their shorter side."""
    timeout: float = 60.0
    """Seconds that decoding a picture may take; one that takes longer has failed."""


def check(options: Options) -> None:
    """Raise RequestError for options that cannot be."""
    if options.keep_original and (options.size, options.resize) != (Options.size, Options.resize):
        raise RequestError("--keep-original keeps the size that pictures have; leave out --size and --resize")
    if options.captions_per_image < 1:
        raise RequestError(f"--captions-per-image {options.captions_per_image}: expected 1 or more")
    media_base.check(_of_media(options))


def missing(root: str | None, options: Options) -> str | None:
    """Return what is not in the folder and how to get it, or None."""
    if root is None:
        return f"say where COCO and VisDial are, with --root DIR: {RAW_FILES.removeprefix('in --root, ')}"
    there = _root.of(root, anew=True)
    if (why := there.why_not()) is not None:
        return why
    why_not = _find(there, options).why_not
    if why_not is None:
        return media_base.missing(_of_media(options))
    return f"{why_not} (in {root}, {there.shown()})"


def source(root: str | None, options: Options) -> dict[str, Any]:
    """Return the hashes of the annotations. Images are not read for it."""
    there = _root.of(root)
    files = _find(there, options)
    paths = [there.local(name) for name in (*files.dialogues, *files.captions)]
    told = [[path.name, _sha256(path, *_state(path))] for path in paths]
    return {"files": told, "decoder": media_base.identity(_of_media(options))}


def clips(root: str | None, split: str, options: Options, seed: int) -> Sequence[Clip]:
    """Return the images of a split, made of the annotations as they are asked for: a clip each would be a gigabyte.

    Raises RawDataError for annotations that cannot be understood.
    """
    content = f"{source(root, options)}, listing {_root.of(root).serial}"
    return _Images(root or ".", options, content, tuple(_joined(root or ".", options, content).rows[split]))


def filters(options: Options) -> tuple[Sequence[ClipFilter], Sequence[FrameFilter]]:
    return media_base.clip_filters(_of_media(options))


def render(clip: Clip, options: Options) -> Frames:
    return media_base.render(clip, _of_media(options))


def frame_size(options: Options) -> tuple[int, int] | None:
    return media_base.frame_size(_of_media(options))


def original(clip: Clip, options: Options) -> bytes | None:
    return media_base.original(clip, _of_media(options)) if options.keep_original else None


def _of_media(options: Options) -> media_base.MediaOptions:
    names = {one.name for one in fields(options)} & {one.name for one in fields(media_base.MediaOptions)}
    told = media_base.MediaOptions(**{name: getattr(options, name) for name in names})
    return replace(told, size=0) if options.keep_original else told


def _find(root: Root, options: Options) -> layout.Files:
    return layout.find(root, options.coco, options.visdial, options.require)


def _state(path: Path) -> tuple[int, int]:
    told = path.stat()
    return told.st_size, told.st_mtime_ns


@functools.lru_cache(maxsize=16)
def _sha256(path: Path, size_bytes: int, changed_ns: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Row(NamedTuple):
    """An image as the annotations name it."""

    image_id: int
    which: int | None = None
    """Number of the file of dialogues; None for an image without one."""
    number: int = 0
    """Of the dialogue in its file."""
    is_again: bool = False
    """Whether a dialogue of the same image came before."""
    absent: Clip | None = None
    """What stands for a line of --clip-list that is no image."""


@dataclass
class _Joined:
    """Captions and dialogues, and which images are in which split."""

    dialogues: list[visdial.Dialogues]
    captions: coco.Captions
    rows: dict[str, list[_Row]]
    year: str


@functools.lru_cache(maxsize=1)
def _joined(root: str, options: Options, content: str) -> _Joined:
    """Return all images; read once for all splits, and again when the ``content`` has changed."""
    there = _root.of(root)
    files = _find(there, options)
    captions = coco.read_captions([there.local(name) for name in files.captions])
    made = _Joined(
        [visdial.read_dialogues(there.local(name)) for name in files.dialogues],
        captions,
        {split: [] for split in SPLITS},
        files.year,
    )
    spoken: set[tuple[str, int]] = set()
    for which, one in enumerate(made.dialogues):
        for number, image_id in enumerate(one.image_ids):
            told = ("coco" if one.is_coco else one.split, image_id)
            official = one.split
            if one.is_coco and options.split == "coco" and image_id in captions.images:
                official = _split_of(captions, image_id)
            made.rows[official].append(_Row(image_id, which, number, told in spoken))
            spoken.add(told)
    for image_id in sorted(captions.images):
        if ("coco", image_id) not in spoken:
            made.rows[_split_of(captions, image_id)].append(_Row(image_id))
    if (options.clip_list, options.exclude_list) != (None, None):
        keys = {_key(made, row) for rows in made.rows.values() for row in rows}
        media_base.check_names(_of_media(options), keys, frozenset())
        made.rows["train"] += [_Row(0, absent=clip) for clip in media_base.absent(_of_media(options), keys)]
    return made


def _key(joined: _Joined, row: _Row) -> str:
    """Return the key of an image; a second dialogue of it has one of its own."""
    name = _name(joined, row)
    return f"{name}-{row.which}-{row.number}" if row.is_again else name


def _name(joined: _Joined, row: _Row) -> str:
    one = None if row.which is None else joined.dialogues[row.which]
    return f"{row.image_id:012d}" if one is None or one.is_coco else f"{one.split}2018-{row.image_id:012d}"


def _split_of(captions: coco.Captions, image_id: int) -> str:
    return coco.image_folder(captions.images[image_id][0])[:-4]


@dataclass(frozen=True)
class _Images(Sequence[Clip]):
    """The images of a split, as clips that are made when they are asked for."""

    root: str
    options: Options
    content: str
    rows: tuple[_Row, ...]

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, wanted: int) -> Clip: ...
    @overload
    def __getitem__(self, wanted: slice) -> _Images: ...
    def __getitem__(self, wanted: int | slice) -> Clip | _Images:
        if isinstance(wanted, slice):
            return _Images(self.root, self.options, self.content, self.rows[wanted])
        return _clip(_joined(self.root, self.options, self.content), self.rows[wanted], self.root, self.options)

    def __iter__(self) -> Iterator[Clip]:
        joined = _joined(self.root, self.options, self.content)
        return (_clip(joined, row, self.root, self.options) for row in self.rows)


def _clip(joined: _Joined, row: _Row, root: str, options: Options) -> Clip:
    if row.absent is not None:
        return row.absent
    image_id = row.image_id
    one = None if row.which is None else joined.dialogues[row.which]
    is_coco = one is None or one.is_coco
    captions = joined.captions.of(image_id, options.captions_per_image) if is_coco else []
    turns = one.turns(row.number) if one is not None else None
    own = one.captions[row.number] if one is not None else ""
    kept = set(media_base.caption_filter(_of_media(options)).kept(text for _, text in captions))
    captions = [(known, text) for known, text in captions if text in kept]
    there = _root.of(root)
    path = _path(joined, one, image_id, there)
    source = (
        f"{one.path.name}, dialog {row.number + 1}" if one else f"{joined.captions.images[image_id][0].name}, image {image_id}"
    )
    meta = {
        "image_id": image_id,
        "caption_ids": [known for known, _ in captions] or None,
        "caption_from": "coco" if captions else "visdial",
        "visdial": f"{one.version} {one.split}" if one else None,
        "visdial_caption": own or None,
        "dialogue": turns,
        "dialogue_text": visdial.dialogue_text(turns) if turns else None,
    }
    return Clip(
        _key(joined, row),
        # A picture that nobody speaks about has a reason of its own.
        tuple(text for _, text in captions) or (own or "-",),
        media=there.media(path),
        group=_name(joined, row),
        meta={name: value for name, value in meta.items() if value is not None},
        source=source,
        reject_reason=_why_not(turns, bool(captions), row, own, is_coco, options),
    )


def _why_not(turns: list[Any] | None, has_captions: bool, row: _Row, own: str, is_coco: bool, options: Options) -> str | None:
    if row.is_again:
        return "a second dialogue of its image"
    if row.which is not None and turns is None:
        return "a question or answer that its file does not have"
    if options.require != "captions" and not turns:
        return "no dialogue"
    if options.require != "dialogue" and not has_captions:
        return "no captions" if is_coco else "no captions: not an image of COCO's"
    return None if has_captions or own else "no captions"


def _path(joined: _Joined, one: visdial.Dialogues | None, image_id: int, root: Root) -> str:
    """Return where an image is, below the root; where it should be, when it is not there."""
    if one is not None and not one.is_coco:
        folder = f"VisualDialog_{one.split}2018"
        names = [f"{folder}/{folder}_{image_id:012d}.jpg"]
    elif image_id in joined.captions.images:
        file, name = joined.captions.images[image_id]
        names = [f"{coco.image_folder(file)}/{name}"]
    else:
        folders = [f"{split}{joined.year}" for split in ("train", "val")]
        names = [f"{folder}/{coco.image_name(folder, image_id)}" for folder in folders]
    places = [place for name in names for place in (name, f"images/{name}")]
    # A web server that lists no folders would be asked for each image.
    return next((place for place in places if root.why_unlisted is None and root.has(place)), names[0])

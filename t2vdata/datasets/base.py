"""`Dataset`: the base class of all datasets. A build opens one instance."""

from __future__ import annotations

import abc
import functools
import inspect
import sys
from collections.abc import Sequence
from typing import Any, ClassVar

from t2vdata.datasets.root import Root
from t2vdata.filters import ClipFilter, FrameFilter
from t2vdata.storage.archives import Archive, Contents
from t2vdata.types import Clip, Frames

REQUIRED_ATTRIBUTES = ("VERSION", "SPLITS", "LICENCE", "CITATION", "Options")


class Dataset(abc.ABC):
    """A dataset, opened with a root, options and a seed. Subclass it to add one, see docs/add-a-dataset.md.

    The object owns everything it reads: the listing of its raw files, its annotations, the contents of its archives. Opening
    reads nothing; methods read on first use. Worker processes open their own object, in which only ``render``,
    ``frame_filters`` and ``original`` are called, so these must not depend on what other methods have read.
    """

    VERSION: ClassVar[int]
    """Increase it whenever the same options give different clips."""
    SPLITS: ClassVar[tuple[str, ...]]
    """Names of the splits, in order."""
    LICENCE: ClassVar[str]
    CITATION: ClassVar[str]
    """Texts for the manifest and the dataset card."""
    Options: ClassVar[type]
    """A frozen dataclass. Its fields become flags of ``t2vdata build <name>``, the text under a field the flag's help."""

    EXAMPLE: ClassVar[str] = ""
    """Flags of an example command, for the command line."""
    RAW_FILES: ClassVar[str] = "none; the build makes the data"
    """Which raw files are needed and where, for the command line."""
    TREE: ClassVar[str] = ""
    """The tree of folders that holds the raw files, for the command line."""
    ENCODING: ClassVar[str] = "lossless"
    """Default of ``--encoding``."""
    PACKAGED: ClassVar[tuple[str, ...]] = ()
    """Options that replace packaged files by identical ones; the dataset card leaves them out."""

    def __init__(self, root: str | None, options: Any, seed: int) -> None:
        self.root = root
        """Folder or URL of the raw files, as given."""
        self.options = options
        """An ``Options`` that passed ``check``."""
        self.seed = seed

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickling carries the request, not the data that this object has read.
        return type(self), (self.root, self.options, self.seed)

    @classmethod
    def description(cls) -> str:
        """Return the description that the command line shows: the docstring of the class, or else of its module."""
        return inspect.cleandoc(cls.__doc__ or sys.modules[cls.__module__].__doc__ or "").replace("``", "`")

    @staticmethod  # noqa: B027  # not abstract: most options need no check
    def check(options: Any) -> None:
        """Raise RequestError for options that are out of range or contradict each other."""

    @functools.cached_property
    def listing(self) -> Root:
        """The root (default: the current folder). One behind a URL is listed once, on first use."""
        return Root(self.root or ".")

    @abc.abstractmethod
    def clips(self, split: str) -> Sequence[Clip]:
        """Return the clips of a split: cheap, no pixels. A list, or a lazy sequence that can be sliced and pickled.

        Raises RawDataError for annotations that cannot be understood.
        """

    @abc.abstractmethod
    def render(self, clip: Clip) -> Frames:
        """Return the frames of a clip. Raises a ClipError for a clip that cannot be made; anything else stops the build."""

    def clip_filters(self) -> Sequence[ClipFilter]:
        """Return the filters to apply before a clip is rendered."""
        return ()

    def frame_filters(self) -> Sequence[FrameFilter]:
        """Return the filters to apply to rendered frames."""
        return ()

    def missing(self) -> str | None:
        """Return which raw file is missing and how to get it, or None."""
        return None

    def source(self) -> dict[str, Any]:
        """Return what identifies the raw data, as JSON values (hashes): part of the build's fingerprint."""
        return {}

    def frame_size(self) -> tuple[int, int] | None:
        """Return (height, width) if all clips have one size, else None."""
        return None

    def original(self, clip: Clip) -> bytes | None:
        """Return the bytes of a JPEG picture that goes into the shard unchanged, or None to encode the frames."""
        return None

    def why_not_encoding(self, encoding: str) -> str | None:
        """Return why the clips cannot have an ``--encoding``, such as ``lossless``, or None.

        Answer for all but ``jpeg`` if ``original`` returns pictures.
        """
        return None

    def archives(self) -> Sequence[Archive]:
        """Return the archives that may hold raw files. The build lists their contents and passes them to ``learn``."""
        return ()

    def learn(self, contents: Sequence[Contents], *, is_complete: bool = True) -> None:
        """Receive the contents of the archives, before ``clips`` is called again.

        With ``is_complete=False`` they are a sample: clips found in no archive may still be in one.
        """
        raise NotImplementedError(f"{type(self).__name__} has archives(), so it needs learn() too")

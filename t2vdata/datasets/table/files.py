"""The media files that a table names: where each is, and which spellings name the same file."""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
import urllib.parse
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, replace

from t2vdata import storage
from t2vdata.datasets._cells import CellError
from t2vdata.datasets.root import Root
from t2vdata.text import captions
from t2vdata.types import MediaRef

# Parameters of signed URLs, which differ from signing to signing.
_SIGNATURE = re.compile(r"x-amz-.*|x-goog-.*|signature|expires|awsaccesskeyid|googleaccessid|key-pair-id|policy", re.IGNORECASE)
# Those of Azure's signed URLs, which all have "sig".
_AZURE_SIGNATURE = re.compile(r"sv|ss|srt|sr|sp|st|se|sip|spr|si|sig|skoid|sktid|skt|ske|sks|skv", re.IGNORECASE)
_PORTS = {"http": ":80", "https": ":443"}
# Names of one store.
_SCHEMES = {"https": "http", "s3a": "s3", "s3n": "s3", "gcs": "gs"}


_FILE_URL = re.compile(r"file://(?:localhost)?(/.*)", re.IGNORECASE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A media file as a table names it."""

    name: str
    """The path or URL as in the table, with blanks and Unicode in their usual form: for keys and for the sample."""
    path: str
    """Path or URL that leads to the file."""
    identity: Hashable
    """Equal for all names of one file."""
    size_bytes: int | None = None
    row: int | None = None
    """Row of the table that has the bytes of the file in it."""


class Files:
    """Finds the files that the paths and URLs of a table name; relative paths start at a base, a folder or a URL."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._known: dict[str, NamedFile] = {}

    def find(self, text: str) -> NamedFile:
        """Return the file of a path or URL.

        A path is taken as it stands. Only if there is no such file, it is tried without blanks at its ends, without doubled
        blanks, in the other form of Unicode, and with slashes for backslashes. Links are resolved. Raises CellError for a URL
        that no file can have.
        """
        if text not in self._known:
            self._known[text] = self._find(text)
        return self._known[text]

    def _find(self, text: str) -> NamedFile:
        name = captions.clean(text)
        if not storage.is_url(text) and not storage.is_url(self._base):
            return self._local(name, _spellings(text))
        url = text.strip() if storage.is_url(text) else storage.join(self._base, text.strip())
        protocol, mark, rest = url.partition("://")
        url = f"{protocol.lower()}{mark}{rest}"
        if (local := _FILE_URL.fullmatch(url)) is not None:
            return self._local(name, (local[1], urllib.parse.unquote(local[1])))
        if (problem := storage.why_not_url(url)) is not None:
            raise CellError(f"is {problem}", text)
        return NamedFile(name, url, _url_identity(url))

    def _local(self, name: str, spellings: Iterable[str]) -> NamedFile:
        paths = []
        for spelling in spellings:
            paths.append(os.path.join(self._base, spelling))
            if (identity := _local_identity(paths[-1])) is not None:
                return NamedFile(name, paths[-1], identity)
        return NamedFile(name, paths[0], os.path.normpath(paths[0]))


def _spellings(text: str) -> Iterator[str]:
    """Yield the ways to read a path, the one as it stands first."""
    yield text
    cleaned = captions.clean(text)
    forms = [unicodedata.normalize("NFD", spelling) for spelling in (text, text.strip(), cleaned)]
    others = (text.strip(), unicodedata.normalize("NFC", text), cleaned, *forms, cleaned.replace("\\", "/"))
    yield from filter(None, dict.fromkeys(others))


def _local_identity(path: str) -> Hashable | None:
    """Return what all names of an existing file or folder share, or None."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return status.st_dev, status.st_ino


def _url_identity(url: str) -> Hashable:
    """Return a URL in one form: two ways to write an address are one file, and so are two signatures of one address."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return url
    is_web = parts.scheme.lower() in _PORTS
    host = parts.netloc.lower().removesuffix(_PORTS[parts.scheme.lower()]) if is_web else parts.netloc
    # "?" and "#" are characters of a name in an object store.
    rest = urllib.parse.unquote(parts.path) if is_web else url.partition("://")[2].partition("/")[2]
    pairs = filter(None, parts.query.split("&")) if is_web else ()
    values = {pair: pair.partition("=")[0] for pair in pairs}
    signature = _AZURE_SIGNATURE if "sig" in values.values() else _SIGNATURE
    query = sorted(pair for pair, name in values.items() if not signature.fullmatch(name))
    scheme = parts.scheme.lower()
    return _SCHEMES.get(scheme, scheme), host, posixpath.normpath(f"/{rest}"), *query


def listed_media(base: str, names: Iterable[str]) -> Callable[[str], MediaRef | None]:
    """Return a function from a relative path below a URL to its media file, by one listing of the folder that holds them all.

    It returns None for what such a listing does not cover: absolute URLs, and paths that leave the folder.
    """
    folders = {posixpath.normpath(posixpath.dirname(name)) for name in names if _is_below(name)}
    if not folders:
        return lambda _: None
    top = posixpath.commonpath(folders)
    root = Root(base if top == "." else storage.join(base, top))

    def media(name: str) -> MediaRef | None:
        if not _is_below(name):
            return None
        plain = posixpath.normpath(name)
        ref = root.media(posixpath.relpath(plain, top))
        # The path as the table has it: a web server's listing would quote it.
        return replace(ref, path=storage.join(base, plain), name=name)

    return media


def _is_below(name: str) -> bool:
    return bool(name) and not storage.is_url(name) and not name.startswith("/") and ".." not in name.split("/")

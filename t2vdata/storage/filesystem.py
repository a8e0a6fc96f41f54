"""The file system behind a URL, through fsspec, with its errors mapped to ours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from t2vdata.errors import RequestError, StorageError, TransientError

Answer = TypeVar("Answer")


def is_http(url: str) -> bool:
    """Return whether a URL is that of a web server."""
    return url.lower().startswith(("http://", "https://"))


def ask(url: str, operation: Callable[[Any], Answer], *, doing: str = "read") -> Answer:
    """Run an operation on the file system of a URL and return its result; map its errors to ours."""
    with mapped_errors(url, doing):
        import fsspec

        # Listings are not cached: other processes write there too.
        options = {} if is_http(url) else {"use_listings_cache": False}
        return operation(fsspec.core.url_to_fs(url, **options)[0])


@contextlib.contextmanager
def mapped_errors(url: str, doing: str = "read") -> Iterator[None]:
    """Map what the libraries of stores raise. Each has its own exceptions, which we cannot import without it."""
    try:
        yield
    except StorageError:
        raise
    except Exception as error:
        raise _our_error(error, url, doing) from error


def _our_error(error: Exception, url: str, doing: str) -> Exception:
    """Return our error for one of fsspec, or of a library below it."""
    name, text = type(error).__name__, str(error) or type(error).__name__
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return FileNotFoundError(f"no file at {url}: {text}")
    if isinstance(error, ImportError):
        extra = "; pip install 't2vdata[remote]'" if is_http(url) or url.startswith("s3") else ""
        return RequestError(f"cannot open {url}: {text}{extra}")
    if isinstance(error, PermissionError) or "Credential" in name:
        return StorageError(f"no permission for {url}: {text}; give fsspec your credentials (S3: AWS_ACCESS_KEY_ID ...)")
    # Includes aiohttp's InvalidURL.
    if isinstance(error, ValueError):
        return RequestError(f"cannot open {url}: {text}")
    return TransientError(f"cannot {doing} {url}: {text if isinstance(error, OSError) else f'{name}: {text}'}")

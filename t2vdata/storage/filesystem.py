"""The file system behind a URL, through fsspec, with its errors mapped to ours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from t2vdata.errors import RequestError, StoppedError, StorageError, TransientError
from t2vdata.storage import redirects

Answer = TypeVar("Answer")

# Characters of a library's message that ours quotes.
_MAX_MESSAGE = 400

# Time limits of a request to S3. botocore repeats it once at once, for an answer that was lost or a server that is busy;
# waiting longer is up to us, see retry.py. The retries of s3fs are off, since each would repeat those of botocore.
_S3_CONFIG = {"connect_timeout": 10, "read_timeout": 30, "retries": {"total_max_attempts": 2, "mode": "standard"}}


def is_http(url: str) -> bool:
    """Return whether a URL is that of a web server."""
    return url.lower().startswith(("http://", "https://"))


def ask(url: str, operation: Callable[[Any], Answer], *, doing: str = "read") -> Answer:
    """Run an operation on the file system of a URL and return its result; map its errors to ours."""
    with mapped_errors(url, doing):
        return operation(_system(url))


def _system(url: str) -> Any:
    """Return fsspec's file system for a URL, with our limits."""
    import fsspec

    if is_http(url):
        return fsspec.core.url_to_fs(url, get_client=redirects.open_session)[0]
    # Listings are not cached: other processes write there too.
    options: dict[str, Any] = {"use_listings_cache": False}
    if not url.startswith(("s3://", "s3a://")):
        return fsspec.core.url_to_fs(url, **options)[0]
    users = fsspec.config.conf.get("s3", {}).get("config_kwargs", {})
    system = fsspec.core.url_to_fs(url, **options, config_kwargs={**_S3_CONFIG, **users})[0]
    system.retries = 1
    return system


@contextlib.contextmanager
def mapped_errors(url: str, doing: str = "read") -> Iterator[None]:
    """Map what the libraries of stores raise. Each has its own exceptions, which we cannot import without it."""
    try:
        yield
    except StoppedError as error:
        raise stopped(url) from error
    except StorageError:
        raise
    except Exception as error:
        raise _our_error(error, url, doing) from error


def stopped(url: str) -> StoppedError:
    """Return the error of a read that was stopped."""
    return StoppedError(f"the reader of {url} was closed while it was reading; open another")


def _our_error(error: Exception, url: str, doing: str) -> Exception:
    """Return our error for one of fsspec, or of a library below it."""
    # In one line of bounded length: it may quote what a server sent.
    line = " ".join(str(error).split())
    name, text = type(error).__name__, line[:_MAX_MESSAGE] or type(error).__name__
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return FileNotFoundError(f"no file at {url}: {text}")
    if isinstance(error, ImportError):
        is_in_extra = is_http(url) or url.startswith("s3")
        install = "pip install 't2vdata[remote]'" if is_in_extra else "install that package with pip"
        return RequestError(f"cannot open {url}: {text}; {install}")
    if isinstance(error, PermissionError) or "Credential" in name:
        return StorageError(f"no permission for {url}: {text}; give fsspec your credentials (S3: AWS_ACCESS_KEY_ID ...)")
    # Includes aiohttp's InvalidURL.
    if isinstance(error, ValueError):
        return RequestError(f"cannot open {url}: {text}")
    return TransientError(f"cannot {doing} {url}: {text if isinstance(error, OSError) else f'{name}: {text}'}")

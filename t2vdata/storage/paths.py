"""Paths and URLs: telling them apart and joining names to them."""

from __future__ import annotations

import os
import urllib.parse


def is_url(path: str) -> bool:
    """Return whether ``path`` is a URL such as s3://bucket/key; ``pipe:`` and other shell forms are not."""
    return "://" in path


def why_not_url(url: str) -> str | None:
    """Return why no file can be behind a URL, or None: an unknown protocol, no host, no name. Nothing is asked."""
    from fsspec.registry import known_implementations, registry

    protocol, _, rest = url.partition("://")
    if "::" in url:
        return None
    if protocol not in known_implementations and protocol not in registry:
        return "a URL of an unknown protocol"
    if protocol not in ("http", "https"):
        bucket, _, key = rest.partition("/")
        return "a URL without a bucket or a name" if protocol in ("s3", "s3a", "gs", "gcs") and not (bucket and key) else None
    try:
        parts = urllib.parse.urlsplit(url)
        is_valid = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    return None if is_valid else "a URL without a valid host"


def absolute(path: str) -> str:
    """Return a path or URL that means the same in every working directory."""
    if path.startswith("file://"):
        return f"file://{os.path.abspath(path.removeprefix('file://'))}"
    return path if is_url(path) else os.path.abspath(path)


def join(folder: str, *names: str) -> str:
    """Return the path of a name below ``folder``, a local path or a URL. URLs always get forward slashes."""
    return "/".join([folder.rstrip("/"), *names]) if is_url(folder) else os.path.join(folder, *names)


def parent(path: str) -> str:
    """Return the folder that a local path or URL lies in."""
    return path.rpartition("/")[0] if is_url(path) else os.path.dirname(path)

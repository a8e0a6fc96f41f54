"""Paths and URLs: telling them apart and joining names to them."""

from __future__ import annotations

import os


def is_url(path: str) -> bool:
    """Return whether ``path`` is a URL such as s3://bucket/key; ``pipe:`` and other shell forms are not."""
    return "://" in path


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

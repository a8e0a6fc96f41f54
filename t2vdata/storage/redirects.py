"""Which redirects of a web server are followed: data must not decide which hosts of a network are asked.

A redirect may lead to the same host and port, from http to https of the same host, from a site in ``_FILE_HOSTS`` to the hosts
that hold its files, or to a host that the user names in ``T2VDATA_REDIRECT_HOSTS``. None leads from https to http, or from a
public host to a private, loopback or link-local address.
"""

from __future__ import annotations

import asyncio
import fnmatch
import ipaddress
import os
import socket
from typing import Any

from t2vdata.errors import StorageError

ALLOWED_HOSTS_VARIABLE = "T2VDATA_REDIRECT_HOSTS"
# Sites whose files lie on other hosts, as their documentation says.
_FILE_HOSTS = {
    "huggingface.co": ("*.huggingface.co", "*.hf.co"),
    "github.com": ("*.githubusercontent.com", "*.github.com"),
}


async def open_session(**options: Any) -> Any:
    """Return an ``aiohttp.ClientSession`` that raises StorageError before it follows a redirect which is not allowed."""
    import aiohttp

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(_check_redirect)
    return aiohttp.ClientSession(trace_configs=[trace], **options)


async def _check_redirect(session: Any, context: Any, redirect: Any) -> None:
    from yarl import URL

    location = redirect.response.headers.get("Location") or redirect.response.headers.get("URI") or ""
    source = redirect.url
    try:
        target = source.join(URL(location))
        reason = why_not(source, target) or await why_not_address(source, target)
    except ValueError:
        target, reason = location, "that is no URL"
    if reason is not None:
        redirect.response.close()
        raise StorageError(f"{source} redirects to {target}, which is not followed: {reason}")


def why_not(source: Any, target: Any) -> str | None:
    """Return why a redirect between two ``yarl.URL`` is not followed, or None."""
    if target.scheme not in ("http", "https"):
        return "expected http or https"
    if source.scheme == "https" and target.scheme == "http":
        return "it leads from https to http; open the https address of the file itself"
    if target.host == source.host and (target.port == source.port or (source.port, target.port) == (80, 443)):
        return None
    named = [name.strip().lower() for name in os.environ.get(ALLOWED_HOSTS_VARIABLE, "").split(",") if name.strip()]
    host = (target.host or "").lower()
    if any(fnmatch.fnmatchcase(host, pattern) for pattern in (*named, *_FILE_HOSTS.get(source.host or "", ()))):
        return None
    return f"that is another host; open that address itself, or allow it with {ALLOWED_HOSTS_VARIABLE}={host}"


async def why_not_address(source: Any, target: Any) -> str | None:
    """Return why the addresses of a redirect's hosts forbid to follow it, or None."""
    if target.host == source.host:
        return None
    if await _is_public(source) and not await _is_public(target):
        return "it leads from a public host to a private address; open that address itself"
    return None


async def _is_public(url: Any) -> bool:
    """Return whether all addresses of a host are public. A host without an address is: connecting to it will fail."""
    try:
        answers = await asyncio.get_running_loop().getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    except OSError:
        return True
    # A link-local address of IPv6 has a zone after a percent sign.
    return all(ipaddress.ip_address(str(answer[4][0]).partition("%")[0]).is_global for answer in answers)

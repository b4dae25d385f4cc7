"""The only place that uses a network, and only for an address that the user has named."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from deniability.errors import InputError, UncheckedError

#: Seconds for a whole answer.
TIMEOUT = 30.0
_CHUNK = 16_384


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follow redirects to http and https only, and not from https to http."""

    max_redirections = 5

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        """Refuse another scheme: a server must not choose what is read on this machine."""
        scheme = urllib.parse.urlsplit(newurl).scheme
        if scheme != "https" and (scheme != "http" or req.type == "https"):
            raise UncheckedError(
                "the server redirects to where it must not",
                where=req.full_url,
                found=newurl[:200],
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def check_url(url: str, *, option: str) -> str:
    """Return a URL that can be used.

    Raises:
        InputError: it is not http or https, or names no host.

    """
    try:
        parts = urllib.parse.urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        good = False
    if not good or not url.isascii() or any(c.isspace() for c in url):
        raise InputError(
            "not an address that can be asked",
            where=option,
            expected="http://HOST/… or https://HOST/…",
            found=ascii(url)[:200],
        )
    return url


def fetch(
    url: str,
    *,
    data: bytes | None = None,
    headers: dict[str, str] | None = None,
    max_bytes: int,
    timeout: float = TIMEOUT,
) -> bytes:
    """Return what a server answers.

    Args:
        url: http or https (`check_url`).
        data: to be posted, if anything.
        headers: of the request.
        max_bytes: largest answer accepted; no more is read.
        timeout: seconds for all of it, also for a server that answers byte by byte.

    Raises:
        UncheckedError: no answer, too late, too large, or an HTTP error.

    """
    deadline = time.monotonic() + timeout
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler,
        urllib.request.HTTPHandler,
        urllib.request.HTTPSHandler,
        urllib.request.HTTPErrorProcessor,
        urllib.request.HTTPDefaultErrorHandler,
        _Redirects,
    ):
        opener.add_handler(handler())
    request = urllib.request.Request(url, data=data, headers=headers or {})  # noqa: S310 - checked
    try:
        answer = opener.open(request, timeout=timeout)
        if answer is None:
            raise UncheckedError("not an address that can be asked", where=url)
        with answer:
            return _read(answer, url, max_bytes, deadline)
    except urllib.error.HTTPError as cause:
        cause.close()
        raise UncheckedError(
            "the server refused", where=url, found=f"HTTP status {cause.code}"
        ) from cause
    except TimeoutError as cause:
        raise _late(url) from cause
    except (OSError, http.client.HTTPException, ValueError) as cause:
        reason = getattr(cause, "reason", cause)
        if isinstance(reason, TimeoutError):
            raise _late(url) from cause
        raise UncheckedError("no answer", where=url, found=str(reason)[:200]) from cause


def _read(answer: Any, url: str, max_bytes: int, deadline: float) -> bytes:
    parts: list[bytes] = []
    size = 0
    while chunk := answer.read1(_CHUNK):
        size += len(chunk)
        if size > max_bytes:
            raise UncheckedError(
                "the answer is too large", where=url, expected=f"at most {max_bytes} bytes"
            )
        if time.monotonic() > deadline:
            raise _late(url)
        parts.append(chunk)
    return b"".join(parts)


def _late(url: str) -> UncheckedError:
    return UncheckedError("no answer in time", where=url, hint="Try again, or name another server.")

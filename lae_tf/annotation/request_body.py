"""The body of a request to a page or to Label Studio's backend, bounded."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request

LARGEST_BODY = 64 * 2**20


async def read_body(request: Request) -> bytes:
    """Return a request's body.

    Raises:
        HTTPException: it has more than ``LARGEST_BODY`` bytes.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST_BODY:
            raise HTTPException(413, f"The request has more than {LARGEST_BODY} bytes.")
    return bytes(body)

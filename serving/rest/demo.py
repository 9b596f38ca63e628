"""The demo page: one document with everything in it, for people who want to try a model."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

import jinja2
from starlette.responses import Response

DEMO_PATH = "/demo"
_STATIC = Path(__file__).parent / "static"


class DemoPage:
    """The page, put together once.

    Args:
        models: names of the models that it offers.
        asks_token: the server wants a bearer token, which the page then asks for.
    """

    def __init__(self, models: Sequence[str], asks_token: bool):
        style, script = ((_STATIC / name).read_text(encoding="utf-8") for name in ("demo.css", "demo.js"))
        environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_STATIC), autoescape=True)
        values = {"style": style, "script": script, "models": models, "asks_token": asks_token}
        self._page = environment.get_template("demo.html").render(values).encode()
        # Nothing but the page's own code runs, and it talks to this server alone.
        policy = (
            f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
            "img-src blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        )
        self._headers = {
            "Content-Security-Policy": policy,
            "Cache-Control": "no-cache",
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }

    def response(self) -> Response:
        """Return the page as an answer."""
        return Response(self._page, 200, self._headers, media_type="text/html")


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"

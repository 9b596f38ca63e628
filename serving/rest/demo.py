"""The demo page: one document with everything in it, for people who want to try a model."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import jinja2
from starlette.responses import Response

from lae_tf.masks.regions import LEVEL, SMALLEST_SHARE

DEMO_PATH = "/demo"
_STATIC = Path(__file__).parent / "static"
_SCRIPTS = ("demo_server.js", "demo_verdict.js", "demo_heat.js", "demo.js")
_COLOURS = 256  # of the heatmaps that an export draws


class DemoPage:
    """The page, put together once.

    Args:
        models: names of the models that it offers.
        asks_token: the server wants a bearer token, which the page then asks for.
    """

    def __init__(self, models: Sequence[str], asks_token: bool):
        style = _static("demo.css")
        script = "\n".join(['"use strict";', *map(_static, _SCRIPTS)])
        environment = jinja2.Environment(loader=jinja2.FileSystemLoader(_STATIC), autoescape=True)
        texts = {"style": style, "script": script, "scale": json.dumps(_scale())}
        values = {**texts, "models": models, "asks_token": asks_token}
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


def _static(name: str) -> str:
    return (_STATIC / name).read_text(encoding="utf-8")


def _scale() -> dict[str, object]:
    """Return how heatmaps are coloured, by which the page finds the attention in them, and what is a region."""
    # Only servers with the page load matplotlib.
    import matplotlib

    from lae_tf.report.panels import HEATMAP, STRONGEST_OVERLAY

    colours = matplotlib.colormaps[HEATMAP](range(_COLOURS), bytes=True)[:, :3].tolist()
    return {"colours": colours, "strongest": STRONGEST_OVERLAY, "level": LEVEL, "smallest": SMALLEST_SHARE}


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"

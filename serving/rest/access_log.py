"""The access log: a line of JSON for each request, with nothing of its body."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from datetime import datetime, timezone

from starlette.responses import Response
from starlette.types import Scope

logger = logging.getLogger(__name__)
_TARGET_SHOWN = 200


@dataclass
class Exchange:
    """What the access log and the metrics tell of a request; ``status`` is a canonical code's name."""

    model: str = ""
    api: str = ""
    status: str = "OK"
    bytes_in: int = 0
    bytes_held: int = 0


def log_request(scope: Scope, target: str, exchange: Exchange, response: Response | None, seconds: float) -> None:
    """Log a request that is over; ``response`` is None where the client went away."""
    if not logger.isEnabledFor(logging.INFO):
        return
    line = {
        "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
        "client": (scope.get("client") or [""])[0],
        "method": scope["method"],
        "target": target[:_TARGET_SHOWN],
        "status": response.status_code if response else 499,
        "code": exchange.status,
        "bytes_in": exchange.bytes_in,
        "bytes_out": len(response.body) if response else 0,
        "milliseconds": round(seconds * 1000, 3),
    }
    logger.info("%s", json.dumps(line))

"""Which names a server on this machine answers to.

A page elsewhere can make its own DNS name point here (DNS rebinding), and then reads what is served as its own. What
it cannot do is to name an IP address or localhost as the Host of its requests.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

ANY = "*"


class KnownHosts:
    """The names under which a server is reached: localhost, every IP address, and those that are given.

    Args:
        names: further names, without a port; ``*`` stands for all.
    """

    def __init__(self, names: Iterable[str]):
        self._names = {"localhost", *(_bare(name) for name in names)}

    def __contains__(self, host: str) -> bool:
        """Tell whether a Host header, with or without a port, names this server."""
        if ANY in self._names:
            return True
        try:
            name = _bare(urlsplit(f"//{host}").hostname or "")
            if name not in self._names:
                ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _bare(name: str) -> str:
    """Return a name as two of them are compared: without case, and without the dot of the root."""
    return name.lower().removesuffix(".")

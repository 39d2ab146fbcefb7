"""What other containers ask, known by their addresses: one module a caller, besides metrics and health checks."""

from __future__ import annotations

from . import callbacks, health_checks, metrics, proxy, relays, supervisor
from .blueprint import RememberPeer, blueprint

__all__ = [
    "RememberPeer",
    "blueprint",
    "callbacks",
    "health_checks",
    "metrics",
    "proxy",
    "relays",
    "supervisor",
]

"""The container's healthcheck: exits 0 when this container's orchestrator is ready."""

from __future__ import annotations

import sys
from http.client import HTTPConnection, HTTPException


def main() -> int:
    """Return 0 if /readyz says so within 3 s, else 1."""
    try:
        connection = HTTPConnection("127.0.0.1", 8000, timeout=3)
        connection.request("GET", "/readyz")
        return 0 if connection.getresponse().status == 200 else 1
    except (OSError, HTTPException):
        return 1


if __name__ == "__main__":
    sys.exit(main())

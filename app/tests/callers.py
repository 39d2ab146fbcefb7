"""The other containers, as the app sees them by their addresses, and somebody who has no business here."""

from __future__ import annotations

from typing import Any

from flask.testing import FlaskClient

RTMP, MEDIA, PROXY, RELAY, STRANGER = "10.9.0.4", "10.9.0.5", "10.9.0.2", "10.9.0.7", "10.9.0.99"
NOTHING: dict[str, Any] = {"reports": [], "host": None}


def reported(client: FlaskClient, *reports: dict[str, Any], host: Any = None) -> dict[str, Any]:
    """What the supervisor is answered when it reports."""
    body = {"reports": list(reports), "host": host}
    answer = client.post("/internal/streams", json=body, environ_base={"REMOTE_ADDR": MEDIA})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json
    return found

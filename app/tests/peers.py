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


# As Debian's nginx-rtmp answers, shortened.
STAT = """<?xml version="1.0" encoding="utf-8" ?>
<rtmp><bytes_in>4052033</bytes_in><server><application><name>live</name><live><stream><name>alice</name><time>19441</time><bw_in>1755608</bw_in><bytes_in>{received}</bytes_in>
<client><id>445</id><address>10.9.0.5</address><dropped>0</dropped><active/></client>
<client><id>{client}</id><address>198.51.100.7</address><timestamp>19921</timestamp><publishing/><active/></client>
<meta><video><width>1280</width><height>{height}</height><frame_rate>30</frame_rate><codec>H264</codec>
<profile>Baseline</profile><level>3.1</level></video><audio><codec>AAC</codec><profile>LC</profile></audio></meta>
<nclients>2</nclients><publishing/><active/></stream>
<stream><name>left</name><bytes_in>7</bytes_in><client><id>9</id></client></stream></live></application></server></rtmp>
"""


def stat(received: int = 4_000_000, client: int = 1, height: int = 720) -> bytes:
    """What nginx-rtmp says of `alice`, who has sent *received* bytes."""
    return STAT.format(received=received, client=client, height=height).encode()

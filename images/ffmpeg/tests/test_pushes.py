"""Who may say that a stream begins, and what is answered."""

from __future__ import annotations

import http.client
from collections.abc import Iterator

import pytest
from supervisor import pushes
from supervisor.live import Stream

GOOD = b'{"slug": "alice", "session": "1", "private": false, "application": "Live"}'


@pytest.fixture
def begun() -> list[tuple[str, Stream]]:
    return []


@pytest.fixture
def port(begun: list[tuple[str, Stream]]) -> Iterator[int]:
    def begin(slug: str, stream: Stream) -> bool:
        begun.append((slug, stream))
        return slug != "late"

    server = pushes.listen(0, "127.0.0.1", begin)
    yield server.server_port
    server.shutdown()
    server.server_close()


def post(port: int, body: bytes, path: str = "/streams", *, source: str = "127.0.0.1", length: str = "") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5, source_address=(source, 0))
    connection.putrequest("POST", path)
    connection.putheader("Content-Length", length or str(len(body)))
    connection.endheaders(body)
    status = connection.getresponse().status
    connection.close()
    return status


def test_a_stream_begins_when_the_orchestrator_says_so(port: int, begun: list[tuple[str, Stream]]) -> None:
    assert post(port, GOOD) == 204
    assert begun == [("alice", Stream("1", private=False, application="Live"))]
    assert post(port, GOOD.replace(b"alice", b"late")) == 503, "its first keyframe may be missed"


@pytest.mark.parametrize(
    ("body", "options", "status"),
    [
        (GOOD, {"source": "127.0.0.2"}, 404),
        (GOOD, {"path": "/streams/"}, 404),
        (GOOD, {"length": "-1"}, 400),
        (GOOD, {"length": "100000"}, 400),
        (b"{", {}, 400),
        (b"[]", {}, 400),
        (b'{"slug": "../x", "session": "1"}', {}, 400),
        (b'{"slug": "alice"}', {}, 400),
    ],
)
def test_nothing_else_begins(
    port: int, begun: list[tuple[str, Stream]], body: bytes, options: dict[str, str], status: int
) -> None:
    assert post(port, body, **options) == status
    assert begun == []

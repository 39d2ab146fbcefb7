"""The benchmark's publishers (checklist/crowd.py), with the real supervisor, and a site that serves what it writes."""

from __future__ import annotations

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import sender
from publishers import ROWS

if TYPE_CHECKING:
    from conftest import House

CROWD = Path(__file__).parents[4] / "checklist/crowd.py"


class Site(http.server.SimpleHTTPRequestHandler):
    """Serves /hls/ as the proxy does."""

    protocol_version = "HTTP/1.1"

    def translate_path(self, path: str) -> str:
        return super().translate_path(path.removeprefix("/hls"))

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def served(house: House) -> Iterator[str]:
    """Serve what the supervisor writes by https, and give the address."""
    key, certificate = house.root / "key.pem", house.root / "certificate.pem"
    words = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=site"]
    make = ["openssl", "req", "-x509", *words, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(make, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, directory=str(house.hls / "public")))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_the_crowd_publishes_looks_and_says_who_is_sent_away(house: House) -> None:
    house.supervise(LADDER='[{"name": "source"}]')
    slugs = ["bench-1", "bench-2"]
    with served(house) as site:
        told = {"server": house.rtmp, "site": site, "clip": str(ROWS["plain"].clip.file(house.clips))}
        told["streams"] = {slug: f"{slug}?key=secret" for slug in slugs}
        process = house.run(
            [sys.executable, str(CROWD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(sender.__file__).rpartition("/")[0]},
        )

        def asked(line: str) -> Any:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        first = asked(json.dumps(told))
        assert first["renditions"] == ["source"]
        assert sorted(first["first"]) == slugs
        assert 1 < min(first["first"].values()) <= max(first["first"].values()) < 60
        behind = asked("")["behind"]
        assert sorted(behind) == slugs
        # How far depends on how busy this machine is, and on what the supervisor takes for a segment's time.
        assert -60 < min(behind.values()) <= max(behind.values()) < 60
        with urllib.request.urlopen(f"{house.app.control_url}/drop/publisher?app=live&name=bench-2", timeout=3):  # noqa: S310  # our own
            pass
        assert asked("")["error"].startswith("bench-2: the server hung up after")
        process.communicate(timeout=20)
    house.eventually(lambda: not house.live, 5, "all have ended")

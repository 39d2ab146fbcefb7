"""What people write into their encoders, sent by a real ffmpeg to a real nginx-rtmp with our configuration and the app.

`./streamkeep test --media app/tests/live` runs it where all of that is.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jinja2 import Environment, FileSystemLoader, StrictUndefined

pytestmark = pytest.mark.slow

APP = Path(__file__).parents[2]
ROOT = APP.parent
SECOND = ["-f", "lavfi", "-i", "testsrc2=size=160x120:rate=10", "-c:v", "libx264", "-preset", "ultrafast", "-g", "10"]


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [int(probe.getsockname()[1]) for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def eventually(probe: Callable[[], Any], seconds: float, what: str) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := probe()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)
    return answer


class House:
    """nginx-rtmp, the app and its worker on loopback."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.publishers, self.pulls, self.updates, self.inside, self.app = free_ports(5)
        self.started: list[subprocess.Popen[Any]] = []
        self.environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": f"{APP}:{os.environ.get('PYTHONPATH', '')}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "FLASK_APP": "orchestrator",
            "DATABASE_PATH": str(root / "database.db"),
            "JWT_SECRET": secrets.token_hex(32),
            "DATA_KEY": secrets.token_hex(32),
            "ADMIN_PASSWORD": secrets.token_hex(16) + "aA1!",
            "RTMP_PEERS": "127.0.0.1",
            "RTMP_STAT_URL": f"http://127.0.0.1:{self.inside}/stat",
            "RTMP_CONTROL_URL": f"http://127.0.0.1:{self.inside}/control",
            "RECORDINGS_PATH": str(root),
        }
        self.flask("db", "upgrade")
        self.key = json.loads(self.flask("streamkeep", "key", "create", "alice"))["key"]
        bind = f"--bind=127.0.0.1:{self.app}"
        self.run("app", sys.executable, "-m", "gunicorn", "--config=python:orchestrator.gunicorn_conf", bind)
        worker = "from orchestrator import worker; worker.PORT = 0; worker.HEARTBEAT = worker.Path('heartbeat')"
        self.run("worker", sys.executable, "-c", f"{worker}; worker.main()")
        for folder in ("publish", "play"):
            (root / folder).mkdir()
        (root / "nginx.conf").write_text(self.configuration(), encoding="utf-8")
        # Root's nginx would give its folders to nobody, for which root needs rights that a container may lack.
        user = "user root; " if os.geteuid() == 0 else ""
        own = ("-p", str(root), "-e", str(root / "error.log"), "-c", str(root / "nginx.conf"))
        self.run("nginx", "nginx", *own, "-g", f"{user}daemon off;")
        eventually(self.statistics, 20, "nginx-rtmp answers")
        eventually(lambda: "Listening" in self.log("app"), 20, "the app answers")

    def configuration(self) -> str:
        """Our own template, on ports that are free and without the proxy in front."""
        jinja = Environment(  # noqa: S701  # a configuration of nginx, not a page
            loader=FileSystemLoader(ROOT / "templates"), undefined=StrictUndefined, trim_blocks=True
        )
        jinja.filters["comment"] = lambda text: f"# {text}"
        addresses = dict.fromkeys(("app", "ffmpeg", "relay", "worker"), "127.0.0.1")
        text = jinja.get_template("opt/streamkeep/nginx-rtmp/nginx.conf.j2").render(
            ansible_managed="x", stack_takeover_seconds=15, stack_relay=False, _stack_addresses=addresses
        )
        for ours, here in (
            ("listen 127.0.0.1:1935 proxy_protocol", f"listen 127.0.0.1:{self.publishers}"),
            ("listen 1937", f"listen 127.0.0.1:{self.pulls}"),
            ("listen 8081", f"listen 127.0.0.1:{self.inside}"),
            ("127.0.0.1:8082", f"127.0.0.1:{self.updates}"),
            (":8000", f":{self.app}"),
            ("/tmp/", f"{self.root}/"),
            ("unix:/run/", f"unix:{self.root}/"),
        ):
            assert ours in text
            text = text.replace(ours, here)
        return text

    def flask(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "flask", *arguments]
        return subprocess.run(command, env=self.environment, check=True, capture_output=True, text=True).stdout

    def run(self, name: str, *command: str) -> subprocess.Popen[Any]:
        with (self.root / f"{name}.log").open("ab") as log:
            self.started.append(subprocess.Popen(command, env=self.environment, cwd=self.root, stdout=log, stderr=log))
        return self.started[-1]

    def log(self, name: str) -> str:
        return (self.root / f"{name}.log").read_text(encoding="utf-8")

    def told(self) -> list[dict[str, Any]]:
        """What the app logged of those who publish."""
        lines = [json.loads(line) for line in self.log("app").splitlines()]
        return [line for line in lines if line["event"] == "publish"]

    def statistics(self) -> str:
        try:
            with urllib.request.urlopen(self.environment["RTMP_STAT_URL"], timeout=2) as answer:  # noqa: S310  # ours
                return str(answer.read().decode())
        except OSError:
            return ""

    def publish(self, application: str, name: str, seconds: float = 60) -> subprocess.Popen[Any]:
        url = f"rtmp://127.0.0.1:{self.publishers}/{application}"
        target = ["-f", "flv", "-rtmp_app", application, "-rtmp_playpath", name, url]
        return self.run("ffmpeg", "ffmpeg", "-nostdin", "-v", "error", "-re", *SECOND, "-t", str(seconds), *target)

    def close(self) -> None:
        for process in reversed(self.started):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.started:
            process.wait(15)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("house"))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("application", "name", "reason"),
    [
        ("live", "alice?key={key}", None),
        ("live/", "alice?key={key}", None),
        ("Live", "alice?key={key}", None),
        ("live", "alice?key={key}\n", None),
        ("live", "alice?key={key}%0A", None),
        ("live", "alice?key={key}  ", None),
        ("live?key={key}", "alice", None),
        ("live", "alice", "no key"),
        ("live", "{key}", "key as name"),
        ("live", "alice%3Fkey={key}", "name escaped"),
        ("live", "alice&key={key}", "name without question mark"),
        ("live", " alice?key={key}", "name with spaces"),
        ("live/", "/alice?key={key}", "name with slash"),
        ("live", "rtmp://streams.test/live/alice?key={key}", "address as name"),
        ("live/alice?key={key}", "", "address as server"),
        ("live/alice/?key={key}", "", "address as server"),
    ],
)
def test_what_people_write(house: House, application: str, name: str, reason: str | None) -> None:
    before = len(house.told())
    publisher = house.publish(application.format(key=house.key), name.format(key=house.key), 2)
    (said, *_) = eventually(lambda: house.told()[before:], 15, "the app was asked")
    assert (said["result"], said.get("reason")) == ("refused" if reason else "accepted", reason)
    assert said["slug"] == "alice"
    if reason is None:
        eventually(lambda: "<name>alice</name>" in house.statistics(), 5, "the stream has the slug's name")
    assert house.key not in house.statistics()
    publisher.wait(20)
    if reason is None:
        eventually(lambda: house.told()[-1]["result"] == "ended", 10, "the app was told of its end")
    assert house.key not in house.log("app") + house.log("nginx")


def test_who_comes_back_need_not_wait_and_an_active_one_stays(house: House) -> None:
    before = len(house.told())
    good = f"alice?key={house.key}"
    first = house.publish("live", good)
    eventually(lambda: "<publishing/>" in house.statistics(), 15, "the first one publishes")
    time.sleep(3)
    assert house.publish("live", good, 5).wait(20) != 0, "an active one is not displaced"
    assert [said["result"] for said in house.told()[before:]] == ["accepted", "refused"]
    first.send_signal(signal.SIGSTOP)  # the line is dead, and nobody says goodbye
    stopped = time.monotonic()
    time.sleep(7)
    assert "<publishing/>" in house.statistics(), "seven seconds without data cut nobody off"
    assert house.told()[-1]["result"] == "refused"
    again = time.monotonic()
    second = house.publish("live", good)
    eventually(lambda: house.told()[-1]["result"] == "accepted", 10, "the second one is admitted")
    print(f"silent for {again - stopped:.1f} s; admitted {time.monotonic() - again:.1f} s after it was started")
    eventually(lambda: "<publishing/>" in house.statistics(), 5, "it publishes")
    time.sleep(4)
    assert second.poll() is None
    assert len(re.findall("<publishing/></client>|<active/></client>", house.statistics())) == 1
    first.send_signal(signal.SIGCONT)
    assert first.wait(10) != 0
    second.terminate()
    second.wait(10)


def test_a_silent_one_is_given_up_after_the_time_that_is_set(house: House) -> None:
    publisher = house.publish("live", f"alice?key={house.key}")
    eventually(lambda: "<publishing/>" in house.statistics(), 15, "it publishes")
    time.sleep(1)
    publisher.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    eventually(lambda: "<publishing/>" not in house.statistics(), 25, "it is given up")
    assert 13 < time.monotonic() - began < 18


def test_a_revoked_key_ends_its_stream_within_five_seconds(house: House) -> None:
    house.publish("live", f"alice?key={house.key}")
    eventually(lambda: "<publishing/>" in house.statistics(), 15, "it publishes")
    time.sleep(1)
    house.flask("streamkeep", "key", "revoke", "alice")
    began = time.monotonic()
    eventually(lambda: "<publishing/>" not in house.statistics(), 10, "it is ended")
    assert time.monotonic() - began < 5

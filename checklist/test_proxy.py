"""The front door's manners: what each kind of answer carries, what is not answered, and how much one client may ask."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from outside import Outside, Site, eventually
from testinfra.host import Host

HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
# With the second the operator chose to bind all names under the host's (streamkeep_hsts_subdomains).
HSTS = (["max-age=63072000"], ["max-age=63072000; includeSubDomains"])


def ask(outside: Outside, url: str, options: str = "") -> tuple[int, dict[str, list[str]]]:
    """Return (status, headers) of the answer to a request."""
    shown = outside.output(f"curl -sk -m 10 -o /dev/null -D - {options} {shlex.quote(url)}")
    first, *lines = shown.strip().splitlines()
    headers: dict[str, list[str]] = {}
    for name, _, value in (line.partition(":") for line in lines):
        headers.setdefault(name.lower(), []).append(value.strip())
    return int(first.split()[1]), headers


def judge(headers: dict[str, list[str]]) -> None:
    """Say what an answer over https lacks."""
    assert headers.get("strict-transport-security") in HSTS
    assert {name: headers.get(name) for name in HEADERS} == {name: [value] for name, value in HEADERS.items()}
    (policy,) = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert not any(char.isdigit() for char in headers.get("server", [""])[0])
    assert "x-powered-by" not in headers


@pytest.fixture
def segment(host: Host) -> str:
    """A segment and its playlist, for as long as the supervisor lets them lie; gives their folder."""
    host.check_output(
        "docker exec ffmpeg sh -c 'mkdir -p /var/hls/public/probe-proxy && cd /var/hls/public/probe-proxy"
        ' && echo x >x.ts && echo "#EXTM3U" >x.m3u8 && echo x >.x.ts\''
    )
    return "/hls/probe-proxy"


LONG = "$(head -c {} /dev/zero | tr '\\0' a)"


@pytest.mark.parametrize(
    ("path", "options", "status"),
    [
        pytest.param("/", "", 200, id="page"),
        pytest.param("/", "-I", 200, id="head of a page"),
        pytest.param("/static/streamkeep.css", "", 200, id="static"),
        pytest.param("/static/nothing.js", "", 404, id="no such static"),
        pytest.param("/nothing", "", 404, id="no such page"),
        pytest.param("/{segment}/x.ts", "", 200, id="segment"),
        pytest.param("/{segment}/x.m3u8", "", 200, id="playlist"),
        pytest.param("/{segment}/", "", 404, id="folder of a stream"),
        pytest.param("/{segment}", "", 404, id="folder of a stream without slash"),
        pytest.param("/{segment}/.x.ts", "", 404, id="dotfile of a stream"),
        pytest.param("/{segment}/x.ts", "-X POST", 403, id="post to a segment"),
        pytest.param("/{segment}/x.ts", "-X DELETE", 403, id="delete a segment"),
        pytest.param("/hls/", "", 404, id="folder of streams"),
        pytest.param("/hls/../../etc/passwd", "--path-as-is", 400, id="above the root"),
        pytest.param("/hls/%2e%2e/%2e%2e/etc/passwd", "--path-as-is", 400, id="above the root, hidden"),
        pytest.param("/.env", "", 404, id="dotfile"),
        pytest.param("/.git/config", "", 404, id="dotfolder"),
        pytest.param("/static/.env", "", 404, id="dotfile among static ones"),
        pytest.param("/metrics", "", 404, id="inner path"),
        pytest.param("/.well-known/security.txt", "", 200, id="security.txt"),
        pytest.param("/", "-X TRACE", 405, id="trace"),
        pytest.param("/", "-X PROPFIND", 405, id="webdav"),
        pytest.param("/", "-d " + LONG.format(70_000), 413, id="large body"),
        pytest.param("/" + "a" * 9000, "--http1.1", 414, id="long address"),
        pytest.param("/", f"--http1.1 -H X-A:{LONG.format(9000)}", 400, id="large header"),
        pytest.param("/", "--http1.1 -X 'BAD REQUEST'", 400, id="malformed"),
    ],
)
def test_every_answer_carries_the_headers(
    site: Site, outside: Outside, segment: str, path: str, options: str, status: int
) -> None:
    # Under our name, because a malformed request has none and gets the default server's answer.
    resolve = f"--resolve {site.domain}:443:{site.address}"
    url = f"https://{site.domain}{path.replace('/{segment}', segment)}"
    answered, headers = ask(outside, url, f"{resolve} {options}")
    assert answered == status
    judge(headers)


def test_made_up_methods_go_no_further_and_leave_nothing(site: Site, outside: Outside, host: Host) -> None:
    def room() -> str:
        return host.check_output("docker exec python-orchestrator du -sk /tmp/prometheus")

    def statuses(url: str) -> list[str]:
        ask = f"curl -sk -m 10 -o /dev/null -w '%{{http_code}}\\n' -X BREW$n {url}"
        return outside.output(f"for n in {{A..F}}{{A..J}}; do {ask}; done").split()

    before = room()
    assert statuses(f"https://{site.address}/") == ["405"] * 60
    assert statuses(f"http://{site.address}/") == ["405"] * 60
    assert room() == before
    status, headers = ask(outside, f"https://{site.address}/", "-X BREW")
    assert (status, headers["allow"]) == (405, ["GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"])
    assert ask(outside, f"https://{site.address}/", "-X OPTIONS")[0] == 200
    status, headers = ask(outside, f"https://{site.address}/", "-X DELETE")
    assert (status, set(headers["allow"][0].split(", "))) == (405, {"GET", "HEAD", "OPTIONS"}), "the app's own answer"


def test_a_header_is_small_over_http_2_as_well(site: Site, outside: Outside) -> None:
    assert ask(outside, f"https://{site.address}/", f"--http2 -H X-A:{LONG.format(2000)}")[0] == 200
    assert outside.run(f"curl -skf -m 10 --http2 -H X-A:{LONG.format(40_000)} https://{site.address}/").returncode != 0


def test_plain_http_says_no_more_than_where_to_go(site: Site, outside: Outside) -> None:
    status, headers = ask(outside, f"http://{site.address}/watch/x")
    assert status == 301
    assert "strict-transport-security" not in headers  # RFC 6797, section 7.2
    assert {name: headers.get(name) for name in HEADERS} == {name: [value] for name, value in HEADERS.items()}
    assert ask(outside, f"http://{site.address}/.well-known/acme-challenge/nothing")[0] == 404
    assert ask(outside, f"http://{site.address}/.well-known/acme-challenge/")[0] in (403, 404)


@pytest.fixture
def without_the_app(host: Host) -> Iterator[None]:
    host.check_output("docker stop --time 5 python-orchestrator")
    yield
    host.check_output("docker start python-orchestrator")
    health = "docker inspect --format '{{.State.Health.Status}}' python-orchestrator"
    eventually(lambda: host.check_output(health) == "healthy", 60, "the app is back")


@pytest.mark.destructive
def test_an_answer_without_the_app_carries_them_too(site: Site, outside: Outside, without_the_app: None) -> None:
    status, headers = ask(outside, f"https://{site.address}/")
    assert status in (502, 504)
    judge(headers)


def test_what_is_the_same_for_everybody_is_compressed_and_pages_are_not(
    site: Site, outside: Outside, segment: str
) -> None:
    accept = "-H 'Accept-Encoding: gzip'"
    assert ask(outside, f"https://{site.address}/static/streamkeep.css", accept)[1]["content-encoding"] == ["gzip"]
    for path in ("/", f"{segment}/x.ts"):
        assert "content-encoding" not in ask(outside, f"https://{site.address}{path}", accept)[1]


def many(outside: Outside, url: str, number: int) -> Counter[str]:
    """Ask *number* times at once; return how often each status came."""
    at_once = "--parallel --parallel-max 50 -o /dev/null -w '%{http_code}\\n'"
    return Counter(outside.output(f"curl -sk {at_once} {shlex.quote(f'{url}?[1-{number}]')}").split())


def test_an_office_full_of_viewers_is_served(site: Site, outside: Outside, segment: str) -> None:
    assert many(outside, f"https://{site.address}{segment}/x.ts", 500) == {"200": 500}


def test_one_address_cannot_ask_by_plain_http_without_end(site: Site, outside: Outside) -> None:
    url = f"http://{site.address}/"
    answers = many(outside, url, 300)
    assert answers["301"] >= 60
    assert answers["429"] >= 50
    assert answers["301"] + answers["429"] == 300
    eventually(lambda: ask(outside, url)[0] == 301, 5, "a moment later it is served again")


def test_one_address_cannot_ask_for_pages_without_end(site: Site, outside: Outside, host: Host) -> None:
    url = f"https://{site.address}/static/streamkeep.css"
    answers = many(outside, url, 300)
    assert answers["200"] >= 60
    assert answers["429"] >= 50
    assert answers["200"] + answers["429"] == 300
    # Still a moment behind: the answer says when to come again, and that it is the proxy's.
    shown = outside.output(f"curl -sk -D - {shlex.quote(url + '?[1-200]')} --parallel --parallel-max 50 -H 'Accept: x'")
    assert "retry-after: 1" in shown
    assert "<center>nginx</center>" in shown
    assert host.check_output(f"curl -sk -m 10 -o /dev/null -w '%{{http_code}}' {url}") == "200"
    eventually(lambda: ask(outside, url)[0] == 200, 5, "a moment later it is served again")


SLOW = """
import socket, ssl, subprocess, sys, threading, time
address, name = sys.argv[1:]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
start = f"GET / HTTP/1.1\\r\\nHost: {name}\\r\\n".encode()
post = f"POST / HTTP/1.1\\r\\nHost: {name}\\r\\nContent-Length: 9\\r\\n\\r\\n".encode()
ended = {}

def trickle(title, port, tls, first, then):
    # A byte a second, until the other side hangs up.
    line = socket.create_connection((address, port), 5)
    line = context.wrap_socket(line, server_hostname=name) if tls else line
    line.settimeout(1)
    began = time.monotonic()
    line.sendall(first)
    while time.monotonic() - began < 25:
        try:
            if not line.recv(4096):
                break
        except TimeoutError:
            pass
        except OSError:
            break
        try:
            line.sendall(then)
        except OSError:
            break
    ended[title] = time.monotonic() - began

ways = [
    ("silent on 80", 80, False, b"", b""),
    ("silent on 443", 443, False, b"", b""),
    ("silent after the handshake", 443, True, b"", b""),
    ("trickled header on 80", 80, False, start + b"X: ", b"a"),
    ("trickled header on 443", 443, True, start + b"X: ", b"a"),
    ("silent on 1936", 1936, False, b"", b""),
    ("silent in the body", 443, True, post + b"a", b""),
]
threads = [threading.Thread(target=trickle, args=way) for way in ways]
threads += [threading.Thread(target=trickle, args=(f"crowd {n}", 443, True, start, b"X")) for n in range(100)]
[t.start() for t in threads]
time.sleep(5)
asked = ["curl", "-sk", "-m", "3", "-o", "/dev/null", "-w", "%{http_code}", f"https://{address}/"]
print(subprocess.run(asked, capture_output=True, text=True).stdout)
[t.join() for t in threads]
for title, seconds in ended.items():
    print(f"{title}:{seconds:.0f}")
"""


def test_whoever_trickles_is_hung_up_on_and_holds_up_nobody(site: Site, outside: Outside) -> None:
    outside.output(f"cat >/tmp/slow.py <<'END'\n{SLOW}\nEND")
    meanwhile, *lines = outside.output(f"timeout 60 python3 /tmp/slow.py {site.address} {site.domain}").splitlines()
    assert meanwhile == "200"
    ended = dict(line.split(":") for line in lines)
    assert len(ended) == 107, ended
    assert all(int(seconds) <= 15 for seconds in ended.values()), ended


# Lines of one client. Viewers ask for what is too large to be sent before they read; publishers say nothing.
CROWD = """
import collections, select, socket, ssl, sys, time
what, address, name, number, *patience = sys.argv[1:]
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

def watch():
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.settimeout(20)
    line.connect((address, 443))
    line = context.wrap_socket(line, server_hostname=name)
    line.sendall(f"GET /hls/probe-crowd/x.ts HTTP/1.1\\r\\nHost: {name}\\r\\n\\r\\n".encode())
    return line

def publish():
    return socket.create_connection((address, 1935), 10)

def first_word(line):
    if what == "watch":
        return line.recv(12).decode()[-3:]
    line.settimeout(0.01)
    try:
        return "refused" if line.recv(1) == b"" else "answered"
    except TimeoutError:
        return "open"
    except OSError:
        return "refused"

lines = [watch() if what == "watch" else publish() for _ in range(int(number))]
time.sleep(1)
for word, count in collections.Counter(map(first_word, lines)).items():
    print(f"{word}:{count}")
if patience:
    began = time.monotonic()
    hung_up = select.poll()
    hung_up.register(lines[0], 0)
    print("ended:" + str(bool(hung_up.poll(1000 * int(patience[0])))))
"""


@pytest.fixture
def crowd(host: Host, site: Site, outside: Outside) -> Iterator[Callable[..., dict[str, str]]]:
    """Come with many lines at once; gives what became of them."""
    folder = "/var/hls/public/probe-crowd"
    host.check_output(f"docker exec ffmpeg sh -c 'mkdir -p {folder} && head -c 8M /dev/zero >{folder}/x.ts'")
    outside.output(f"cat >/tmp/crowd.py <<'END'\n{CROWD}\nEND")

    def come(what: str, number: int, patience: str = "") -> dict[str, str]:
        said = outside.output(f"python3 /tmp/crowd.py {what} {site.address} {site.domain} {number} {patience}")
        return dict(line.split(":") for line in said.split())

    yield come
    host.check_output(f"docker exec ffmpeg rm -rf {folder}")


def test_one_address_may_hold_so_many_lines_and_no_more(crowd: Callable[..., dict[str, str]]) -> None:
    assert crowd("watch", 410) == {"200": "400", "429": "10"}


def test_one_address_may_publish_on_so_many_lines_and_no_more(crowd: Callable[..., dict[str, str]]) -> None:
    assert crowd("publish", 25) == {"open": "20", "refused": "5"}


@pytest.mark.slow
def test_who_asks_and_does_not_read_is_hung_up_on(crowd: Callable[..., dict[str, str]]) -> None:
    assert crowd("watch", 1, "30") == {"200": "1", "ended": "True"}

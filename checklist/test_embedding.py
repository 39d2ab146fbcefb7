"""Whose pages may show which streams: what the answers say, asked from outside."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from outside import Manage, Outside, Site
from test_proxy import ask
from testinfra.host import Host

SLUGS = {"probe-shared": "public", "probe-unlisted": "unlisted", "probe-private": "private"}
STRANGER = "https://www.stranger.test"
pytestmark = pytest.mark.destructive


@pytest.fixture(scope="module")
def origins(host: Host) -> list[str]:
    """Whose pages may show public streams."""
    return host.check_output("sed -n s/^EMBED_ORIGINS=//p /opt/streamkeep/.env").split()


@pytest.fixture(scope="module", autouse=True)
def streams(manage: Manage) -> Iterator[None]:
    """A stream of each kind."""
    for slug, visibility in SLUGS.items():
        manage("key", "create", slug, "--visibility", visibility, "--rotate")
    yield
    for slug in SLUGS:
        manage("key", "revoke", slug)


@pytest.fixture
def files(host: Host) -> None:
    """A playlist and a segment of each stream that is not private, for as long as the supervisor lets them lie."""
    folders = " ".join(f"/var/hls/public/{slug}" for slug, kind in SLUGS.items() if kind != "private")
    write = 'mkdir -p "$f" && echo x >"$f/x.ts" && echo "#EXTM3U" >"$f/x.m3u8"'
    host.check_output("docker exec ffmpeg sh -c %s", f"for f in {folders}; do {write}; done")


def shared(outside: Outside, site: Site, slug: str, file: str, origin: str) -> tuple[int, list[str]]:
    """Return the status of a file of *slug* for a page of *origin*, and with whom the answer may be shared."""
    status, headers = ask(outside, f"https://{site.address}/hls/{slug}/{file}", f"-H 'Origin: {origin}'")
    return status, headers.get("access-control-allow-origin", [])


@pytest.mark.parametrize("file", ["x.ts", "x.m3u8"])
def test_public_streams_are_shared_with_whom_the_operator_named(
    site: Site, outside: Outside, origins: list[str], files: None, file: str
) -> None:
    if not origins:
        pytest.skip("not-testable: nobody may show this host's streams (streamkeep_embed_origins)")
    for origin in origins:
        assert shared(outside, site, "probe-shared", file, origin) == (200, [origin])
        assert shared(outside, site, "probe-unlisted", file, origin) == (403, [])
        assert shared(outside, site, "probe-nobody", file, origin) == (403, [])
    assert ask(outside, f"https://{site.address}/hls/probe-unlisted/{file}")[0] == 200, "for who knows its name"


@pytest.mark.parametrize("origin", [STRANGER, "null", "https://www.elsewhere.test.stranger.test", "*"])
def test_nobody_else_gets_leave(site: Site, outside: Outside, files: None, origin: str) -> None:
    for file in ("x.ts", "x.m3u8"):
        assert shared(outside, site, "probe-shared", file, origin) == (200, [])


def test_a_cache_is_told_that_it_depends_on_who_asks(
    site: Site, outside: Outside, origins: list[str], files: None
) -> None:
    for options in ("", f"-H 'Origin: {STRANGER}'"):
        headers = ask(outside, f"https://{site.address}/hls/probe-shared/x.ts", options)[1]
        assert ("Origin" in headers.get("vary", [])) == bool(origins)


def test_the_player_alone_may_be_framed(site: Site, outside: Outside, origins: list[str]) -> None:
    status, headers = ask(outside, f"https://{site.address}/embed/probe-shared")
    assert status == 200
    (policy,) = headers["content-security-policy"]
    assert policy.endswith("frame-ancestors " + (" ".join(origins) or "'none'"))
    assert ("x-frame-options" in headers) == (not origins)
    for path in ("/watch/probe-shared", "/embed/probe-unlisted", "/embed/probe-private", "/embed/probe-nobody", "/"):
        status, headers = ask(outside, f"https://{site.address}{path}")
        assert status == (404 if "/embed/" in path else 200)
        assert headers["x-frame-options"] == ["DENY"]
        assert headers["content-security-policy"][0].endswith("frame-ancestors 'none'")


def test_public_streams_alone_are_described(site: Site, outside: Outside, origins: list[str]) -> None:
    def described(slug: str) -> tuple[int, str]:
        page = f"https%3A%2F%2F{site.domain}%2Fwatch%2F{slug}"
        return outside.get(f"https://{site.address}/oembed?url={page}")

    status, text = described("probe-shared")
    assert status == (200 if origins else 404)
    if origins:
        assert f"https://{site.domain}/embed/probe-shared" in json.loads(text)["html"]
    for slug in ("probe-unlisted", "probe-private", "probe-nobody"):
        assert described(slug)[0] == 404

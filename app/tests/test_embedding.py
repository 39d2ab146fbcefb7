"""Public streams in others' pages: whom the operator named, and no stream that is not public."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from urllib.parse import quote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from orchestrator import create_app
from orchestrator.site.database import db
from orchestrator.site.settings import from_environment
from orchestrator.streams import keys
from peers import PROXY, STRANGER
from werkzeug.test import TestResponse

SITE = "https://streams.test"
ELSEWHERE = "https://www.elsewhere.test https://elsewhere.test:8443"


@pytest.fixture(scope="module")
def site(usual_environment: dict[str, str]) -> Flask:
    return create_app(from_environment(usual_environment | {"EMBED_ORIGINS": ELSEWHERE}))


@pytest.fixture
def shared(site: Flask, app: object) -> Iterator[FlaskClient]:
    """A site whose public streams two others may show; with a stream of each kind."""
    for slug in ("public", "unlisted", "private"):
        keys.create(f"a-{slug}", f'The "{slug}" <show>', visibility=slug)
    yield site.test_client()
    with site.app_context():
        db.engine.dispose()


@pytest.fixture
def unshared(shared: FlaskClient, client: FlaskClient) -> FlaskClient:
    """The same streams on a site that nobody may embed."""
    return client


def policy(answer: TestResponse) -> str:
    return answer.headers["Content-Security-Policy"].partition("frame-ancestors ")[2]


def described(client: FlaskClient, url: str = f"{SITE}/watch/a-public", **more: str) -> TestResponse:
    return client.get("/oembed", query_string={"url": url, **more}, base_url=SITE)


def test_a_public_stream_may_be_framed_by_whom_the_operator_named(shared: FlaskClient) -> None:
    answer = shared.get("/embed/a-public")
    assert answer.status_code == 200
    assert policy(answer) == ELSEWHERE
    assert 'data-playlist="/hls/a-public/index.m3u8"' in answer.text
    assert "<nav" not in answer.text
    assert "<a " not in answer.text
    assert "<script>" not in answer.text
    assert "style=" not in answer.text


def test_nobody_is_the_default(unshared: FlaskClient) -> None:
    assert policy(unshared.get("/embed/a-public")) == "'none'"
    assert described(unshared).status_code == 404
    assert "oembed" not in unshared.get("/watch/a-public").text


@pytest.mark.parametrize("path", ["/", "/watch/a-public", "/watch/a-unlisted", "/session", "/embed/nobody", "/nothing"])
def test_no_other_page_may_be_framed(shared: FlaskClient, path: str) -> None:
    answer = shared.get(path, headers={"Accept": "text/html"})
    assert policy(answer) == "'none'"


@pytest.mark.parametrize("slug", ["a-private", "a-unlisted", "a-nobody", "ab", "a" * 65, "%00%00%00"])
def test_what_is_not_public_is_not_there(shared: FlaskClient, slug: str) -> None:
    answers = [
        shared.get(f"/embed/{slug}"),
        described(shared, f"{SITE}/watch/{slug}"),
        shared.get(f"/embed/{slug}?x=1"),
    ]
    assert [answer.status_code for answer in answers] == [404] * 3
    assert not any("show" in answer.text for answer in answers)


def test_the_watch_page_says_where_it_is_described(shared: FlaskClient) -> None:
    def link(slug: str) -> str:
        found = re.search(r'<link [^>]*json\+oembed" href="([^"]+)"', shared.get(f"/watch/{slug}").text)
        return unescape(found[1]) if found else ""

    assert link("a-public") == f"{SITE}/oembed?url={quote(f'{SITE}/watch/a-public', safe='')}"
    assert shared.get(link("a-public").removeprefix(SITE), base_url=SITE).status_code == 200
    assert [link("a-unlisted"), link("a-private")] == ["", ""]


def test_a_stream_is_described_as_oembed_wants_it(shared: FlaskClient) -> None:
    answer = described(shared)
    assert answer.content_type == "application/json"
    told = answer.json
    assert (told["version"], told["type"], told["title"]) == ("1.0", "video", 'The "public" <show>')
    assert (told["width"], told["height"]) == (640, 360)
    assert told["html"].startswith(f'<iframe src="{SITE}/embed/a-public" width="640" height="360"')
    assert "<show>" not in told["html"]
    assert described(shared, f"{SITE}/embed/a-public", format="json").json == told


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({"maxwidth": "320"}, (320, 180)),
        ({"maxheight": "90"}, (160, 90)),
        ({"maxwidth": "1920", "maxheight": "90"}, (160, 90)),
        ({"maxwidth": "1920"}, (1920, 1080)),
        ({"maxwidth": "99999"}, (7680, 4320)),
        ({"maxwidth": "16", "maxheight": "16"}, (16, 9)),
    ],
)
def test_it_fits_where_it_is_to_go(shared: FlaskClient, asked: dict[str, str], size: tuple[int, int]) -> None:
    told = described(shared, **asked).json
    assert (told["width"], told["height"]) == size


@pytest.mark.parametrize("pixels", ["", "0", "-1", "15", "x", "1e3", "999999", "٣٣"])
def test_a_size_that_is_none_is_told(shared: FlaskClient, pixels: str) -> None:
    answer = described(shared, maxwidth=pixels)
    assert answer.status_code == 400
    assert answer.json["detail"].startswith("maxwidth is no number of pixels")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://streams.test/watch/a-public",
        "https://elsewhere.test/watch/a-public",
        "https://streams.test@elsewhere.test/watch/a-public",
        "https://streams.test/watch/",
        "https://streams.test/watch",
        "https://streams.test",
        "https://streams.test/streams/a-public",
        "https://streams.test/watch/a-public/more",
        "https://[",
        "//streams.test/watch/a-public",
        "javascript:alert(1)",
    ],
)
def test_an_address_that_is_no_stream_of_ours_is_not_described(shared: FlaskClient, url: str) -> None:
    assert described(shared, url).status_code == 404


def test_another_format_is_not_spoken(shared: FlaskClient) -> None:
    assert described(shared, format="xml").status_code == 501
    assert shared.get("/oembed").status_code == 404


def test_the_proxy_shares_what_is_public(shared: FlaskClient) -> None:
    def asked(slug: str, peer: str = PROXY) -> int:
        return shared.get(
            "/internal/embedding", headers={"X-Slug": slug}, environ_base={"REMOTE_ADDR": peer}
        ).status_code

    assert asked("a-public") == 204
    assert [asked(slug) for slug in ("a-unlisted", "a-private", "a-nobody", "", "a" * 65, "../..")] == [403] * 6
    assert asked("a-public", STRANGER) == 404
    keys.change(keys.known("a-public"), visibility="unlisted")
    assert asked("a-public") == 403

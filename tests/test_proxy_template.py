"""Whom the proxy greets by TLS follows from the names it has."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

ROOT = Path(__file__).parents[1]
VARIABLES = yaml.safe_load((ROOT / "roles/stack/vars/main.yml").read_text(encoding="utf-8"))


def render(names: list[str], embed_origins: list[str] | None = None, subdomains: bool = False) -> str:
    """Render the proxy's configuration for *names*."""
    jinja = Environment(  # noqa: S701  # a configuration of nginx, not a page
        loader=FileSystemLoader(ROOT / "templates"), undefined=StrictUndefined, trim_blocks=True
    )
    jinja.filters["comment"] = lambda text: f"# {text}"
    jinja.filters["regex_replace"] = lambda value, pattern, new: re.sub(pattern, new, value)
    jinja.tests["match"] = lambda value, pattern: re.match(pattern, value) is not None
    values: dict[str, Any] = {
        name: jinja.from_string(VARIABLES[name]).render(stack_names=names)
        for name in ("_stack_server_names", "_stack_tls_curves", "_stack_tls_ciphers")
    }
    address = jinja.compile_expression(VARIABLES["_stack_has_address"].strip("{} "))(stack_names=names)
    template = jinja.get_template("opt/streamkeep/proxy/nginx.conf.j2")
    return template.render(
        values,
        _stack_has_address=address,
        _stack_addresses={"app": "192.0.2.3", "nginx_rtmp": "192.0.2.4", "worker": "192.0.2.6"},
        ansible_managed="x",
        stack_names=names,
        stack_embed_origins=embed_origins or [],
        stack_hsts_subdomains=subdomains,
    )


def servers(configuration: str) -> dict[str, bool]:
    """Return {server_name: whether it is whom a TLS client without a name reaches}."""
    blocks = re.findall(r"\n    server \{\n(.*?)\n    \}\n", configuration.partition("http {")[2], re.S)
    return {
        re.search(r"server_name (.*);", block)[1]: "default_server" in tls[1]  # type: ignore[index]  # each has one
        for block in blocks
        if (tls := re.search(r"listen 8443 ssl(.*);", block))
    }


@pytest.mark.parametrize(
    ("names", "served", "reached"),
    [
        (["a.test"], "a.test", False),
        (["a.test", "b.test"], "a.test b.test", False),
        (["a.test", "203.0.113.4"], "a.test 203.0.113.4", True),
        (["a.test", "2001:db8::4"], "a.test [2001:db8::4]", True),
    ],
)
def test_a_client_without_a_name_is_greeted_where_an_address_is_ours(
    names: list[str], served: str, reached: bool
) -> None:
    assert servers(render(names)) == {'"" ~.': not reached, served: reached}


def test_headers_are_added_in_one_place() -> None:
    for origins, headers in (([], 11), (["https://www.b.test"], 13)):
        lines = [line for line in render(["a.test"], origins).splitlines() if line.lstrip().startswith("add_header")]
        assert len(lines) == headers
        assert {len(line) - len(line.lstrip()) for line in lines} == {4}


def test_nobody_shares_streams_unless_an_origin_is_named() -> None:
    assert not re.search("embed|Access-Control|add_header Vary", render(["a.test"]))
    shared = render(["a.test"], ["https://www.b.test", "https://b.test:8443"])
    (origins,) = re.findall(r"map \$http_origin \$embedder \{\n(.*?)\}", shared, re.S)
    assert [line.strip() for line in origins.strip().splitlines()] == [
        "https://www.b.test https://www.b.test;",
        "https://b.test:8443 https://b.test:8443;",
        'default "";',
    ]
    assert "Access-Control-Allow-Origin *" not in shared


@pytest.mark.parametrize(
    ("subdomains", "value"), [(False, "max-age=63072000"), (True, "max-age=63072000; includeSubDomains")]
)
def test_other_names_are_bound_to_https_only_where_that_is_said(subdomains: bool, value: str) -> None:
    (found,) = re.findall(r'on "(max-age[^"]*)";', render(["a.test"], subdomains=subdomains))
    assert found == value


@pytest.mark.parametrize(
    ("answer", "logged"),
    [
        ("404:/watch/aBcDeFgHiJkLmNoPqRsTuVwXyZ012345", "/watch/..."),
        ("307:/streams/aBcDeFgHiJkLmNoPqRsTuVwXyZ012345/rotate", "/streams/..."),
        ("404:/aBcDeFgHiJkLmNoPqRsTuVwXyZ012345", "/..."),
        ("403:/hls/short/aBcDeFgHiJkLmNoPqRsTuVwXyZ012345/index.m3u8", "/hls/short/..."),
        ("200:/watch/a_stream_with_a_long_name_of_its_own", None),
        ("304:/static/a-long-name-of-a-file.css", None),
        ("404:/wp-login.php", None),
        ("404:/watch/alice", None),
    ],
)
def test_what_led_to_nothing_and_may_be_a_key_is_not_logged(answer: str, logged: str | None) -> None:
    (pattern,) = re.findall(r'\n        "~(.*)" "\$logged_start/\.\.\."', render(["a.test"]))
    found = re.match(pattern.replace("(?<", "(?P<", 2).replace("(?P<!", "(?<!"), answer)
    assert (f"{found['logged_start']}/..." if found else None) == logged


@pytest.mark.parametrize(
    ("method", "strange"),
    [
        *[(method, False) for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")],
        *[(method, True) for method in ("BREW", "GETX", "XGET", "GET_", "TRACE", "CONNECT", "PROPFIND", "")],
    ],
)
def test_methods_that_the_site_knows_pass(method: str, strange: bool) -> None:
    (pattern,) = re.findall(r'map \$request_method \$strange_method \{\n        "~(.*)" "";', render(["a.test"]))
    assert (re.match(pattern, method) is None) == strange
    assert render(["a.test"]).count("if ($strange_method) {\n            return 405;") == 2

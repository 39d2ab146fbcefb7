"""Secrets reach their readers, and nobody else."""

from __future__ import annotations

import pytest
from minutes import Minute
from outside import Outside, Site
from showing import assert_hidden
from testinfra.host import Host

DEPLOYED = "/etc/streamkeep/secrets"


@pytest.fixture
def secrets(host: Host) -> list[str]:
    values = [
        host.check_output(f"cat {path}") for path in host.check_output(f"find {DEPLOYED} -type f -size +0").split()
    ]
    assert len(values) >= 2
    assert all(len(value) >= 24 for value in values)
    return values


def test_each_is_readable_by_its_reader_alone(host: Host) -> None:
    for path in host.check_output(f"find {DEPLOYED} -type f").split():
        file = host.file(path)
        assert file.mode == 0o400
        assert file.uid >= 1_000_000
    settings = host.file("/opt/streamkeep/.env")
    assert settings.mode == 0o600


def test_none_shows_where_people_look(
    site: Site,
    host: Host,
    outside: Outside,
    secrets: list[str],
    minute: Minute,
) -> None:
    outside.is_refused(f"rtmp://{site.address}:1935/live", minute.playpath + "x")
    elsewhere = {
        "settings": "cat /opt/streamkeep/.env /opt/streamkeep/compose.yaml",
        "stat page": "docker exec nginx-rtmp curl -s http://127.0.0.1:8081/stat",
        "segments": "docker exec ffmpeg sh -c 'find /var/hls; cat /var/hls/*/*/*.m3u8 /var/hls/*/*/*/*.m3u8; echo end'",
    }
    assert_hidden(host, site, [*secrets, minute.playpath.partition("key=")[2]], elsewhere)

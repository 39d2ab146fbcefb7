"""Who may publish: the key's rule (guide, section 4), and no answer means no."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from outside import Manage, NewKey, Outside, Site, eventually
from testinfra.host import Host

GOOD = "A" * 32


def server(site: Site) -> str:
    return f"rtmp://{site.address}:1935/live"


@pytest.fixture(scope="module")
def there(manage: Manage) -> Iterator[None]:
    """A stream of the name that is tried, so that it is the key which is refused."""
    manage("key", "create", "probe-keys", "--rotate")
    yield
    manage("key", "revoke", "probe-keys")


@pytest.mark.usefixtures("there")
@pytest.mark.parametrize(
    "playpath",
    [
        pytest.param("probe-keys?key=" + GOOD, id="wrong key"),
        pytest.param("probe-keys", id="no key"),
        pytest.param("probe-keys?key=", id="empty key"),
        pytest.param("probe-nobody?key=" + GOOD, id="unknown name"),
        pytest.param("ab?key=" + GOOD, id="name of 2"),
        pytest.param("a" * 65 + "?key=" + GOOD, id="name of 65"),
        pytest.param("probe-keys?key=ab", id="key of 2"),
        pytest.param("probe-keys?key=" + "a" * 65, id="key of 65"),
        pytest.param("../../etc?key=" + GOOD, id="dots"),
        pytest.param("probe/keys?key=" + GOOD, id="slash"),
        pytest.param("probe keys?key=" + GOOD, id="space"),
        pytest.param("probe-keys%00?key=" + GOOD, id="percent nul"),
        pytest.param("probe-keys\n?key=" + GOOD, id="newline"),
        pytest.param("pröbe-keys?key=" + GOOD, id="umlaut"),
        pytest.param("probe-keys;$(id)?key=" + GOOD, id="shell"),
        pytest.param("probe-keys?key=' OR 1=1 --", id="sql"),
        pytest.param("probe-keys?key=" + GOOD + "&name=probe-keys", id="second name"),
    ],
)
def test_a_bad_key_is_refused(site: Site, outside: Outside, playpath: str) -> None:
    assert outside.is_refused(server(site), playpath)


def test_a_key_holds_for_its_own_name_alone(site: Site, outside: Outside, new_key: NewKey) -> None:
    key = new_key("probe-mine").partition("?")[2]
    new_key("probe-theirs")
    assert outside.is_refused(server(site), f"probe-theirs?{key}")
    assert not outside.is_refused(server(site), f"probe-mine?{key}")


def test_another_application_is_refused(site: Site, outside: Outside, new_key: NewKey) -> None:
    assert outside.is_refused(f"rtmp://{site.address}:1935/vod", new_key("probe-app"))


@pytest.mark.destructive
def test_no_answer_means_no(site: Site, outside: Outside, host: Host, new_key: NewKey) -> None:
    playpath = new_key("probe-closed")
    assert not outside.is_refused(server(site), playpath)
    host.check_output("docker stop python-orchestrator")
    try:
        assert outside.is_refused(server(site), playpath)
    finally:
        host.check_output("docker start python-orchestrator")
    healthy = "docker inspect --format '{{.State.Health.Status}}' python-orchestrator"
    eventually(lambda: host.check_output(healthy) == "healthy", 40, "the app is back")
    eventually(lambda: not outside.is_refused(server(site), playpath), 30, "the key holds again")

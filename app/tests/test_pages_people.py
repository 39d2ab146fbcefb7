"""Users, one's own account and audit reports, by page."""

from __future__ import annotations

import html
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from browsers import Browser
from orchestrator.people import accounts, logins
from orchestrator.site import audit_reports
from orchestrator.site.settings import Settings

Make = Callable[[str, str], Browser]


@pytest.fixture
def boss(browser: Make) -> Browser:
    return browser("the-admin", "admin")


def password_in(page: str) -> str:
    found = re.search(r'id="password" value="([^"]+)"', page)
    assert found
    return html.unescape(found[1])


def test_a_user_is_made_and_the_password_shown_once(boss: Browser, visitor: Browser) -> None:
    made = boss.post("/users", name="ingrid", role="streamer")
    assert made.status_code == 201
    assert made.headers["Cache-Control"] == "no-store"
    visitor.name, visitor.password = "ingrid", password_in(made.text)
    assert visitor.sign_in().status_code == 303
    for path in ("/users", "/users/ingrid", "/users/ingrid/reset"):
        assert html.escape(visitor.password) not in boss.get(path).text
    assert 'aria-current="page">ingrid' not in boss.get("/users").text


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"name": "x", "role": "admin"}, "3 to 64"),
        ({"name": "<script>", "role": "admin"}, "3 to 64"),
        ({"name": "ingrid", "role": "god"}, "A role is one of"),
        ({"name": "ingrid"}, "A role is one of"),
        ({"name": "the-admin", "role": "admin"}, "exists already"),
    ],
)
def test_a_wrong_user_is_told(boss: Browser, fields: dict[str, str], said: str) -> None:
    answer = boss.post("/users", **fields)
    assert answer.status_code == 422
    assert said in answer.text
    assert "<script>" not in answer.text
    assert accounts.find("ingrid") is None


def test_the_life_of_a_user(boss: Browser, browser: Make) -> None:
    ingrid = browser("ingrid", "streamer")
    assert boss.post("/users/ingrid/role", role="auditor").location == "/users/ingrid?said=role"
    assert accounts.known("ingrid").role == "auditor"
    assert ingrid.get("/dashboard").status_code == 307, "another role signs out"
    assert ingrid.sign_in().status_code == 303
    boss.post("/users/ingrid/disable")
    assert ingrid.get("/dashboard").status_code == 307
    assert ingrid.sign_in().status_code == 401
    assert "Disabled" in boss.get("/users/ingrid").text
    boss.post("/users/ingrid/enable")
    assert ingrid.sign_in().status_code == 303
    ingrid.password = password_in(boss.post("/users/ingrid/reset").text)
    assert ingrid.get("/dashboard").status_code == 307
    assert ingrid.sign_in().status_code == 303
    assert boss.post("/users/ingrid/delete").location == "/users?said=deleted"
    assert accounts.find("ingrid") is None
    assert boss.get("/users/ingrid").status_code == 404


@pytest.mark.parametrize("action", ["disable", "delete", "role"])
def test_the_last_admin_stays(boss: Browser, action: str) -> None:
    answer = boss.post(f"/users/the-admin/{action}", role="auditor")
    assert answer.status_code == 422
    assert "last admin" in answer.text
    assert accounts.known("the-admin").disabled_at is None


@pytest.mark.parametrize("path", ["/users/ingrid/explode", "/users/ingrid/role", "/users/ingrid/enable"])
def test_what_needs_no_question_has_no_page(boss: Browser, browser: Make, path: str) -> None:
    browser("ingrid", "streamer")
    assert boss.get(path).status_code == 404
    assert boss.post("/users/ingrid/explode").status_code == 404


def test_a_password_is_changed_and_all_logins_end(browser: Make) -> None:
    ingrid = browser("ingrid", "streamer")
    new = "quite-Another-1-secret"
    answer = ingrid.post("/account/password", current=ingrid.password, new=new, again=new)
    assert answer.location == "/session?said=password"
    assert not logins.of(accounts.known("ingrid"))
    assert ingrid.sign_in().status_code == 401
    ingrid.password = new
    assert ingrid.sign_in().status_code == 303


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"current": "wrong"}, "current password is wrong"),
        ({"new": "short", "again": "short"}, "16 to 128"),
        ({"new": "", "again": ""}, "16 to 128"),
        ({"again": "something-Else-1"}, "not the same"),
        ({"new": "ingrid-ingrid-1-A", "again": "ingrid-ingrid-1-A"}, "name"),
    ],
)
def test_a_bad_password_changes_nothing(browser: Make, fields: dict[str, str], said: str) -> None:
    ingrid = browser("ingrid", "streamer")
    new = "quite-Another-1-secret"
    answer = ingrid.post("/account/password", **({"current": ingrid.password, "new": new, "again": new} | fields))
    assert answer.status_code == 422
    assert said in answer.text
    assert new not in answer.text
    assert not answer.headers.getlist("Set-Cookie"), "nobody is signed out"
    assert accounts.verifies(accounts.known("ingrid"), ingrid.password)


def test_signing_out_everywhere(browser: Make) -> None:
    here = browser("ingrid", "streamer")
    there = Browser(here.client.application.test_client(), here.name, here.password)
    there.sign_in()
    assert here.get("/account").text.count("since <time") == 2
    assert here.post("/account/sign-out-everywhere").location == "/session?said=everywhere"
    assert there.get("/dashboard").status_code == 307


@pytest.fixture
def folder(settings: Settings) -> Path:
    settings.reports_path.mkdir()
    return settings.reports_path


JUNIT = """<?xml version="1.0"?><testsuites><testsuite name="pytest" hostname="controller" tests="4">
<testcase classname="checklist.test_tls" name="test_good" time="0.5"/>
<testcase classname="checklist.test_tls" name="test_bad" time="x">
<failure message="&lt;b&gt;it broke">long</failure></testcase>
<testcase classname="checklist.test_base" name="test_broken"><error>no connection</error></testcase>
<testcase classname="" name="test_not"><skipped message="not-testable: no AppArmor here"/></testcase>
</testsuite></testsuites>"""


def test_a_report_is_shown_failures_first(browser: Make, folder: Path) -> None:
    auditor = browser("anton", "auditor")
    assert "There is no report yet" in auditor.get("/reports").text
    (folder / "audit 1.xml").write_text(JUNIT)
    assert 'href="/reports/audit%201"' in auditor.get("/reports").text
    page = auditor.get("/reports/audit%201").text
    assert page.index("it broke") < page.index("no AppArmor here") < page.index("good</strong>")
    assert "&lt;b&gt;it broke" in page
    assert "no connection" in page
    assert "on controller" in page
    found = audit_reports.find(folder, "audit 1")
    assert found
    assert [found.count(verdict) for verdict in audit_reports.VERDICTS] == [2, 1, 1]
    assert found.verdict == "fail"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no well-formed XML"),
        (b"<testsuites><testsuite", "no well-formed XML"),
        (b"\xff\xfe\x00\x00", "no well-formed XML"),
        (b'<?xml version="1.0" encoding="nonsense"?><testsuites/>', "no well-formed XML"),
        (b"<html/>", "no JUnit report"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]><testsuites>&b;</testsuites>', "no well-formed XML"),
        (b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><testsuites>&b;</testsuites>', "no well-formed XML"),
        (b" " * (audit_reports.LARGEST + 1), "MiB"),
    ],
)
def test_a_broken_report_says_so(browser: Make, folder: Path, content: bytes, said: str) -> None:
    (folder / "broken.xml").write_bytes(content)
    (folder / "good.xml").write_text("<testsuite><testcase name='test_it' classname='a.test_b'/></testsuite>")
    auditor = browser("anton", "auditor")
    listed = auditor.get("/reports")
    assert listed.status_code == 200
    assert "t be read</span>" in listed.text
    shown = auditor.get("/reports/broken")
    assert shown.status_code == 200
    assert said in shown.text
    assert "root:" not in shown.text
    assert ">Pass<" in auditor.get("/reports/good").text


def test_an_empty_report_has_not_passed(browser: Make, folder: Path) -> None:
    (folder / "empty.xml").write_text("<testsuites/>")
    page = browser("anton", "auditor").get("/reports/empty").text
    assert "nothing was tried" in page
    assert "verdict-fail" in page


@pytest.mark.parametrize("name", ["..", "../secret", "..%2fsecret", "nothing", "link", "secret"])
def test_a_name_is_no_path(browser: Make, folder: Path, name: str) -> None:
    (folder.parent / "secret.xml").write_text("<testsuites>secret</testsuites>")
    (folder / "link.xml").symlink_to(folder.parent / "secret.xml")
    answer = browser("anton", "auditor").get(f"/reports/{name}")
    assert answer.status_code in (404, 308)
    assert "secret</" not in answer.text


def test_the_newest_report_comes_first(folder: Path) -> None:
    for age, name in enumerate(("new", "middle", "old")):
        (folder / f"{name}.xml").write_text("<testsuites/>")
        os.utime(folder / f"{name}.xml", (1_700_000_000 - age, 1_700_000_000 - age))
    (folder / "notes.txt").write_text("no report")
    assert [report.name for report in audit_reports.newest(folder)] == ["new", "middle", "old"]
    assert audit_reports.newest(folder / "nowhere") == []


def test_a_daily_audit_is_listed_for_a_while_and_found_for_ever(folder: Path) -> None:
    for day in range(60):
        (folder / f"day-{day}.xml").write_text("<testsuites/>")
        os.utime(folder / f"day-{day}.xml", (1_700_000_000 + day, 1_700_000_000 + day))
    assert [report.name for report in audit_reports.newest(folder)] == [f"day-{day}" for day in range(59, 9, -1)]
    assert audit_reports.find(folder, "day-0")


def test_a_report_that_cannot_be_read_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "closed.xml").write_text("<testsuites/>")

    def closed(_path: Path) -> bytes:
        raise PermissionError

    monkeypatch.setattr(Path, "read_bytes", closed)
    found = audit_reports.find(folder, "closed")
    assert found
    assert "can't be read" in found.broken

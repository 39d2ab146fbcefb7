"""The log: fixed beginning of each line, and a file that may be rotated away."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from orchestrator.site import events


def test_the_file_is_opened_anew_when_it_was_rotated(tmp_path: Path) -> None:
    file = tmp_path / "streaming-app.log"
    events.configure("INFO", file)
    events.note("login", "failed", "198.51.100.7", user="bob")
    file.rename(tmp_path / "streaming-app.log.1")
    events.note("login", "failed", "198.51.100.8", user="bob")
    assert '"client": "198.51.100.8"' in file.read_text()
    assert file.read_text().count("\n") == 1
    events.configure("INFO")


def test_a_line_begins_with_what_no_client_chooses(capsys: pytest.CaptureFixture[str]) -> None:
    events.configure("INFO")
    events.note("login", "failed", "198.51.100.7", user='", "client": "192.0.2.1')
    line = capsys.readouterr().out
    assert '"level": "info", "event": "login", "result": "failed", "client": "198.51.100.7", "user"' in line
    assert json.loads(line)["user"] == '", "client": "192.0.2.1'


def test_a_level_hides_what_is_below(capsys: pytest.CaptureFixture[str]) -> None:
    events.configure("WARNING")
    events.note("login", "failed", None)
    events.log.warning("disk")
    assert [json.loads(line)["event"] for line in capsys.readouterr().out.splitlines()] == ["disk"]
    events.configure("INFO")


def test_an_unexpected_error_is_one_line_and_tells_the_client_nothing(
    app: Flask, client: FlaskClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> str:
        raise RuntimeError("with\nlines")

    monkeypatch.setitem(app.view_functions, "health.alive", broken)
    events.configure("INFO")
    app.logger.handlers = events.log.handlers
    answer = client.get("/healthz", headers={"X-Request-ID": "forged"})
    assert answer.status_code == 500
    assert answer.content_type == "application/problem+json"
    assert "lines" not in answer.text
    (line,) = capsys.readouterr().out.splitlines()
    told = json.loads(line)
    assert "RuntimeError" in told["exception"]
    assert told["request_id"] != "forged"
    assert logging.getLogger("orchestrator").handlers

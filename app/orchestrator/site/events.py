"""The log: one JSON object a line, UTC, without secrets.

JSON escapes control characters, so that nobody forges a line by what they send. The order of the first fields is fixed
and nothing that a client chooses comes before its address: fail2ban reads the lines by their beginning.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from logging.handlers import WatchedFileHandler
from pathlib import Path
from typing import Any, TextIO

from flask import g, has_request_context

log = logging.getLogger("orchestrator")


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Return *record* as JSON: time, level, event, and what the caller added."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **getattr(record, "details", {}),
        }
        if has_request_context() and "request_id" in g:
            line["request_id"] = g.request_id
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def configure(level: str, file: Path | None = None, stream: TextIO | None = None) -> None:
    """Send the log from *level* up to *stream* (standard output) and to *file*, which may be rotated away."""
    handlers: list[logging.Handler] = [logging.StreamHandler(stream or sys.stdout)]
    if file is not None:
        handlers.append(WatchedFileHandler(file, encoding="ascii"))
    for handler in log.handlers:
        handler.close()
    for handler in handlers:
        handler.setFormatter(JsonLines())
    log.handlers = handlers
    log.setLevel(level)
    log.propagate = False


def note(event: str, result: str, client: str | None, **details: Any) -> None:
    """Log what became of *event*, which *client* (an IP address) asked for; give no secret."""
    log.info(event, extra={"details": {"result": result, "client": client, **details}})

"""What the audits found. For auditors and admins."""

from __future__ import annotations

from pathlib import Path

from flask import abort, current_app, render_template
from flask.typing import ResponseReturnValue

from ..permissions import OBSERVERS
from ..site import audit_reports
from .blueprint import blueprint, signed_in


def _folder() -> Path:
    """Return where the reports lie."""
    folder: Path = current_app.config["STREAMKEEP"].reports_path
    return folder


@blueprint.get("/reports")
@signed_in(*OBSERVERS)
def report_list() -> ResponseReturnValue:
    """List the newest reports."""
    return render_template("reports.html", reports=audit_reports.newest(_folder()), verdicts=audit_reports.VERDICTS)


@blueprint.get("/reports/<name>")
@signed_in(*OBSERVERS)
def report(name: str) -> ResponseReturnValue:
    """Show what one audit found, failures first."""
    found = audit_reports.find(_folder(), name)
    if found is None:
        abort(404)
    return render_template("report.html", report=found, verdicts=audit_reports.VERDICTS)

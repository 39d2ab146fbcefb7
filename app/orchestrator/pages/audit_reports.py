"""What the audits found. For auditors and admins."""

from __future__ import annotations

from flask import abort, render_template
from flask.typing import ResponseReturnValue

from ..permissions import OBSERVERS
from ..site import audit_reports
from ..site.settings import current_settings
from .blueprint import blueprint, signed_in


@blueprint.get("/reports")
@signed_in(*OBSERVERS)
def report_list() -> ResponseReturnValue:
    """List the newest reports."""
    newest = audit_reports.newest(current_settings().reports_path)
    return render_template("reports.html", reports=newest, verdicts=audit_reports.VERDICTS)


@blueprint.get("/reports/<name>")
@signed_in(*OBSERVERS)
def report(name: str) -> ResponseReturnValue:
    """Show what one audit found, failures first."""
    found = audit_reports.find(current_settings().reports_path, name)
    if found is None:
        abort(404)
    return render_template("report.html", report=found, verdicts=audit_reports.VERDICTS)

"""Audit reports: JUnit XML as `pytest checklist --junitxml=...` writes it, in a folder that auditors may read."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

LARGEST = 8 * 1024 * 1024  # bytes; a report of 300 probes has about 100 KiB
LONGEST_MESSAGE = 2000
MOST = 50  # reports that are listed; older ones are found by their name
PASS, FAIL, NOT_TESTABLE = "pass", "fail", "not-testable"
VERDICTS = (FAIL, NOT_TESTABLE, PASS)


@dataclass(frozen=True)
class Probe:
    """One test of a report."""

    name: str
    group: str
    verdict: str
    message: str
    seconds: float


@dataclass
class Report:
    """One file; *broken* says in a sentence why it can't be read."""

    name: str
    written_at: datetime
    host: str = ""
    broken: str = ""
    probes: list[Probe] = field(default_factory=list)

    def count(self, verdict: str) -> int:
        """Return how many probes have *verdict*."""
        return sum(probe.verdict == verdict for probe in self.probes)

    @property
    def verdict(self) -> str:
        """What the report says as a whole; one that can't be read, or tried nothing, has failed."""
        return FAIL if self.broken or self.count(FAIL) or not self.count(PASS) else PASS


def _verdict(case: Element) -> tuple[str, str]:
    """Return (verdict, message) of a testcase."""
    for tag, verdict in (("failure", FAIL), ("error", FAIL), ("skipped", NOT_TESTABLE)):
        found = case.find(tag)
        if found is not None:
            return verdict, (found.get("message") or found.text or "").strip()[:LONGEST_MESSAGE]
    return PASS, ""


def _seconds(case: Element) -> float:
    """Return how long a testcase took."""
    try:
        return float(case.get("time", "0"))
    except ValueError:
        return 0.0


def _probe(case: Element) -> Probe:
    """Return the testcase *case*."""
    group = case.get("classname", "").rpartition(".")[2].removeprefix("test_").replace("_", " ")
    return Probe(case.get("name", "?")[:300], group[:100] or "probes", *_verdict(case), _seconds(case))


def _read(path: Path) -> Report:
    """Return the report in *path*; whatever is wrong with it becomes part of it."""
    report = Report(path.stem, datetime.fromtimestamp(path.stat().st_mtime, UTC).replace(tzinfo=None))
    try:
        if path.stat().st_size > LARGEST:
            report.broken = f"It has more than {LARGEST // 1024 // 1024} MiB, which no audit of ours writes."
            return report
        root = fromstring(path.read_bytes())
    except (ParseError, DefusedXmlException, ValueError, LookupError):
        report.broken = "It is no well-formed XML; the audit may have been interrupted while it wrote."
        return report
    except OSError:
        report.broken = "The file can't be read: let it belong to the orchestrator's group."
        return report
    if root.tag not in ("testsuites", "testsuite"):
        report.broken = "It is XML, but no JUnit report."
        return report
    suite = root if root.tag == "testsuite" else root.find("testsuite")
    report.host = suite.get("hostname", "")[:100] if suite is not None else ""
    report.probes = [_probe(case) for case in root.iter("testcase")]
    report.probes.sort(key=lambda probe: VERDICTS.index(probe.verdict))
    return report


def _files(folder: Path) -> list[Path]:
    """Return the reports' files in *folder*; links are not followed out of it."""
    try:
        return [path for path in folder.iterdir() if path.suffix == ".xml" and path.is_file() and not path.is_symlink()]
    except OSError:
        return []


def newest(folder: Path) -> list[Report]:
    """Return the newest MOST reports in *folder*, newest first; the others are not read."""
    files = sorted(_files(folder), key=lambda path: (path.stat().st_mtime, path.stem), reverse=True)
    return [_read(path) for path in files[:MOST]]


def find(folder: Path, name: str) -> Report | None:
    """Return the report *name*, which is looked for among those that are there and never made into a path."""
    return next((_read(path) for path in _files(folder) if path.stem == name), None)

"""A real browser on this machine: Debian's Chromium, led by Playwright; axe-core judges what it shows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from outside import Site
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright

ROOT = Path(__file__).parents[1]
SCREENSHOTS = ROOT / ".streamkeep/screenshots"
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # It takes a disposable host for this machine's own network, which no page elsewhere may reach.
    "--disable-features=LocalNetworkAccessChecks",
    "--autoplay-policy=no-user-gesture-required",
)


def launch(playwright: Playwright, site: Site) -> Browser:
    """Start Chromium; the site's name leads to the host, whoever else may bear it."""
    chromium = shutil.which("chromium")
    assert chromium, "no chromium here: apt-get install chromium"
    resolve = f"--host-resolver-rules=MAP {site.domain} {site.address}"
    return playwright.chromium.launch(executable_path=chromium, args=[*FLAGS, resolve])


def fetch_axe() -> str:
    """Return the source of axe-core, fetched once by the pages' own lock."""
    folder = ROOT / ".streamkeep/axe"
    source = folder / "node_modules/axe-core/axe.min.js"
    locked = [ROOT / "app/package.json", ROOT / "app/package-lock.json"]
    if not source.exists() or any(source.stat().st_ctime < file.stat().st_ctime for file in locked):
        folder.mkdir(parents=True, exist_ok=True)
        for file in locked:
            shutil.copy(file, folder)
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=folder, env=os.environ | {"PATH": path}, check=True, capture_output=True)
    return source.read_text(encoding="utf-8")


@dataclass
class Window:
    """One window of the browser, with what its console complained about."""

    page: Page
    site: Site
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _hear(self, message: ConsoleMessage) -> None:
        """Note an error; that something is not there (yet) is none of the page's making."""
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.complaints.append(message.text)

    def open(self, path: str) -> None:
        """Open *path* of the site."""
        self.page.goto(f"https://{self.site.domain}{path}")

    def picture(self, name: str) -> None:
        """Keep a screenshot."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")

    def sign_in(self, password: str) -> None:
        """Sign in as the admin."""
        self.open("/session")
        self.page.get_by_label("Name", exact=True).fill("admin")
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.get_by_role("heading", name="Dashboard").wait_for()

    def judge(self, axe: str) -> list[str]:
        """Return what axe-core finds serious or critical, and whether the page is wider than its window."""
        self.page.evaluate(axe)
        result: dict[str, Any] = self.page.evaluate("axe.run()")
        assert len(result["passes"]) > 5, "axe judged nothing"
        found = [
            f"{violation['id']}: {node['html'][:150]}"
            for violation in result["violations"]
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]
        wide = self.page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
        return [*found, "wider than the window"] if wide else found


def window(browser: Browser, site: Site, **options: Any) -> tuple[BrowserContext, Window]:
    """Open a window without any cookie; its certificate is judged elsewhere."""
    context = browser.new_context(ignore_https_errors=True, viewport={"width": 1280, "height": 800}, **options)
    context.set_default_timeout(20_000)
    return context, Window(context.new_page(), site)

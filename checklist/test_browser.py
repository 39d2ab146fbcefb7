"""The pages in a real browser: what a streamer does and sees, and whether everybody can."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest
from browsing import Window, fetch_axe, launch, window
from outside import SOUND, NewKey, Outside, Publish, Site, eventually, patient, wait_until_it_plays
from playwright.sync_api import Browser, expect, sync_playwright
from testinfra.host import Host

pytestmark = pytest.mark.brisk
PUBLIC = ("/", "/session", "/nothing-here", "/watch/probe-looks", "/embed/probe-looks")
PAGES = (
    "/dashboard",
    "/streams",
    "/new-stream",
    "/streams/probe-looks",
    "/streams/probe-looks/rotate",
    "/streams/probe-looks/invitations",
    "/users",
    "/users/admin",
    "/users/admin/reset",
    "/account",
    "/reports",
)
TIME = "document.querySelector('video').currentTime"


@pytest.fixture(scope="module")
def browser(site: Site) -> Iterator[Browser]:
    """Give Chromium."""
    with sync_playwright() as playwright:
        started = launch(playwright, site)
        yield started
        started.close()


@pytest.fixture(scope="module")
def axe() -> str:
    """Give the source of axe-core."""
    return fetch_axe()


@pytest.fixture(scope="module")
def password(host: Host) -> str:
    """Give the admin's password."""
    return host.check_output("cat /etc/streamkeep/secrets/admin_password").strip()


@pytest.fixture
def view(browser: Browser, site: Site) -> Iterator[Window]:
    """Give a window in which nobody is signed in."""
    context, made = window(browser, site, permissions=["clipboard-read", "clipboard-write"])
    yield made
    context.close()


def plays(watching: Window) -> bool:
    """Tell whether the picture moves."""
    before = watching.page.evaluate(TIME)
    watching.page.wait_for_timeout(2000)
    return bool(watching.page.evaluate(TIME) > before + 1)


def created(view: Window, slug: str) -> str:
    """Make a stream by page and return what to paste into OBS."""
    view.page.get_by_role("link", name="Streams", exact=True).click()
    view.page.get_by_role("link", name="New stream").click()
    view.page.locator("[name=slug]").fill(slug)
    view.page.locator("[name=title]").fill("A probe's evening")
    view.page.get_by_role("button", name="Create the stream").click()
    return view.page.locator("#stream-key").input_value()


def confirmed(view: Window, slug: str, link: str, button: str) -> None:
    """Do something that asks first."""
    view.open(f"/streams/{slug}")
    view.page.get_by_role("link", name=link, exact=True).click()
    view.page.get_by_role("button", name=button).click()


@pytest.mark.destructive
def test_an_evening_of_a_streamer(
    view: Window, browser: Browser, site: Site, password: str, axe: str, publish: Publish
) -> None:
    slug = f"probe-{secrets.token_hex(4)}"
    view.sign_in(password)
    first = created(view, slug)
    assert first.startswith(f"{slug}?key=")
    view.page.get_by_role("button", name="Copy the stream key").click()
    expect(view.page.get_by_role("button", name="Copied the stream key")).to_be_visible()
    assert view.page.evaluate("navigator.clipboard.readText()") == first
    assert not view.judge(axe)

    # It appears on the dashboard without being asked for.
    view.page.get_by_role("link", name="Dashboard").first.click()
    publisher = publish(first)
    card = view.page.get_by_role("listitem").filter(has_text="A probe's evening")
    card.wait_for(timeout=20_000)
    assert not view.judge(axe)

    # Somebody else watches; the picture moves.
    context, viewer = window(browser, site)
    viewer.open(f"/watch/{slug}")
    expect(viewer.page.locator(".player")).to_have_attribute("data-state", "live", timeout=30_000)
    eventually(lambda: plays(viewer), 20, "the picture moves")
    expect(viewer.page.get_by_label("Quality")).to_be_enabled()
    assert viewer.page.locator(".quality option").count() >= 3
    expect(viewer.page.locator(".latency")).to_contain_text("s behind live", timeout=5000)
    viewer.page.keyboard.press("m")
    assert not viewer.page.evaluate("document.querySelector('video').muted")
    assert not viewer.judge(axe)
    viewer.picture("watch")
    shown = "document.querySelector('.preview img')?.naturalWidth > 0"
    eventually(lambda: view.page.evaluate(shown), 30, "the dashboard shows a preview")
    view.picture("dashboard")

    # A new key ends what runs on the former one, and the player comes back with the stream.
    confirmed(view, slug, "New key", "Make a new key")
    second = view.page.locator("#stream-key").input_value()
    assert second != first
    eventually(lambda: not publisher.running, 8, "the former key's publisher is gone")
    expect(viewer.page.locator(".player")).to_have_attribute("data-state", "offline", timeout=30_000)
    publisher = publish(second)
    expect(viewer.page.locator(".player")).to_have_attribute("data-state", "live", timeout=40_000)

    confirmed(view, slug, "End the stream", "End the stream")
    eventually(lambda: not publisher.running, 8, "the publisher is sent away")
    confirmed(view, slug, "Delete", "Delete for good")
    expect(view.page.get_by_role("status").first).to_contain_text("are gone")
    assert not view.complaints
    assert not viewer.complaints
    context.close()


def test_after_signing_out_the_back_button_shows_nothing(view: Window, password: str) -> None:
    view.sign_in(password)
    view.open("/streams")
    view.page.get_by_role("button", name="Sign out").click()
    expect(view.page.get_by_text("You are signed out.")).to_be_visible()
    view.page.go_back()
    expect(view.page.get_by_role("button", name="Sign in")).to_be_visible()
    assert view.page.get_by_role("heading", name="Streams").count() == 0
    assert not [cookie["name"] for cookie in view.page.context.cookies()]


def test_a_wrong_password_is_told(view: Window) -> None:
    view.open("/session")
    view.page.get_by_label("Name").fill("admin")
    view.page.get_by_label("Password").fill("this-is-Not-the-password-1")
    view.page.get_by_role("button", name="Sign in").click()
    expect(view.page.get_by_role("alert")).to_have_text("The name or the password is wrong.")
    assert not view.page.context.cookies()


@pytest.mark.parametrize(("scheme", "width"), [("light", 360), ("dark", 1280)])
def test_everybody_can_use_every_page(
    browser: Browser, site: Site, password: str, axe: str, new_key: NewKey, scheme: str, width: int
) -> None:
    new_key("probe-looks")
    context, view = window(browser, site, color_scheme=scheme)
    view.page.set_viewport_size({"width": width, "height": 800})
    found = {}
    for path in PUBLIC:
        view.open(path)
        found[path] = view.judge(axe)
    view.sign_in(password)
    for path in PAGES:
        view.open(path)
        found[path] = view.judge(axe)
        view.picture(f"{path.strip('/').replace('/', '-')}-{scheme}-{width}")
    assert not {path: what for path, what in found.items() if what}
    assert not view.complaints
    context.close()


def test_the_keyboard_reaches_everything(view: Window) -> None:
    view.open("/session")
    expect(view.page.get_by_label("Name")).to_be_focused()
    view.page.keyboard.press("Tab")
    expect(view.page.get_by_label("Password")).to_be_focused()
    view.page.keyboard.press("Tab")
    expect(view.page.get_by_role("button", name="Sign in")).to_be_focused()
    view.open("/")
    view.page.keyboard.press("Tab")
    expect(view.page.get_by_role("link", name="Skip to the content")).to_be_focused()
    view.page.keyboard.press("Enter")
    expect(view.page.get_by_role("main")).to_be_focused()


def test_pages_work_without_scripts(browser: Browser, site: Site, password: str, new_key: NewKey) -> None:
    new_key("probe-plain")
    context, view = window(browser, site, java_script_enabled=False)
    view.sign_in(password)
    view.open("/streams/probe-plain")
    view.page.locator("[name=title]").fill("Without scripts")
    view.page.get_by_role("button", name="Save").click()
    expect(view.page.get_by_role("status").first).to_have_text("Saved.")
    confirmed(view, "probe-plain", "Revoke", "Revoke the key")
    expect(view.page.get_by_role("heading", name="probe-plain Revoked")).to_be_visible()
    context.close()


def shows(view: Window, state: str, text: str, seconds: float = 20) -> None:
    """Expect the player in *state*, with a notice that begins with *text*."""
    expect(view.page.locator(".player")).to_have_attribute("data-state", state, timeout=patient(seconds) * 1000)
    expect(view.page.locator(".notice").first).to_contain_text(text)


NO_PLAYER = "delete window.MediaSource; HTMLMediaElement.prototype.canPlayType = () => '';"
# A browser that knows H.264, but not the profile that comes.
NO_PROFILE = """
const known = MediaSource.isTypeSupported;
MediaSource.isTypeSupported = (type) => !/avc1\\.(?!42E01E)/.test(type) && known.call(MediaSource, type);
"""
# Not by navigator.userActivation: Playwright asks the page as if a person did, so that each look at it counts as one.
NO_START = """
const play = HTMLMediaElement.prototype.play;
let pressed = false;
addEventListener("click", () => (pressed = true), true);
HTMLMediaElement.prototype.play = function () {
  return pressed ? play.call(this) : Promise.reject(new DOMException("", "NotAllowedError"));
};
"""


@pytest.mark.destructive
def test_the_page_says_why_nothing_plays(
    browser: Browser, view: Window, site: Site, outside: Outside, new_key: NewKey, publish: Publish
) -> None:
    playpath = new_key("probe-why")
    view.open("/watch/probe-why")
    shows(view, "offline", "Offline. This page starts playing when the stream does.")
    publish(playpath)
    wait_until_it_plays(outside, site, "probe-why")
    shows(view, "live", "", 30)
    media = "**/hls/probe-why/**"
    view.page.context.route(media, lambda route: route.abort())
    shows(view, "unreachable", "No connection to this site", 90)
    view.page.context.unroute(media)
    shows(view, "live", "", 30)
    for lacking, said in (
        (NO_PLAYER, "This browser can't play live video"),
        (NO_PROFILE, "This browser can't play what the stream sends"),
    ):
        context, old = window(browser, site)
        old.page.add_init_script(lacking)
        old.open("/watch/probe-why")
        shows(old, "unsupported", said)
        context.close()
    context, strict = window(browser, site)
    strict.page.add_init_script(NO_START)
    strict.open("/watch/probe-why")
    shows(strict, "blocked", "press Play")
    strict.page.get_by_role("button", name="Play", exact=True).click()
    shows(strict, "live", "")
    context.close()


@pytest.mark.destructive
def test_a_stream_without_a_picture_has_a_card(
    view: Window, site: Site, outside: Outside, new_key: NewKey, publish: Publish
) -> None:
    card = view.page.get_by_text("Sound only")
    radio = outside.publish(f"rtmps://{site.address}:1936/live", new_key("probe-radio"), SOUND)
    try:
        view.open("/watch/probe-radio")
        shows(view, "live", "", 30)
        expect(card).to_be_visible()
        view.page.get_by_role("button", name="Turn the sound on").click()
        assert not view.page.evaluate("document.querySelector('video').muted")
        eventually(lambda: plays(view), 20, "the sound plays")
    finally:
        radio.stop()
    publish(new_key("probe-picture"))
    view.open("/watch/probe-picture")
    shows(view, "live", "", 30)
    expect(card).to_be_hidden()


@pytest.mark.destructive
@pytest.mark.parametrize("stranger", [False, True], ids=["who may", "who may not"])
def test_a_page_elsewhere_shows_the_player_where_it_may(
    browser: Browser, site: Site, host: Host, new_key: NewKey, publish: Publish, stranger: bool
) -> None:
    origins = host.check_output("sed -n s/^EMBED_ORIGINS=//p /opt/streamkeep/.env").split()
    if not origins:
        pytest.skip("not-testable: nobody may show this host's streams (streamkeep_embed_origins)")
    publish(new_key("probe-framed"))
    elsewhere = "https://www.stranger.test" if stranger else origins[0]
    frame = f'<!doctype html><iframe src="https://{site.domain}/embed/probe-framed" allow="autoplay"></iframe>'
    context, page = window(browser, site, is_mobile=True, has_touch=True)
    context.route(f"{elsewhere}/**", lambda route: route.fulfill(body=frame, content_type="text/html"))
    page.page.goto(f"{elsewhere}/page")
    player = page.page.frame_locator("iframe").locator(".player")
    if stranger:
        eventually(lambda: any("frame-ancestors" in said for said in page.complaints), 10, "the browser refuses it")
        expect(player).to_have_count(0)
    else:
        expect(player).to_have_attribute("data-state", "live", timeout=40_000)
        assert not page.complaints
    context.close()

"""The status page in a real Chromium: on a phone and a desk, in the light and in the dark.

Pictures of what was seen are kept in the folder `SCREENSHOTS_DIR` names, else `build/screenshots`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

from storage import alerts
from tests.daemon.small import MARKET, Home
from tests.tools import tool
from tests.web.site import FRESH, HOSTILE, STALE, Site, serving

#: As notes of operations have them: what starts where there is no display and no other user.
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
SIZES = {"phone": (360, 740), "desk": (1280, 800)}
PAGES = {
    "overview": "/",
    "market": f"/markets/{MARKET}",
    "factor": f"/markets/{MARKET}/factors/{quote(HOSTILE)}",
    "empty": "/markets/cn",
    "missing": "/markets/nowhere",
}
#: Wider than its window by so many pixels a page may not be.
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@dataclass
class Seen:
    """A page, and everything the browser complained of while it was open."""

    page: Page
    complaints: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start the Chromium of the system."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=tool("chromium"), args=list(FLAGS), timeout=120_000
        )
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, url: str, size: str = "desk", **how: str) -> Iterator[Seen]:
    """Open a page of its own in a fresh profile, and note what the browser says."""
    width, height = SIZES[size]
    context = browser.new_context(viewport={"width": width, "height": height}, **how)  # type: ignore[arg-type]
    context.set_default_timeout(60_000)
    seen = Seen(context.new_page())
    note = seen.complaints.append
    seen.page.on(
        "console", lambda said: note(said.text) if said.type in {"error", "warning"} else None
    )
    seen.page.on("pageerror", lambda error: note(f"script: {error}"))
    seen.page.on("requestfailed", lambda request: note(f"failed: {request.url}"))
    seen.page.on(
        "request", lambda asked: None if asked.url.startswith(url[:17]) else note(asked.url)
    )
    try:
        seen.page.goto(url)
        yield seen
    finally:
        context.close()


def draw_all(page: Page, scheme: str = "light") -> None:
    """Scroll through the page until every figure is drawn, in the colours of a scheme."""
    for figure in page.query_selector_all(".plot"):
        figure.scroll_into_view_if_needed()
    page.wait_for_selector(f".plot:not([data-drawn={scheme}])", state="detached")
    page.evaluate("window.scrollTo(0, 0)")


def keep(page: Page, name: str) -> None:
    """Keep a picture of the whole page."""
    folder = Path(os.environ.get("SCREENSHOTS_DIR", "build/screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=folder / f"{name}.png", full_page=True)


@pytest.mark.parametrize("name", PAGES)
def test_page_is_in_order(browser: Browser, site: Site, name: str) -> None:
    """No complaint, no request elsewhere, nothing wider than the window, nothing axe would mend."""
    with opened(browser, site.base + PAGES[name]) as seen:
        for size, (width, height) in SIZES.items():
            seen.page.set_viewport_size({"width": width, "height": height})
            for scheme in ("light", "dark"):
                seen.page.emulate_media(color_scheme=scheme)
                draw_all(seen.page, scheme)
                assert seen.page.evaluate(OVERFLOW) == 0, f"{size} {scheme}"
                found = Axe().run(seen.page)
                assert found.violations_count == 0, found.generate_report()
                keep(seen.page, f"{name}-{size}-{scheme}")
        wanted = ["404 (Not Found)"] if name == "missing" else []
        assert len(seen.complaints) == len(wanted), seen.complaints
        assert all(why in said for why, said in zip(wanted, seen.complaints, strict=True))


def test_figures_follow_light_and_dark(browser: Browser, site: Site) -> None:
    """A figure that is drawn takes the colours of the scheme the reader changes to."""
    line = "document.querySelector('.plot').data.find((t) => t.hovertemplate).line.color"
    with opened(browser, site.base + PAGES["factor"], color_scheme="light") as seen:
        draw_all(seen.page)
        before = seen.page.evaluate(line)
        seen.page.emulate_media(color_scheme="dark")
        seen.page.wait_for_selector(".plot[data-drawn=dark]")
        assert seen.page.evaluate(line) != before


def test_keyboard_reaches_everything(browser: Browser, site: Site) -> None:
    """Skip link first, then path, switch, contents, factors, figures; the focus can be seen."""
    with opened(browser, site.base + PAGES["market"], "phone") as seen:
        page, order = seen.page, []
        for _ in range(40):
            page.keyboard.press("Tab")
            order.append(
                page.evaluate(
                    "(() => { const e = document.activeElement; "
                    "return [e.tagName, e.id || e.getAttribute('href') || e.className, "
                    "getComputedStyle(e).outlineStyle]; })()"
                )
            )
        names = [name for _, name, _ in order]
        assert names[:3] == ["#main", "/", f"/markets/{MARKET}"]
        wanted = ["updates", "#alerts", "#book", "#mining", "#data", "#ledger"]
        assert [name for name in names if name in wanted] == wanted
        assert f"{PAGES['market']}/factors/m001_1" in names
        assert {"SUMMARY", "DIV"} <= {tag for tag, _, _ in order}
        assert all(outline != "none" for _, _, outline in order)
        page.keyboard.press("Control+Home")
        page.evaluate("document.activeElement.blur()")
        page.focus(".skip")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"


def test_figure_opens_as_a_table(browser: Browser, site: Site) -> None:
    """Enter on its summary shows the figures of a figure; its label says them in a sentence."""
    with opened(browser, site.base + PAGES["factor"]) as seen:
        label = seen.page.get_attribute(".plot", "aria-label") or ""
        assert "evidence of decay is" in label
        seen.page.focus("figure summary")
        seen.page.keyboard.press("Enter")
        assert seen.page.is_visible("figure table")
        assert seen.page.locator("figure table tbody tr").count() == 8


def test_page_takes_up_what_is_new(browser: Browser, own: Home) -> None:
    """Within a minute; what was open stays open, and a switch turns it off."""
    with serving(own.config) as site, opened(browser, site.base + PAGES["market"]) as seen:
        page = seen.page
        draw_all(page)
        page.click("#mining ~ .job summary")
        with site.context.database.transaction() as conn:
            alerts.raise_alert(conn, MARKET, "fresh", "warning", "something is new", FRESH)
        look_again(page)
        page.wait_for_selector("text=something is new")
        assert page.evaluate("document.querySelector('#mining ~ .job details').open")
        page.wait_for_selector(".plot[data-drawn]")
        assert seen.complaints == []


def test_page_of_a_reader_who_wants_no_motion_stays(browser: Browser, own: Home) -> None:
    """It only says that there is something newer."""
    with (
        serving(own.config) as site,
        opened(browser, site.base, reduced_motion="reduce") as seen,
    ):
        with site.context.database.transaction() as conn:
            alerts.raise_alert(conn, MARKET, "fresh", "warning", "something is new", FRESH)
        look_again(seen.page)
        seen.page.wait_for_selector("#notice:has-text('newer data')")
        assert not seen.page.is_visible("text=something is new")
        assert Axe().run(seen.page).violations_count == 0


def test_page_says_when_nobody_answers(browser: Browser, own: Home) -> None:
    """What it shows may then be old: it says since when."""
    with serving(own.config) as site:
        stack = ExitStack()
        seen = stack.enter_context(opened(browser, site.base))
    with stack:
        look_again(seen.page)
        seen.page.wait_for_selector("#notice:has-text('does not answer')")


def look_again(page: Page) -> None:
    """Switch updates off and on: turned on the page looks at once."""
    page.click("#updates")
    page.click("#updates")


def test_trouble_looks_like_trouble(browser: Browser, home: Home) -> None:
    """Expired, behind and open alerts stand out, and are as accessible as the rest."""
    with serving(home.config, STALE) as late, opened(browser, late.base, "phone") as seen:
        assert seen.page.is_visible(".pill.bad:has-text('expired')")
        assert Axe().run(seen.page).violations_count == 0
        keep(seen.page, "overview-phone-expired")

"""The status page as its HTML: what it says, what it never says, how much of it there is."""

from __future__ import annotations

import html
import re
from urllib.parse import quote

import pytest

from storage import history, registry
from storage.history import ICRow
from tests.daemon.small import MARKET, Home
from tests.web.site import FRESH, HOSTILE, LAST, MARKUP, STALE, Site, serving, sessions

MARKET_PAGE = f"/markets/{MARKET}"
FACTOR_PAGE = f"{MARKET_PAGE}/factors/{quote(HOSTILE)}"


def text_of(page: str) -> str:
    """Return what a page says, without its markup."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_overview_says_what_matters(site: Site) -> None:
    """Session, freshness, validity, alerts with their section of the runbook, state of the book."""
    said = text_of(site.client.get("/").text)
    for fact in (
        LAST.isoformat(), "fresh", "Valid until", "the source has not answered", "of the live",
        "docs/operations.md, “feed”", "docs/operations.md, “decayed”",
        "no session has been published",
    ):  # fmt: skip
        assert fact.lower() in said.lower(), fact


def test_alerts_link_to_the_runbook_where_it_is_kept(home: Home) -> None:
    """`web.runbook_url` and the section an alert's key has."""
    environ = {"ALPHAD_WEB__RUNBOOK_URL": "https://wiki.example/runbook"}
    with serving(home.config, environ=environ) as site:
        page = site.client.get("/").text
    assert 'href="https://wiki.example/runbook#decayed"' in page


def test_stale_market_is_called_so(home: Home) -> None:
    """Sessions behind and expired signals stand first."""
    with serving(home.config, STALE) as site:
        said = text_of(site.client.get("/").text)
    assert re.search(r"expired.* behind.*no longer to be traded on", said)


def test_market_page_shows_all_its_parts(site: Site) -> None:
    """Book, events, searches as funnels, coverage, what was set aside, restatements, ledger."""
    said = text_of(site.client.get(MARKET_PAGE).text)
    for fact in (
        "m001_1", "heard on validation 12", "Accepted: m001_1", "It has not ended yet",
        "a move needs an event", "correction", "publish 0 succeeded", "Resolved lately",
        "page 1 of 2",
    ):  # fmt: skip
        assert fact in said, fact


def test_factor_page_tells_the_story(site: Site) -> None:
    """Headline, tests, hypothesis and every change with its reason."""
    said = text_of(site.client.get(f"{MARKET_PAGE}/factors/reversal").text)
    for fact in ("reversal is healthy", "evidence", "what fell comes back", "new → candidate"):
        assert fact in said, fact


def test_nothing_stored_becomes_markup(site: Site) -> None:
    """A model, a provider or an operator may have written it: it is shown, and never runs."""
    for path in ("/", MARKET_PAGE, FACTOR_PAGE):
        answer = site.client.get(path)
        assert answer.status_code == 200, path
        assert MARKUP not in answer.text
        assert "<b>&'" not in answer.text
        assert "alert(" in text_of(answer.text)


def test_script_is_never_inline(site: Site) -> None:
    """Data stand in the page as JSON; the only scripts are files of ours."""
    page = site.client.get(MARKET_PAGE).text
    tags = set(re.findall(r"<script[^>]*>", page))
    assert all("src=" in tag or 'type="application/json"' in tag for tag in tags)
    assert " style=" not in page
    assert " on" not in "".join(re.findall(r"<[^>]*\son\w+=", page))


def test_files_are_kept_by_their_hash(site: Site) -> None:
    """An address with the hash of its content is kept for a year; plotly.js is packed."""
    page = site.client.get("/").text
    for path in re.findall(r'(/static/[^"]+)"', page):
        answer = site.client.get(html.unescape(path))
        assert (answer.status_code, answer.headers["cache-control"][-9:]) == (200, "immutable")
        assert answer.headers["content-encoding"] == "gzip"
        known = {"If-None-Match": answer.headers["etag"]}
        assert site.client.get(path, headers=known).status_code == 304
    other = site.client.get("/static/page.css?v=old")
    assert other.headers["cache-control"] == "no-cache"
    plain = site.client.get("/static/page.css", headers={"Accept-Encoding": "identity"})
    assert plain.content == other.content


def test_page_that_has_not_changed_costs_no_body(site: Site) -> None:
    """What a page shows is its tag; the time of asking is none of it."""
    for path in ("/", MARKET_PAGE, FACTOR_PAGE):
        tag = site.client.get(path).headers["etag"]
        assert site.client.get(path, headers={"If-None-Match": tag}).status_code == 304


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/markets/jp", "There is no market 'jp'"),
        (f"{MARKET_PAGE}/factors/nobody", "Us has no factor 'nobody'"),
        ("/nowhere", "There is nothing at /nowhere"),
        ("/?page=2", "parameter 'page'"),
    ],
)
def test_page_that_is_not_there_says_what_there_is(site: Site, path: str, said: str) -> None:
    """It is a page with links, and no trace of the program."""
    answer = site.client.get(path)
    assert answer.status_code in (400, 404)
    assert said in html.unescape(answer.text)
    assert 'href="/markets/us"' in answer.text


def test_pages_turn(site: Site) -> None:
    """Each page holds other factors; one too far is the last, and nonsense is the first."""
    seen = []
    for page in (1, 2):
        text = site.client.get(f"{MARKET_PAGE}?book={page}").text
        seen.append(set(re.findall(r'<h3 id="factor-\d+"><a href="([^"]+)"', text)))
    assert len(seen[0]) == 12
    assert seen[1]
    assert not seen[0] & seen[1]
    assert "page 2 of 2" in text_of(site.client.get(f"{MARKET_PAGE}?past=99").text)
    assert "page 1 of 2" in text_of(site.client.get(f"{MARKET_PAGE}?past=-1").text)


def test_page_does_not_grow_with_the_book(own: Home) -> None:
    """With 200 factors more, and years of them, it shows a page of them."""
    with serving(own.config) as site:
        before = site.client.get(MARKET_PAGE)
        days = sessions(700)
        with site.context.database.transaction() as conn:
            for number in range(200):
                name = f"grown_{number:03d}"
                registry.add(conn, MARKET, name, "$close", origin="mined", session=LAST, now=FRESH)
                for state in ("shadow", "live"):
                    registry.transition(
                        conn, MARKET, name, state, session=LAST, rule="grown", now=FRESH
                    )
                if number < 20:
                    rows = [ICRow(MARKET, name, d, d, 0.01, 0.01, 40) for d in days]
                    history.append_ics(conn, rows)
        after = site.client.get(MARKET_PAGE)
        assert after.status_code == 200
        assert after.text.count('class="plot') == before.text.count('class="plot')
        assert len(after.content) < 2 * len(before.content)


def test_page_of_a_market_without_anything(site: Site) -> None:
    """Before the first session it says so, part by part."""
    said = text_of(site.client.get("/markets/cn").text)
    assert "No factor is in the book" in said
    assert "no session has been published" in said

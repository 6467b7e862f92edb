"""The read API: what it answers, in which form, and when it refuses."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest

from daemon.operator import set_control
from storage.reader import read_latest
from tests.daemon.small import FIRST, MARKET, SESSIONS, Home
from tests.web.site import FRESH, LAST, STALE, Site, scores_of, serving

LATEST = f"/v1/signals/{MARKET}/latest"


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, str]:
    """Return a refusal, which names its kind, its rule and the way out."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    told: dict[str, str] = answer.json()
    assert told["type"] == f"urn:alphad:{kind}"
    assert told["detail"]
    assert told["rule"]
    assert told["hint"]
    return told


def test_latest_is_what_the_reader_reads(site: Site, home: Home) -> None:
    """The API and the reader of the files give the same scores of the same publication."""
    read = read_latest(home.out / "published", MARKET, now=FRESH)
    answer = site.client.get(LATEST)
    assert answer.status_code == 200
    assert scores_of(answer.text) == read.scores
    assert answer.headers["alphad-publish-id"] == read.publish_id == answer.json()["publish_id"]
    assert answer.headers["alphad-valid-until"] == read.manifest["valid_until"]
    assert answer.headers["alphad-status"] == read.status
    assert answer.headers["alphad-expired"] == "false"


def test_every_form_holds_the_same(site: Site, home: Home) -> None:
    """Parquet and CSV are the published bytes, and JSON says the same."""
    folder = home.published / "sessions" / LAST.isoformat()
    (folder,) = folder.iterdir()
    as_json = scores_of(site.client.get(LATEST, headers={"Accept": "application/json"}).text)
    as_csv = site.client.get(LATEST, headers={"Accept": "text/csv"})
    as_parquet = site.client.get(f"{LATEST}?format=parquet")
    assert as_csv.content == (folder / "signals.csv").read_bytes()
    assert as_parquet.content == (folder / "signals.parquet").read_bytes()
    rows = csv.DictReader(as_csv.text.splitlines())
    assert {row["instrument"]: float(row["score"]) for row in rows} == as_json
    table = pq.read_table(io.BytesIO(as_parquet.content)).to_pylist()
    assert {row["instrument"]: row["score"] for row in table} == as_json


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "application/json"),
        ("text/csv", "text/csv; charset=utf-8"),
        ("application/json;q=0.1, text/*;q=0.9", "text/csv; charset=utf-8"),
        ("application/x-parquet", "application/vnd.apache.parquet"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("text/csv;q=0, */*", "application/json"),
    ],
)
def test_form_is_negotiated(site: Site, accept: str, kind: str) -> None:
    """The nearest range of Accept decides, then its weight."""
    assert site.client.get(LATEST, headers={"Accept": accept}).headers["content-type"] == kind


def test_what_a_client_has_costs_no_body(site: Site) -> None:
    """A tag names publication and form; the same one again is 304."""
    first = site.client.get(LATEST)
    tag = first.headers["etag"]
    again = site.client.get(LATEST, headers={"If-None-Match": f'"other", W/{tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    other = site.client.get(f"{LATEST}?format=csv", headers={"If-None-Match": tag})
    assert other.status_code == 200
    assert first.headers["cache-control"] == "no-cache"
    assert first.headers["vary"] == "Accept"


def test_head_is_get_without_a_body(site: Site) -> None:
    """HEAD tells tag and facts."""
    answer = site.client.head(LATEST)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["etag"] == site.client.get(LATEST).headers["etag"]


def test_manifest_is_the_published_one(site: Site, home: Home) -> None:
    """The manifest is served byte for byte, for the latest and for any session."""
    path = json.loads((home.published / "latest.json").read_text())["path"]
    expected = (home.published / path / "manifest.json").read_bytes()
    assert site.client.get(f"{LATEST}/manifest").content == expected
    assert site.client.get(f"/v1/signals/{MARKET}/{LAST}/manifest").content == expected


def test_range_is_told_a_page_at_a_time(site: Site) -> None:
    """A page names the next one, in the body and as a link; all pages together are the range."""
    url, seen = f"/v1/signals/{MARKET}?from={SESSIONS[FIRST]}&to={LAST}&limit=2", []
    for _ in range(5):
        answer = site.client.get(url)
        seen += [each["session"] for each in answer.json()["sessions"]]
        if answer.json()["next"] is None:
            break
        url = answer.json()["next"]
        assert answer.headers["link"] == f'<{url}>; rel="next"'
    assert seen == [day.isoformat() for day in SESSIONS[FIRST : FIRST + 3]]


def test_range_in_other_forms(site: Site) -> None:
    """CSV has one heading and Parquet one table, of all sessions of the page."""
    url = f"/v1/signals/{MARKET}"
    whole = site.client.get(url).json()["sessions"]
    n = sum(len(each["scores"]) for each in whole)
    as_csv = site.client.get(f"{url}?format=csv").text.splitlines()
    as_parquet = pq.read_table(io.BytesIO(site.client.get(f"{url}?format=parquet").content))
    assert len(as_csv) == n + 1 == as_parquet.num_rows + 1
    assert [line for line in as_csv if line.startswith("session")] == as_csv[:1]
    assert as_csv[0].split(",") == as_parquet.column_names


def test_empty_range_is_empty(site: Site) -> None:
    """A range before everything holds no session, in every form."""
    url = f"/v1/signals/{MARKET}?to=1999-12-31&format="
    assert site.client.get(f"{url}json").json() == {"market": MARKET, "next": None, "sessions": []}
    assert site.client.get(f"{url}csv").text == "session,instrument,score\n"
    empty = pq.read_table(io.BytesIO(site.client.get(f"{url}parquet").content))
    assert (empty.num_rows, empty.column_names) == (0, ["session", "instrument", "score"])


def test_range_that_is_known_costs_no_body(site: Site) -> None:
    """The tag of a range changes with any publication in it, and with its form."""
    url = f"/v1/signals/{MARKET}"
    tag = site.client.get(url).headers["etag"]
    assert site.client.get(url, headers={"If-None-Match": tag}).status_code == 304
    assert site.client.get(f"{url}?limit=1").headers["etag"] != tag
    assert site.client.get(f"{url}?format=csv").headers["etag"] != tag


def test_expired_signals_are_refused_unless_asked_for(home: Home) -> None:
    """As the reader does; the past may always be read by its session."""
    with serving(home.config, STALE) as late:
        told = problem(late.client.get(LATEST), 410, "expired")
        assert "?expired=allow" in told["hint"]
        allowed = late.client.get(f"{LATEST}?expired=allow")
        assert (allowed.status_code, allowed.headers["alphad-expired"]) == (200, "true")
        assert late.client.get(f"/v1/signals/{MARKET}/{LAST}").status_code == 200
        problem(late.client.get(f"{LATEST}/manifest"), 410, "expired")


def test_halted_market_is_refused_with_its_reason(own: Home) -> None:
    """While it could be traded on, nothing of it is served; what has expired is history."""
    with serving(own.config) as site:
        set_control(site.context, MARKET, "halted", reason="its prices are wrong", who="ann")
        told = problem(site.client.get(LATEST), 423, "halted")
        assert "by ann: its prices are wrong" in told["detail"]
        problem(site.client.get(f"{LATEST}?expired=allow"), 423, "halted")
        problem(site.client.get(f"/v1/signals/{MARKET}/{LAST}"), 423, "halted")
        problem(site.client.get(f"/v1/signals/{MARKET}"), 423, "halted")
        assert site.client.get("/v1/markets").json()["markets"][1]["control"] == "halted"
        site.clock.set(STALE)
        problem(site.client.get(LATEST), 423, "halted")
        assert site.client.get(f"/v1/signals/{MARKET}/{LAST}").status_code == 200
        set_control(site.context, MARKET, "running", reason="they are right again", who="ann")
        assert site.client.get(f"{LATEST}?expired=allow").status_code == 200


def test_damaged_files_are_never_served(own: Home) -> None:
    """A byte that changed on disk is noticed before it is sent, and not told as if it were ours."""
    (folder,) = (own.published / "sessions" / LAST.isoformat()).iterdir()
    table = folder / "signals.csv"
    table.write_bytes(table.read_bytes().replace(b"SIM0000,-", b"SIM0000,", 1) + b" ")
    with serving(own.config) as site:
        problem(site.client.get(f"{LATEST}?format=csv"), 500, "trouble")
        problem(site.client.get(LATEST), 500, "trouble")
        assert site.client.get(f"{LATEST}?format=parquet").status_code == 200
        assert str(own.path) not in site.client.get(LATEST).text


@pytest.mark.parametrize("name", ["manifest.json", "_SUCCESS"])
def test_incomplete_publication_is_never_served(own: Home, name: str) -> None:
    """Without its manifest or its mark a folder is no publication; the page says so too."""
    (folder,) = (own.published / "sessions" / LAST.isoformat()).iterdir()
    (folder / name).unlink()
    with serving(own.config) as site:
        problem(site.client.get(LATEST), 500, "trouble")
        problem(site.client.get(f"/v1/signals/{MARKET}?from={LAST}"), 500, "trouble")
        assert "damaged" in site.client.get("/").text


def test_what_is_not_there_is_told(site: Site) -> None:
    """An unknown market names those there are; an unpublished one and a free day say so."""
    told = problem(site.client.get("/v1/signals/jp/latest"), 404, "unknown-market")
    assert "cn, us" in told["rule"]
    problem(site.client.get("/v1/signals/cn/latest"), 404, "nothing-published")
    problem(site.client.get(f"/v1/signals/{MARKET}/2023-12-25"), 404, "nothing-published")
    problem(site.client.get("/v1/nothing"), 404, "not-found")


def test_markets_are_listed(site: Site) -> None:
    """One line a market: what it may do and what was published last."""
    cn, us = site.client.get("/v1/markets").json()["markets"]
    assert cn == {
        "market": "cn", "control": "running", "session": None, "publish_id": None, "status": None,
    }  # fmt: skip
    assert (us["market"], us["session"]) == (MARKET, LAST.isoformat())


def test_openapi_lists_exactly_the_routes(site: Site) -> None:
    """The description names each path of the API with its methods, and no other."""
    from daemon.web.control_api import ControlApi
    from daemon.web.signals_api import SignalsApi

    routes = [*SignalsApi(site.context).routes(), *ControlApi(site.context).routes()]
    served = {route.path: (route.methods or set()) - {"HEAD"} for route in routes}
    told = site.client.get("/v1/openapi.json").json()
    described = {
        path: {method.upper() for method in methods if method != "parameters"}
        for path, methods in told["paths"].items()
    }
    assert described == served
    assert told["openapi"].startswith("3.1")


def test_documentation_names_every_path_and_problem(site: Site) -> None:
    """docs/api.md has each path, and each kind of refusal the code knows."""
    root = Path(__file__).resolve().parents[2]
    text = (root / "docs" / "api.md").read_text(encoding="utf-8")
    for path in site.client.get("/v1/openapi.json").json()["paths"]:
        assert path in text, path
    for kind in ("expired", "halted", "nothing-published", "unknown-market", "unauthorised"):
        assert f"`{kind}`" in text

"""The three requests that change something, and who may not make them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from daemon.settings import load_settings, settings_toml
from signals.errors import ConfigError
from storage import controls
from tests.daemon.small import MARKET, Home
from tests.web.site import TOKEN, Site, serving

ENVIRON = {"ALPHAD_WEB__TOKEN": TOKEN}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def armed(home: Home) -> Iterator[Site]:
    """Serve the site with a token in its environment; nothing may be changed by it."""
    with serving(home.config, environ=ENVIRON) as site:
        yield site
        assert state_of(site) == "running"


def state_of(site: Site) -> str:
    with site.context.database.read() as conn:
        return controls.state_of(conn, MARKET).value


def post(site: Site, action: str, headers: dict[str, str] | None = None, **how: Any) -> Any:
    """Ask for an action with the token, or with other headers."""
    how = how or {"json": {"reason": "wrong prices"}}
    url = f"/v1/markets/{MARKET}/{action}"
    return site.client.post(url, headers=BEARER if headers is None else headers, **how)


def test_pause_resume_and_halt(own: Home) -> None:
    """Each says what holds now, by whom and why; the page and the database say the same."""
    with serving(own.config, environ=ENVIRON) as site:
        assert post(site, "pause").json()["state"] == "paused"
        assert state_of(site) == "paused"
        assert post(site, "resume").json()["state"] == "running"
        done = post(site, "halt")
        assert (done.status_code, done.json()["who"]) == (200, "web")
        assert state_of(site) == "halted"
        page = site.client.get("/").text
        assert "Halted" in page
        assert "wrong prices" in page
        assert not (own.published / "latest.json").exists()


def test_halted_market_is_not_paused(own: Home) -> None:
    """What the operator's rules refuse is a conflict with its way out."""
    with serving(own.config, environ=ENVIRON) as site:
        post(site, "halt")
        refused = post(site, "pause")
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:alphad:not-now")
        assert state_of(site) == "halted"


def test_without_a_token_in_the_settings_nothing_can_be_changed(site: Site) -> None:
    """The refusal tells how to enable it."""
    refused = post(site, "pause")
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:alphad:read-only")
    assert "ALPHAD_WEB__TOKEN" in refused.json()["hint"]
    assert state_of(site) == "running"


@pytest.mark.parametrize(
    "header",
    ["", TOKEN, "Bearer", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}",
     "Bearer \xe9\xe9", "Bearer " + "x" * 4000],
)  # fmt: skip
def test_wrong_token_changes_nothing(armed: Site, header: str) -> None:
    """A token that is nearly right is as wrong as none; a market that is not there is not told."""
    headers = {b"Authorization": header.encode("latin-1")} if header else {}
    for market in (MARKET, "nowhere"):
        refused = armed.client.post(
            f"/v1/markets/{market}/halt", headers=headers, json={"reason": "mine"}
        )
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert TOKEN not in refused.text
    assert state_of(armed) == "running"


@pytest.mark.parametrize(
    ("status", "how"),
    [
        (415, {"content": b'{"reason": "x"}'}),
        (415, {"data": {"reason": "a form of a stranger's page"}}),
        (400, {"json": {}}),
        (400, {"json": {"reason": ""}}),
        (400, {"json": {"reason": "   "}}),
        (400, {"json": {"reason": 7}}),
        (400, {"json": {"reason": "x" * 501}}),
        (400, {"json": {"reason": "two\nlines"}}),
        (400, {"json": {"reason": "x", "state": "running"}}),
        (400, {"json": ["reason"]}),
        (400, {"content": b"{", "type": "application/json"}),
        (400, {"content": b"\xff\xfe", "type": "application/json"}),
        (400, {"content": b"[" * 9000, "type": "application/json"}),
        (413, {"json": {"reason": "x" * 20_000}}),
    ],
)
def test_reason_is_asked_for(armed: Site, status: int, how: dict[str, Any]) -> None:
    """A body is one reason in JSON; nothing else changes anything."""
    kind = {"Content-Type": str(how.pop("type"))} if "type" in how else {}
    refused = post(armed, "pause", {**BEARER, **kind}, **how)
    assert refused.status_code == status, refused.text
    assert state_of(armed) == "running"


def test_only_posts_change_anything(armed: Site) -> None:
    """A link in a mail or an image in a page does nothing, token or not."""
    for method in ("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"):
        refused = armed.client.request(method, f"/v1/markets/{MARKET}/halt", headers=BEARER)
        assert refused.status_code == 405
    assert state_of(armed) == "running"


def test_unknown_market_is_told_to_who_may_know(armed: Site) -> None:
    """With the token the refusal names the markets there are."""
    refused: httpx.Response = armed.client.post(
        "/v1/markets/nowhere/halt", headers=BEARER, json={"reason": "x"}
    )
    assert (refused.status_code, refused.json()["rule"][-6:]) == (404, "cn, us")


def test_token_comes_from_the_environment_alone(tmp_path: Any) -> None:
    """In a file it is refused, in no dump does it stand, and a refusal does not repeat it."""
    settings = load_settings(None, ENVIRON)
    assert settings.web.token == SecretStr(TOKEN)
    assert TOKEN not in settings_toml(settings) + repr(settings)
    file = tmp_path / "alphad.toml"
    file.write_text(f'[web]\ntoken = "{TOKEN}"\n')
    with pytest.raises(ConfigError, match=r"web\.token stands in") as caught:
        load_settings(file, {})
    assert "ALPHAD_WEB__TOKEN" in caught.value.hint
    with pytest.raises(ConfigError, match="16 characters") as caught:
        load_settings(None, {"ALPHAD_WEB__TOKEN": "tooshort"})
    assert "tooshort" not in str(caught.value)

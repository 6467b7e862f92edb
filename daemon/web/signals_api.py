"""`GET /v1/signals/…`: what is published, for those who do not read the files themselves.

It decides as `storage/reader.py` does: what is halted, expired or damaged is refused with the
reason. `docs/api.md` describes it.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.parquet as pq
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from daemon.context import Context, Market
from daemon.web.answers import Pieces, in_threads, tagged
from daemon.web.asked import (
    FORMATS,
    flag_of,
    format_of,
    market_of,
    number_of,
    only_these,
    refuse,
    session_of,
)
from daemon.web.problems import Refused
from daemon.web.published import Published, Shelf
from storage import controls, glance
from storage.publishing import head, published_on
from storage.tables import ControlState, MarketControl

#: Sessions of one answer, and the most it can be asked for.
PAGE, LONGEST_PAGE = 20, 60
#: Views at work at once, and what they may take of one processor from whoever is publishing.
THREADS, SHARE = 1, 0.2
#: An answer has to be asked for anew each time; what has not changed costs no body.
FRESH = "no-cache"


class SignalsApi:
    """The routes under `/v1/signals` and `/v1/markets`, on one context."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.shelf = Shelf(context.publisher)

    def routes(self) -> list[Route]:
        """Return the routes; those of a fixed name before those of any session."""
        threaded, base = in_threads(THREADS, SHARE), "/v1/signals/{market}"
        return [
            Route("/v1/markets", threaded(self.markets)),
            Route(base, threaded(self.range)),
            Route(f"{base}/latest", threaded(self.latest)),
            Route(f"{base}/latest/manifest", threaded(self.latest_manifest)),
            Route(f"{base}/{{session}}", threaded(self.session)),
            Route(f"{base}/{{session}}/manifest", threaded(self.session_manifest)),
        ]

    def markets(self, request: Request) -> Response:
        """List the markets, what each may do and what was published last."""
        only_these(request, ())
        rows = []
        for name in sorted(self.context.markets):
            with self.context.database.read() as conn:
                row, state = head(conn, name), controls.state_of(conn, name)
            rows.append(
                {
                    "market": name,
                    "control": state.value,
                    "session": row.session.isoformat() if row else None,
                    "publish_id": row.publish_id if row else None,
                    "status": row.status_text if row else None,
                }
            )
        body = json.dumps({"markets": rows}).encode()
        return Pieces(body, media_type=FORMATS["json"], headers={"Cache-Control": FRESH})

    def latest(self, request: Request) -> Response:
        """Answer with the signals to trade on, or say why there are none."""
        only_these(request, ("format", "expired"))
        word = format_of(request)
        return self._signals(request, self._newest(request), word)

    def latest_manifest(self, request: Request) -> Response:
        """Answer with the manifest of the same."""
        only_these(request, ("format", "expired"))
        format_of(request, fixed="json")
        return self._manifest(request, self._newest(request))

    def session(self, request: Request) -> Response:
        """Answer with what was published last for one session."""
        only_these(request, ("format",))
        word = format_of(request)
        return self._signals(request, self._of_session(request), word)

    def session_manifest(self, request: Request) -> Response:
        """Answer with the manifest of the same."""
        only_these(request, ("format",))
        format_of(request, fixed="json")
        return self._manifest(request, self._of_session(request))

    def range(self, request: Request) -> Response:
        """Answer with the sessions of a range, a page at a time."""
        only_these(request, ("from", "to", "limit", "format"))
        market, word = market_of(request, self.context), format_of(request)
        first = session_of(request.query_params.get("from", "1900-01-01"), "from")
        last = session_of(request.query_params.get("to", "9999-12-31"), "to")
        limit = number_of(request, "limit", PAGE, LONGEST_PAGE)
        if last < first:
            raise refuse(
                400,
                "bad-range",
                f"the range begins on {first} and ends on {last}",
                "a range is from an earlier session to a later one, both included",
                "exchange from and to",
            )
        with self.context.database.read() as conn:
            rows = glance.published_between(conn, market.name, first, last, limit + 1)
            held = controls.restraint(conn, market.name)
        shown, more = rows[:limit], len(rows) > limit
        found = [self.shelf.open(row) for row in shown]
        for published in found:
            self._refuse_halted(market, held, published)
        following = None
        if more:
            rest = {"from": shown[-1].session + timedelta(days=1), "to": last, "limit": limit}
            query = urlencode({**rest, "format": word})
            following = f"/v1/signals/{market.name}?{query}"
        headers = {"Cache-Control": FRESH, "Vary": "Accept"}
        if following is not None:
            headers["Link"] = f'<{following}>; rel="next"'
        names = [*(published.tag for published in found), str(following), word]
        tag = hashlib.sha256(" ".join(names).encode()).hexdigest()[:32]
        body = b"" if request.method == "HEAD" else self._together(market, found, following, word)
        return tagged(request, Pieces(body, media_type=FORMATS[word], headers=headers), tag)

    def _newest(self, request: Request) -> Published:
        """Return what is to be traded on; Refused as the reader refuses it."""
        market, allowed = market_of(request, self.context), flag_of(request, "expired")
        with self.context.database.read() as conn:
            row, held = head(conn, market.name), controls.restraint(conn, market.name)
        if held is not None and held.state == ControlState.HALTED:
            raise halted(market.name, held)
        if row is None:
            raise refuse(
                404,
                "nothing-published",
                f"nothing has been published for {market.name} yet",
                "the first session is published once its bars are final",
                "look at the status page, or alphad status",
            )
        published = self.shelf.open(row)
        if self._is_expired(published) and not allowed:
            raise refuse(
                410,
                "expired",
                f"the signals of {market.name} {row.session} expired at "
                f"{published.manifest['valid_until']}",
                "expired signals are not traded on",
                "wait for the next publication; to look at them all the same, ask ?expired=allow",
            )
        return published

    def _of_session(self, request: Request) -> Published:
        market = market_of(request, self.context)
        session = session_of(request.path_params["session"])
        with self.context.database.read() as conn:
            row = published_on(conn, market.name, session)
            held = controls.restraint(conn, market.name)
        if row is None:
            raise refuse(
                404,
                "nothing-published",
                f"nothing was published for {market.name} {session}",
                "only sessions that were due while the daemon lived are published",
                f"GET /v1/signals/{market.name}?from=…&to=… lists what there is",
            )
        published = self.shelf.open(row)
        self._refuse_halted(market, held, published)
        return published

    def _refuse_halted(
        self, market: Market, held: MarketControl | None, published: Published
    ) -> None:
        """Refuse what could still be traded on in a halted market; the past may be read."""
        is_halted = held is not None and held.state == ControlState.HALTED
        if held is not None and is_halted and not self._is_expired(published):
            raise halted(market.name, held)

    def _is_expired(self, published: Published) -> bool:
        return self.context.clock.now() >= published.valid_until

    def _signals(self, request: Request, published: Published, word: str) -> Response:
        body = self._bytes(published, word)
        headers = {**facts(published, expired=self._is_expired(published)), "Vary": "Accept"}
        response = Pieces(body, media_type=FORMATS[word], headers=headers)
        return tagged(request, response, f"{published.tag}-{word}")

    def _manifest(self, request: Request, published: Published) -> Response:
        body = self.shelf.manifest(published)
        headers = facts(published, expired=self._is_expired(published))
        response = Pieces(body, media_type=FORMATS["json"], headers=headers)
        return tagged(request, response, f"{published.tag}-manifest")

    def _bytes(self, published: Published, word: str) -> bytes:
        if word == "json":
            return self.shelf.scores(published)
        return self.shelf.file(published, f"signals.{word}")

    def _together(
        self, market: Market, found: Sequence[Published], following: str | None, word: str
    ) -> bytes:
        """Return several sessions as one body."""
        parts = [self._bytes(published, word) for published in found]
        if word == "json":
            whole: dict[str, Any] = {"market": market.name, "next": following}
            head_ = json.dumps(whole)[:-1].encode()
            return b"".join((head_, b', "sessions": [', b", ".join(parts), b"]}"))
        if word == "csv":
            lines = [part.split(b"\n", 1) for part in parts]
            title = lines[0][0] if lines else b"session,instrument,score"
            return b"".join((title, b"\n", *(rest for _, rest in lines)))
        tables = [pq.read_table(io.BytesIO(part)) for part in parts]
        if not tables:
            schema = {"session": pa.timestamp("ns"), "instrument": pa.string()}
            tables = [pa.schema({**schema, "score": pa.float64()}).empty_table()]
        buffer = io.BytesIO()
        pq.write_table(pa.concat_tables(tables), buffer, compression="zstd")
        return buffer.getvalue()


def facts(published: Published, *, expired: bool) -> dict[str, str]:
    """Return what a client must know before it trades, as headers."""
    row = published.row
    return {
        "Cache-Control": FRESH,
        "Alphad-Market": row.market,
        "Alphad-Session": row.session.isoformat(),
        "Alphad-Publish-Id": row.publish_id,
        "Alphad-Status": str(row.status_text),
        "Alphad-Valid-Until": published.manifest["valid_until"],
        "Alphad-Expired": "true" if expired else "false",
        "Alphad-Manifest-Sha256": str(row.manifest_sha256),
    }


def halted(market: str, control: MarketControl) -> Refused:
    """Return the refusal of a halted market's signals."""
    return refuse(
        423,
        "halted",
        f"{market} is halted since {control.at:%Y-%m-%d %H:%M} UTC by {control.who}: "
        f"{control.reason}",
        "nothing of a halted market is to be traded on",
        f"wait until it is resumed (alphad resume --market {market})",
    )

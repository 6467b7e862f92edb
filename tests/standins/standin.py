"""A stand-in for every provider of one market, fed from a book, at a time that can be moved."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import NamedTuple, Protocol, Self, cast

from tests.standins import csindex, eastmoney, tiingo, wikipedia, yahoo
from tests.standins.book import MarketBook
from tests.standins.certificates import make_certificates
from tests.standins.faults import FAILURES, TRANSPORT, Fault, Faults
from tests.standins.proxy import Call, Proxy, Reply


class Provider(Protocol):
    """What each provider's module has."""

    HOSTS: tuple[str, ...]

    def asset_of(self, call: Call) -> str: ...

    def failure(self, name: str) -> Reply: ...

    def answer(
        self, book: MarketBook, now: datetime, call: Call, faults: Mapping[str, Fault]
    ) -> Reply: ...


_PROVIDERS = cast("tuple[Provider, ...]", (yahoo, eastmoney, csindex, wikipedia, tiingo))
HOSTS = tuple(host for provider in _PROVIDERS for host in provider.HOSTS)


class Entry(NamedTuple):
    """One line of the log.

    Parameters
    ----------
    host, path : str
        The path is "" for a host that was refused.
    symbol : str
        Canonical; "" where the call is about no asset.
    outcome : str
        "ok", "refused", the status of what is not found, or the faults that struck, by commas.
    """

    host: str
    path: str
    symbol: str
    outcome: str


class StandIn:
    """Loopback servers that answer unmodified clients from a book.

    Parameters
    ----------
    book : MarketBook
        May be replaced while running: `standin.book = book.with_event(…)`.
    clock_now : datetime or None
        Aware; what is told is what the provider would tell then, and `now` moves it. None follows
        the machine's clock.
    port : int
        0 takes any that is free.

    Examples
    --------
    >>> with StandIn(MarketBook.synthetic(), datetime(2023, 6, 1, 22, tzinfo=UTC)) as standin:
    ...     standin.faults["429"] = "AAA"
    ...     subprocess.run(command, env=os.environ | standin.environment)
    """

    def __init__(self, book: MarketBook, clock_now: datetime | None, *, port: int = 0) -> None:
        self.book = book
        self.faults = Faults()
        self.log: list[Entry] = []
        self._now = clock_now
        self._port = port
        self._folder: TemporaryDirectory[str] | None = None
        self._proxy: Proxy | None = None
        self._environment: dict[str, str] = {}

    @property
    def now(self) -> datetime:
        """The time at which questions are answered."""
        return datetime.now(UTC) if self._now is None else self._now

    @now.setter
    def now(self, moment: datetime) -> None:
        if moment.tzinfo is None:
            raise ValueError(f"{moment} has no time zone")
        self._now = moment

    @property
    def environment(self) -> Mapping[str, str]:
        """What a client's environment needs to reach the stand-in and to trust it."""
        return dict(self._environment)

    def __enter__(self) -> Self:
        self._folder = TemporaryDirectory(prefix="stand-in-")
        certificates = make_certificates(Path(self._folder.name), HOSTS)
        self._proxy = Proxy(certificates, self._serves, self._answer, self._refuse, self._port)
        authority, url = str(certificates.authority), self._proxy.url
        self._environment = {
            **dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"), url),
            **dict.fromkeys(("NO_PROXY", "no_proxy"), ""),
            **dict.fromkeys(("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"), authority),
        }
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._proxy is not None:
            self._proxy.close()
        if self._folder is not None:
            self._folder.cleanup()

    def _serves(self, host: str) -> bool:
        return _provider(host) is not None

    def _refuse(self, host: str) -> None:
        self.log.append(Entry(host, "", "", "refused"))

    def _answer(self, call: Call) -> Reply:
        provider = _provider(call.host)
        if provider is None:
            raise ValueError(f"nobody stands in for {call.host}")
        asset = provider.asset_of(call)
        labels = {call.host, asset, asset.replace(".", "-")} - {""}
        struck = self.faults.striking(*labels)
        reply = self._reply(provider, call, struck)
        outcome = ",".join(struck) or ("ok" if reply.status < 400 else str(reply.status))
        self.log.append(Entry(call.host, call.path, asset, outcome))
        return reply

    def _reply(self, provider: Provider, call: Call, struck: Mapping[str, Fault]) -> Reply:
        for name in FAILURES:
            if name in struck:
                return provider.failure(name)
        if eastmoney.is_list(call):
            reply = eastmoney.answer_list(self.book, self.now, call, struck, self.faults)
        else:
            reply = provider.answer(self.book, self.now, call, struck)
        for name in TRANSPORT:
            if name in struck:
                return Reply(reply.status, reply.body, reply.content_type, reply.headers, name)
        return reply


def _provider(host: str) -> Provider | None:
    for provider in _PROVIDERS:
        for served in provider.HOSTS:
            if host == served or (served[0] == "*" and host.partition(".")[2] == served[2:]):
                return provider
    return None

"""A forward proxy on the loopback that ends TLS itself and answers in the place of the internet.

Clients reach it through HTTPS_PROXY and trust its authority through REQUESTS_CA_BUNDLE; nothing of
theirs is changed. A host that nobody stands in for is refused with 502.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from threading import Event, Lock, Thread
from typing import IO, Any, Protocol, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from tests.standins.certificates import Certificates

_MEBIBYTE = 1 << 20
#: Blanks that follow a huge answer.
HUGE_BYTES = 200 * _MEBIBYTE
#: What the gzip bomb unpacks to.
BOMB_BYTES = 4096 * _MEBIBYTE
#: Seconds between two bytes of a drip.
DRIP_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Call:
    """One request as a server sees it.

    Parameters
    ----------
    host, path : str
        The path unquoted and without the query.
    query : mapping of str to str
    headers : mapping of str to str
        Names in lower case.
    """

    host: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent back; `transport` is one of `tests.standins.faults.TRANSPORT`, or ""."""

    status: int
    body: bytes
    content_type: str = "application/json; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()
    transport: str = ""


class Proxy:
    """A proxy on 127.0.0.1 and a port of the system's choice, one thread a connection.

    Parameters
    ----------
    certificates : Certificates
    serves : callable
        Says whether a host is stood in for.
    answer : callable
        Answers a call; runs on the connection's thread.
    refuse : callable
        Is told each host that was refused.
    port : int
        0 takes any that is free.
    """

    def __init__(
        self,
        certificates: Certificates,
        serves: Callable[[str], bool],
        answer: Callable[[Call], Reply],
        refuse: Callable[[str], None],
        port: int = 0,
    ) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(certificates.server, certificates.key)
        self._tls.set_alpn_protocols(["http/1.1"])
        self._serves, self._answer, self._refuse = serves, answer, refuse
        self._listener = socket.create_server(("127.0.0.1", port), backlog=128)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._stopping = Event()
        self._lock = Lock()
        self._open: dict[socket.socket, Thread] = {}
        self._accepting = Thread(target=self._accept, name="stand-in", daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """Stop listening and end every connection, hanging ones included."""
        self._stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        with self._lock:
            left = dict(self._open)
        for connection in left:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in left.values():
            thread.join(5.0)

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = Thread(target=self._converse, args=(connection,), daemon=True)
            with self._lock:
                self._open[connection] = thread
            thread.start()

    def _converse(self, connection: socket.socket) -> None:
        """Serve a connection until either side ends it."""
        try:
            with suppress(OSError, http.client.HTTPException), connection:
                self._open_tunnel(connection)
        finally:
            with self._lock:
                self._open.pop(connection, None)

    def _open_tunnel(self, connection: socket.socket) -> None:
        with connection.makefile("rb", buffering=0) as plain:
            method, target, _ = _read_head(plain)
            if method != "CONNECT":  # plain HTTP: the target is a whole URL
                self._serve_plain(connection, target)
                return
            host = target.rpartition(":")[0].lower()
            if not self._serves(host):
                self._refuse(host)
                connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
                return
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        secure = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._lock:  # wrapping moves the descriptor to the new socket
            self._open[secure] = self._open.pop(connection)
        try:
            secure.do_handshake()
            with secure.makefile("rb") as stream:
                while self._serve(secure, stream, host):
                    pass
        finally:
            secure.close()
            with self._lock:
                self._open.pop(secure, None)

    def _serve_plain(self, connection: socket.socket, target: str) -> None:
        parts = urlsplit(target)
        host = parts.hostname or ""
        if not self._serves(host):
            self._refuse(host)
            connection.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        call = Call(host, unquote(parts.path), dict(parse_qsl(parts.query)), {})
        self._send(connection, self._answer(call))

    def _serve(self, secure: ssl.SSLSocket, stream: IO[bytes], host: str) -> bool:
        """Answer one request; return whether another may follow."""
        _, target, headers = _read_head(stream)
        length = int(headers.get("content-length", "0"))
        stream.read(length)
        parts = urlsplit(target)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        reply = self._answer(Call(host, unquote(parts.path), query, headers))
        if not self._send(secure, reply):
            return False
        return headers.get("connection", "").lower() != "close"

    def _send(self, connection: socket.socket, reply: Reply) -> bool:
        """Send a reply as its transport says; return whether the connection is still of use."""
        if reply.transport == "hang":
            self._stopping.wait()
            return False
        if reply.transport == "reset":
            # lingering for 0 seconds is how a socket is closed with a reset
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            return False
        head, chunks = _frame(reply)
        if reply.transport == "drip":
            return self._drip(connection, head, reply.body)
        first = next(chunks, b"")
        connection.sendall(head + first)  # in one: two small sends would wait for each other
        for chunk in chunks:
            connection.sendall(chunk)
        return True

    def _drip(self, connection: socket.socket, head: bytes, body: bytes) -> bool:
        connection.sendall(head)
        for number in range(len(body)):
            connection.sendall(body[number : number + 1])
            if self._stopping.wait(DRIP_SECONDS):
                return False
        return True


class _Readable(Protocol):
    def readline(self, size: int = -1, /) -> bytes: ...


def _read_head(stream: _Readable) -> tuple[str, str, dict[str, str]]:
    """Return method, target and headers; ConnectionError at the end of the stream."""
    line = stream.readline(65536).split()
    if len(line) != 3:
        raise ConnectionError("no request")
    headers = http.client.parse_headers(cast("Any", stream))
    named = {name.lower(): value for name, value in headers.items()}
    return line[0].decode("ascii"), line[1].decode("ascii"), named


def _frame(reply: Reply) -> tuple[bytes, Iterator[bytes]]:
    """Return the head and the chunks of the body."""
    headers = [("Content-Type", reply.content_type), *reply.headers]
    length, chunks = len(reply.body), iter((reply.body,))
    if reply.transport == "truncated_json":
        length, chunks = length // 2, iter((reply.body[: length // 2],))
    elif reply.transport == "huge":
        length, chunks = length + HUGE_BYTES, _padded(reply.body)
    elif reply.transport == "gzip_bomb":
        bomb = _bomb(reply.body)
        length, chunks = len(bomb), iter((bomb,))
        headers.append(("Content-Encoding", "gzip"))
    lines = [
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}",
        *(f"{name}: {value}" for name, value in headers),
        f"Content-Length: {length}",
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1"), chunks


def _padded(body: bytes) -> Iterator[bytes]:
    yield body
    blanks = b" " * _MEBIBYTE
    for _ in range(HUGE_BYTES // _MEBIBYTE):
        yield blanks


def _bomb(body: bytes) -> bytes:
    """Return gzip of `body` and blanks; its checksum is 0, which nobody lives to see."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    start = packer.compress(body) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(b" " * (16 * _MEBIBYTE)) + packer.flush(zlib.Z_FULL_FLUSH)
    header = b"\x1f\x8b\x08" + bytes(6) + b"\xff"
    blocks = block * (BOMB_BYTES // (16 * _MEBIBYTE))
    return header + start + blocks + packer.flush(zlib.Z_FINISH) + bytes(8)

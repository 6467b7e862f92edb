"""The child process that makes a provider's calls: `python -m daemon.feeds.worker MODULE`.

It imports a client module once, then answers one query after the other until its input ends.
Frames on its input and output are a header in JSON and a payload, each with its length before.
A client library may hang, crash, print or eat memory: here that costs one answer.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import struct
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date
from importlib import import_module
from io import BytesIO
from pathlib import Path
from time import sleep
from typing import IO, Any

from daemon.feeds.protocol import Query

#: What a frame begins with: the lengths of its header and its payload in bytes.
LENGTHS = struct.Struct(">II")
#: Longest error that is told, in characters.
ERROR_LENGTH = 500
#: Seconds between two looks at the parent process.
_ORPHAN_SECONDS = 1.0


def pack(header: Mapping[str, Any], payload: bytes = b"") -> bytes:
    """Return a frame."""
    text = json.dumps(header).encode()
    return LENGTHS.pack(len(text), len(payload)) + text + payload


def pack_query(query: Query) -> bytes:
    """Return the frame of a query."""
    days = {name: getattr(query, name) for name in ("first", "last")}
    told = {name: None if day is None else day.isoformat() for name, day in days.items()}
    return pack(asdict(query) | told)


def one_line(text: str) -> str:
    """Return an error's text as it is kept: one line, at most `ERROR_LENGTH` characters."""
    return " ".join(text.split())[:ERROR_LENGTH]


def main(arguments: Sequence[str] | None = None) -> int:
    """Answer queries until the input ends: the child's whole life."""
    parser = argparse.ArgumentParser(prog="python -m daemon.feeds.worker")
    parser.add_argument("module", help="dotted name of the client")
    parser.add_argument("--parent", type=int, required=True, help="process to end with")
    parser.add_argument("--folder", type=Path, required=True, help="folder the client may use")
    parser.add_argument("--seconds", type=float, required=True, help="for one network request")
    parser.add_argument("--memory-mb", type=int, required=True, help="beyond what imports take")
    parser.add_argument("--max-bytes", type=int, required=True, help="longest payload")
    given = parser.parse_args(arguments)
    _end_with(given.parent)
    asked, told = _own_channels()
    client = import_module(given.module)
    if hasattr(client, "start"):
        client.start(given.folder, given.seconds)
    for name in ("pandas", "pyarrow"):  # needed anyway: not to be counted against the limit
        import_module(name)
    _limit_memory(given.memory_mb)
    told.write(pack({"ready": given.module}))
    told.flush()
    while (query := _read_query(asked)) is not None:
        told.write(_answer(client, query, given.max_bytes))
        told.flush()
    return 0


def _answer(client: Any, query: Query, max_bytes: int) -> bytes:
    """Return the frame that answers a query."""
    try:
        frame = client.call(query)
        payload = _serialise(frame) if len(frame) else b""
    except MemoryError:
        raise  # this process is no longer to be trusted
    except Exception as error:  # noqa: BLE001 - a library raises what it likes: that is its answer
        text = one_line(f"{type(error).__name__}: {error}")
        return pack({"outcome": client.classify(error), "error": text})
    if not payload:
        return pack({"outcome": "empty", "error": ""})
    if len(payload) > max_bytes:
        text = f"the answer has {len(payload)} bytes, more than {max_bytes}"
        return pack({"outcome": "failed", "error": text})
    return pack({"outcome": "ok", "error": ""}, payload)


def _serialise(frame: Any) -> bytes:
    """Return a frame's columns as an Arrow stream; the same values give the same bytes."""
    import pyarrow as pa

    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    buffer = BytesIO()
    with pa.ipc.new_stream(buffer, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return buffer.getvalue()


def _read_query(stream: IO[bytes]) -> Query | None:
    """Return the next query, None when the input has ended."""
    lengths = stream.read(LENGTHS.size)
    if len(lengths) < LENGTHS.size:
        return None
    n_header, n_payload = LENGTHS.unpack(lengths)
    text = stream.read(n_header + n_payload)
    if len(text) < n_header + n_payload:
        return None
    told = json.loads(text[:n_header])
    days = {
        name: None if told[name] is None else date.fromisoformat(told[name])
        for name in ("first", "last")
    }
    options = tuple((key, value) for key, value in told["options"])
    return Query(told["kind"], told["symbol"], days["first"], days["last"], options)


def _own_channels() -> tuple[IO[bytes], IO[bytes]]:
    """Return input and output for frames alone; what a library prints goes to standard error."""
    asked, told = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return asked, told


def _limit_memory(megabytes: int) -> None:
    """Let the address space grow by so much and no further."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    limit = pages * resource.getpagesize() + megabytes * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _end_with(parent: int) -> None:
    """End this process soon after its parent, however that ended: an orphan has no deadline."""

    def watch() -> None:
        while os.getppid() == parent:
            sleep(_ORPHAN_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())

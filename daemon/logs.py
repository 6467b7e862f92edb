"""Logs: one line an event on stderr, for people on a terminal, as JSON elsewhere; no secret in it.

What other libraries log, warn of, or raise past everybody comes out of the same pipeline.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from secrets import token_hex
from types import TracebackType
from typing import Any, TextIO

import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.stdlib import ProcessorFormatter
from structlog.types import EventDict, Processor

from daemon.redaction import REDACTOR
from daemon.service_settings import LogSettings
from daemon.settings import Settings

log = structlog.get_logger()

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class _StandardError(logging.StreamHandler[TextIO]):
    """Writes to what standard error is now, as a test may have replaced it."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _value: TextIO) -> None:
        """Take no other."""


def configure_logging(
    settings: Settings | None = None, *, quiet: bool = False, run: str | None = None
) -> str:
    """Send logs to stderr and return the id of the run that every line carries.

    Parameters
    ----------
    settings : Settings, optional
        Form and level, and every secret that is not to be said.
    quiet : bool
        Leaves only errors, for commands with a progress bar.
    run : str, optional
        The id, where this process carries on another one's run; a new one when not given.
    """
    run = run or token_hex(6)
    wanted = settings.log if settings is not None else LogSettings()
    if settings is not None:
        REDACTOR.learn(settings)
    level = logging.ERROR if quiet else _LEVELS[wanted.level]
    as_text = wanted.format == "console" or (wanted.format == "auto" and sys.stderr.isatty())
    shown: Processor = (
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if as_text
        else structlog.processors.JSONRenderer(sort_keys=True, ensure_ascii=False)
    )

    def add_run(_logger: Any, _method: str, event: EventDict) -> EventDict:
        event["run"] = run
        return event

    said: list[Processor] = [
        merge_contextvars,
        add_run,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    end: list[Processor] = [structlog.processors.format_exc_info, redact, shown]
    structlog.configure(
        processors=[*said, *end],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    _take_over_others(said, end, max(level, logging.WARNING))
    return run


def _take_over_others(said: list[Processor], end: list[Processor], level: int) -> None:
    """Let what is logged by other libraries come out the same way, and only that way."""
    handler = _StandardError()
    handler.setFormatter(
        ProcessorFormatter(
            foreign_pre_chain=[
                *said,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
            ],
            processors=[ProcessorFormatter.remove_processors_meta, *end],
        )
    )
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _StandardError)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    # that a pass takes longer than the pause between two is no news
    logging.getLogger("apscheduler").setLevel(logging.ERROR)


def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Hide secrets in every value of an event."""
    return {key: REDACTOR.value(value) for key, value in event.items()}


def log_uncaught() -> None:
    """Let an error that nobody catches end in the log, and not beside it: it may hold a secret."""

    def told(kind: type[BaseException], error: BaseException, at: TracebackType | None) -> None:
        log.critical("an error nobody foresaw", exc_info=(kind, error, at))

    def told_of_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            told(args.exc_type, args.exc_value, args.exc_traceback)

    sys.excepthook = told
    threading.excepthook = told_of_thread
    logging.captureWarnings(capture=True)


@contextmanager
def speaking_of(
    market: str, session: date | None = None, stage: str | None = None
) -> Iterator[None]:
    """Let every line of this thread say of which market, session and stage it speaks."""
    given = {
        "market": market,
        "session": None if session is None else session.isoformat(),
        "stage": stage,
    }
    with bound_contextvars(**{name: value for name, value in given.items() if value is not None}):
        yield

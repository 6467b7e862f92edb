"""What somebody has to look after though nothing has failed yet."""

from __future__ import annotations

from datetime import timedelta

from daemon.alerts import raise_alert, resolve_alert
from daemon.context import Context, Market
from storage.publishing import Pointed

#: Days of calendar left below which somebody has to say what the exchange has announced.
HORIZON_DAYS = 45
#: How long after its finality a session may lack its bars.
LATE_AFTER = timedelta(hours=3)
#: The key of the alert about a newest publication that is damaged.
DAMAGED = "damaged-publication"


def watch_publication(context: Context, market: str, pointed: Pointed) -> None:
    """Open or close the alert about the publication that the pointer should name.

    While a market is halted nobody looks, and the alert stays as it is.
    """
    if pointed.damaged:
        message = (
            f"the newest publication is damaged: {pointed.damaged}. latest.json stays as it is, "
            "and readers refuse what is damaged; an earlier session is never put in its place. "
            f"Restore the folder from a copy, or: alphad halt --market {market} --reason TEXT"
        )
        raise_alert(context, market, DAMAGED, "error", message)
    elif pointed.record is not None:
        resolve_alert(context, market, DAMAGED)


def watch_calendar(context: Context, market: Market) -> None:
    """Open or close the alerts about a market's calendar and its overlay."""
    calendar, name = market.calendar, market.name
    trouble = calendar.trouble
    if trouble is None:
        resolve_alert(context, name, "calendar-overlay")
    else:
        message = f"{trouble}\n  The last good overlay stays in force."
        raise_alert(context, name, "calendar-overlay", "error", message)
    left = calendar.horizon_days(context.clock.now())
    if left >= HORIZON_DAYS:
        resolve_alert(context, name, "calendar-horizon")
        return
    message = (
        f"the calendar of {calendar.name} ends on {calendar.horizon}; after it every weekday "
        "counts as a session, marked provisional. Update exchange-calendars, or put the holidays "
        f"into `removed` and the end of the announced year into `confirmed` of [{calendar.name}] "
        "in the calendar overlay (setting calendar_overlay)"
    )
    raise_alert(context, name, "calendar-horizon", "warning", message)

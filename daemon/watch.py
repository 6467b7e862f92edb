"""What somebody has to look after though nothing has failed yet."""

from __future__ import annotations

from datetime import timedelta

from daemon.alerts import raise_alert, resolve_alert
from daemon.context import Context, Market

#: Days of calendar left below which somebody has to say what the exchange has announced.
HORIZON_DAYS = 45
#: How long after its finality a session may lack its bars.
LATE_AFTER = timedelta(hours=3)


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

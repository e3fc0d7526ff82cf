"""Lists when Celery's own schedules are due in 2026, as a beat with one entry sends them: tests/golden/periodic/year.txt.

    periodic_schedules.py FILE

Each line is the name of a schedule, its first occurrence in seconds since the epoch, and the gaps after it in seconds,
as GAP or GAPxCOUNT.
"""

import sys
from datetime import datetime, timedelta, timezone
from itertools import groupby

from celery import Celery
from celery.schedules import crontab, schedule

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
END = datetime(2027, 1, 1, tzinfo=timezone.utc)
# Beat checks its first entry at least this often.
LOOP_MAX = timedelta(minutes=5)

BERLIN, NEW_YORK, SYDNEY = "Europe/Berlin", "America/New_York", "Australia/Sydney"
# Name, timezone, and schedules of the task.
SCHEDULES = [
    ("every_10_seconds", "UTC", [schedule(10)]),
    ("every_30_seconds", BERLIN, [schedule(30)]),
    ("every_minute", BERLIN, [crontab()]),
    ("every_5_minutes", NEW_YORK, [crontab("*/5")]),
    ("hourly", BERLIN, [crontab("7")]),
    ("office_hours", BERLIN, [crontab("*/15", "9-17", "mon-fri")]),
    ("nightly", BERLIN, [crontab("30", "2")]),
    ("nightly_new_york", NEW_YORK, [crontab("0", "3")]),
    ("weekly", BERLIN, [crontab("0", "6", "mon")]),
    ("monthly", BERLIN, [crontab("0", "4", day_of_month="1")]),
    ("twice_a_month", "UTC", [crontab("0", "0", day_of_month="1,15")]),
    ("end_of_month", BERLIN, [crontab("0", "23", day_of_month="28-31")]),
    ("every_7_hours", "UTC", [schedule(7 * 3600)]),
    ("every_7th_hour", BERLIN, [crontab("0", "*/7")]),
    ("every_90_minutes", BERLIN, [schedule(90 * 60)]),
    ("every_4th_hour", NEW_YORK, [crontab("0", "*/4")]),
    ("every_6th_hour", BERLIN, [crontab("0", "*/6")]),
    ("weekdays", BERLIN, [crontab("0", "8,12,18", "mon-fri")]),
    ("quarterly", BERLIN, [crontab("0", "5", day_of_month="1", month_of_year="*/3")]),
    ("first_week", BERLIN, [crontab("*/10", day_of_month="1-7")]),
    ("office_hours_sydney", SYDNEY, [crontab("*/30", "9-17", "mon-fri")]),
    ("drifting", BERLIN, [schedule(300)]),
    ("two_entries", BERLIN, [crontab("*/5"), crontab("17", "1")]),
]
# Seconds that each round of a beat loses.
DRIFT = {"drifting": 0.05}


def occurrences(entry, zone, drift):
    """Seconds since the epoch at which beat sends one entry."""
    app = Celery("periodic", set_as_current=False)
    app.conf.timezone = zone
    entry.app = app
    now = START
    entry.nowfun = lambda: now.astimezone(app.timezone)
    last = entry.nowfun()
    while now < END:
        due, wait = entry.is_due(last)
        if due:
            now += timedelta(seconds=drift)
            yield now.timestamp()
            last = entry.nowfun()
            _, wait = entry.is_due(last)
        # Never before the time that Celery computed.
        now += min(max(timedelta(seconds=wait), timedelta(microseconds=1)), LOOP_MAX)


def number(gap):
    return f"{gap:.2f}".rstrip("0").rstrip(".")


def line(name, zone, entries):
    times = sorted({round(at, 2) for entry in entries for at in occurrences(entry, zone, DRIFT.get(name, 0))})
    gaps = [round(later - earlier, 2) for earlier, later in zip(times, times[1:])]
    runs = [(gap, len(list(run))) for gap, run in groupby(gaps)]
    words = [number(gap) if count == 1 else f"{number(gap)}x{count}" for gap, count in runs]
    return " ".join([name, f"{times[0]:.2f}", *words])


with open(sys.argv[1], "w") as file:
    file.writelines(line(*one) + "\n" for one in SCHEDULES)

"""The shop's year: how busy each hour is, and the map from even time to real time that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from customer360.sample.columns import Floats, Ints

DAY = 86_400
HOUR = 3_600
_HOURS = (2, 1, 1, 1, 1, 2, 4, 6, 7, 8, 9, 9, 10, 10, 9, 9, 10, 12, 14, 16, 17, 15, 10, 5)
_WEEKDAYS = (1.0, 0.96, 0.95, 0.98, 1.02, 1.12, 1.2)
_MONTHS = (0.9, 0.88, 0.95, 0.97, 1.0, 0.97, 0.92, 0.93, 0.98, 1.03, 1.25, 1.35)


@dataclass(frozen=True)
class Calendar:
    """Processes run evenly in *even days* from 0 to ``days``; ``real`` bends them to the shop's busy hours."""

    start: int
    end: int
    edges: Ints
    even: Floats

    @property
    def days(self) -> float:
        """Length in even days, which is the length in real days."""
        return float(self.even[-1])

    def real(self, even_days: Floats) -> Ints:
        """Seconds since 1970 at these even days."""
        return np.interp(even_days, self.even, self.edges).astype(np.int64)

    def month(self, seconds: Ints) -> Ints:
        """Month of the year, 0 to 11, in UTC."""
        months = seconds.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64)
        return np.asarray(months % 12, dtype=np.int64)


def make_calendar(start: datetime, end: datetime) -> Calendar:
    """The calendar of [start, end)."""
    first, last = int(start.timestamp()), int(end.timestamp())
    edges = np.unique(np.append(np.arange(first, last, HOUR), last)).astype(np.int64)
    at = edges[:-1]
    weight = (
        np.asarray(_HOURS, float)[(at // HOUR) % 24]
        * np.asarray(_WEEKDAYS)[(at // DAY + 3) % 7]  # 1970-01-01 was a Thursday, weekday 3
        * np.asarray(_MONTHS)[at.astype("datetime64[s]").astype("datetime64[M]").astype(np.int64) % 12]
        * np.diff(edges)
    )
    even = np.concatenate([[0.0], np.cumsum(weight)])
    return Calendar(first, last, edges, even * ((last - first) / DAY) / even[-1])


def stamp(seconds: int) -> str:
    """The instant as exports put it into their files' names."""
    return as_datetime(seconds).strftime("%Y%m%dT%H%M%S")


def as_datetime(seconds: int) -> datetime:
    """The instant as an aware datetime."""
    return datetime.fromtimestamp(seconds, UTC)

"""Every way to write a moment that leaves no doubt is read, and a refusal says what is wrong with this text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from customer360.contract import times
from customer360.contract.feeds import ORDERS
from customer360.contract.typed_values import Typed, conform

TEN = datetime(2026, 11, 20, 10, tzinfo=UTC)
NEXT = datetime(2026, 11, 21, tzinfo=UTC)


def read(*texts: str) -> Typed:
    return conform(ORDERS.by_name["ordered_at"], pa.array(texts, pa.string()))


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-20T10:00:00Z", TEN),
        ("2026-11-20T10:00Z", TEN),
        ("2026-11-20T10Z", TEN),
        ("20261120T100000Z", TEN),
        ("20261120T1000Z", TEN),
        ("2026-11-20T100000Z", TEN),
        ("2026-11-20t10:00:00z", TEN),
        ("2026-11-20 10:00:00 UTC", TEN),
        ("2026-11-20 10:00:00GMT", TEN),
        ("2026/11/20 10:00:00 +0000", TEN),
        ("2026-11-20T10:00:00,000Z", TEN),
        ("2026-11-20T10:00:00.000+0000", TEN),
        ("2026-11-20 05:00:00 -0500", TEN),
        ("2026-11-20 05:00 -05", TEN),
        ("2026-11-20T05:00:00\u221205:00", TEN),
        ("2026-11-20T15:30:00+05:30", TEN),
        ("2026-11-20T11:00:00+01:00[Europe/Berlin]", TEN),
        ("  2026-11-20T10:00:00Z\u00a0", TEN),
        ("2026-11-20T10:00:00.123456789012Z", TEN.replace(microsecond=123456)),
        ("2026-11-20T23:59:60Z", NEXT),
        ("2026-11-20T24:00:00Z", NEXT),
        ("2026-W47-5T10:00:00Z", TEN),
        ("2026-324T10:00:00Z", TEN),
        ("Fri, 20 Nov 2026 10:00:00 GMT", TEN),
        ("20 Nov 2026 10:00:00 +0000", TEN),
        ("Fri Nov 20 10:00:00 UTC 2026", TEN),
        ("Fri Nov 20 10:00:00 +0000 2026", TEN),
        ("Fri Nov 20 2026 11:00:00 GMT+0100 (Central European Standard Time)", TEN),
    ],
)
def test_a_time_that_leaves_no_doubt_is_read(text: str, moment: datetime) -> None:
    typed = read(text, "2026-11-20T10:00:00Z")
    assert typed.problems == {}
    assert typed.values.to_pylist() == [moment, TEN]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("2026-11-20T10:00:00", "has no time zone offset: 2026-11-20T10:00:00"),
        ("20 Nov 2026 10:00", "has no time zone offset"),
        ("2026-11-20", "is a date without a time of day and an offset: 2026-11-20"),
        ("20261120", "is a date without a time of day and an offset: 20261120"),
        ("1795082400", "is a bare number, of which nothing says what it counts"),
        ("1795082400000", "is a bare number, of which nothing says what it counts"),
        ("46346.4", "is a bare number, of which nothing says what it counts"),
        ("2026-02-30T10:00:00Z", "names a day that does not exist: 2026-02-30T10:00:00Z"),
        ("2026-366T10:00:00Z", "names a day that does not exist"),
        ("2026-11-20T25:00:00Z", "names a time of day that does not exist"),
        ("2026-11-20T24:00:01Z", "names a time of day that does not exist"),
        ("2026-11-20T10:00:00+01:60", "names an offset that does not exist"),
        ("2026-11-20T10:00:00+24:00", "names an offset that does not exist"),
        ("2026-11-20 10:00:00 EST", "names a time zone (EST) where an offset such as +01:00 was expected"),
        ("20/11/2026 10:00 +0000", "is not an ISO 8601 time with an offset"),
        ("yesterday", "is not an ISO 8601 time with an offset: yesterday"),
    ],
)
def test_a_refusal_says_what_is_wrong_with_this_text(text: str, reason: str) -> None:
    typed = read(text, "2026-11-20T10:00:00Z")
    assert typed.problems[0].startswith(reason)
    assert typed.values.to_pylist() == [None, TEN]


offsets = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1995, 1, 2), datetime(2100, 1, 1), timezones=offsets)


@given(moments, st.sampled_from("T t "), st.sampled_from(["", " "]), st.booleans(), st.booleans())
def test_every_form_of_a_moment_means_that_moment(
    moment: datetime, between: str, gap: str, has_colon: bool, is_basic: bool
) -> None:
    offset = moment.strftime("%z")[:5]
    offset = f"{offset[:3]}:{offset[3:]}" if has_colon else offset
    form = f"%Y%m%d{between}%H%M%S.%f" if is_basic else f"%Y-%m-%d{between}%H:%M:%S.%f"
    text = moment.strftime(form) + gap + offset
    typed = read(text)
    assert typed.problems == {}
    assert typed.values[0].as_py() == moment
    parsed = times.parse(text)
    assert parsed is not None
    assert datetime.fromisoformat(parsed) == moment, "the slow way and the fast one agree"


@given(st.text(st.characters(codec="utf-8"), max_size=40))
def test_any_other_text_has_a_reason(text: str) -> None:
    typed = read(text)
    told = typed.problems.get(0)
    assert (typed.values[0].as_py() is None) == (told is not None or not text.strip() or "\x00" in text)
    assert told is None or told.isprintable()

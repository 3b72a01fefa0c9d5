"""Markers that name nobody (tests/cases), from the landing zone to the published customers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from customer360 import warehouse
from customer360.cli import identity
from customer360.front_door import load
from customer360.identity import operators
from customer360.publication.build import build
from customer360.publication.verify import verify
from customer360.settings import Settings
from tests.pipeline.front_door import drop
from tests.pipeline.shop import rows

CASES = Path(__file__).resolve().parents[1] / "cases"
MARKERS = ("null-markers-as-customer-id", "placeholder-emails")
pytestmark = pytest.mark.builds


def _order(order_id: str, **shown: str) -> dict[str, Any]:
    return {
        "order_id": order_id, "updated_at": "2026-11-20T10:00:00Z", "ordered_at": "2026-11-20T10:00:00Z",
        "status": "delivered", "currency": "USD", "total_amount": "50.00", **shown,
    }  # fmt: skip


def _session(session_id: str, **shown: str) -> dict[str, Any]:
    return {
        "session_id": session_id, "updated_at": "2026-11-20T10:00:00Z", "started_at": "2026-11-20T09:50:00Z",
        "ended_at": "2026-11-20T10:00:00Z", "page_views": 3, **shown,
    }  # fmt: skip


def _run(settings: Settings, feed: str, name: str, content: bytes) -> None:
    drop(settings, feed, name, content)
    summary = load.ingest(settings)
    assert not summary.refused
    assert not summary.failed
    build(settings, "test")
    assert verify(settings, full=True).holds


def _run_records(settings: Settings, feed: str, name: str, *records: dict[str, Any]) -> None:
    _run(settings, feed, name, "".join(json.dumps(record) + "\n" for record in records).encode())


def _customers(settings: Settings, like: str) -> list[tuple[str, int | None]]:
    return rows(
        settings, f"select order_id, customer_key from marts.fct_orders where order_id like '{like}' order by 1"
    )


@pytest.fixture(scope="module")
def published(module_settings: Settings) -> Settings:
    """A shop into which each case was landed and published by a run of its own, and found whole after each."""
    for case in MARKERS:
        for path in sorted((CASES / case).iterdir()):
            _run(module_settings, "orders", path.name, path.read_bytes())
    return module_settings


@pytest.mark.parametrize(("case", "like"), list(zip(MARKERS, ("J%", "M%"), strict=True)))
def test_no_two_people_who_show_a_marker_are_one_customer(published: Settings, case: str, like: str) -> None:
    records = [json.loads(line) for path in (CASES / case).iterdir() for line in path.read_text().splitlines()]
    found = _customers(published, like)
    assert [order_id for order_id, _ in found] == sorted(record["order_id"] for record in records)
    customers = [customer for _, customer in found]
    assert None not in customers
    assert len(set(customers)) == len(customers)


def test_a_marker_that_no_list_knows_is_shown_with_what_it_was_seen_with(
    published: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    strangers = [
        _order(f"S{n}", customer_id="KDNR-UNBEK", email=f"s{n}@inbox.example", phone=f"+1212555200{n}")
        for n in range(4)
    ]
    _run_records(published, "orders", "first.jsonl", *strangers[:2])
    assert len({customer for _, customer in _customers(published, "S%")}) == 1
    _run_records(published, "orders", "second.jsonl", *strangers[2:])
    assert len({customer for _, customer in _customers(published, "S%")}) == 4
    with warehouse.connect("transformer", published) as connection:
        found = operators.blocked(connection)
    (marker,) = found["identifiers"]
    assert (marker["identifier_type"], marker["identifier"], marker["blocked_by"]) == (
        "customer_id", "KDNR-UNBEK", "shared",
    )  # fmt: skip
    assert [marker[column] for column in ("records", "emails", "phones", "customers", "first_record")] == [
        4, 4, 4, 4, "order:S0",
    ]  # fmt: skip
    for name, value in (("HOME", published.home), ("DATABASE", published.database), ("LANDING", published.landing)):
        monkeypatch.setenv(f"C360_{name}", str(value))
    monkeypatch.setenv("COLUMNS", "200")
    shown = CliRunner().invoke(identity.group, ["blocked"])
    assert shown.exit_code == 0, shown.output
    assert "KDNR-UNBEK" in shown.output
    assert "4 e-mail" in " ".join(shown.output.split())
    of_one = CliRunner().invoke(identity.group, ["show", "order:S0"])
    assert "KDNR-UNBEK (shared; seen with 4 e-mail addresses, 4 phones in 4 records)" in " ".join(of_one.output.split())


@pytest.mark.slow
def test_a_session_is_published_for_its_order_s_customer(published: Settings) -> None:
    _run_records(
        published,
        "web_sessions",
        "a.jsonl",
        _session("V1", anonymous_id="d1", email="bob@inbox.example", order_id="O1"),
    )
    _run_records(published, "orders", "b.jsonl", _order("O1", email="ann@inbox.example"))
    found = rows(
        published,
        "select s.customer_key = o.customer_key from marts.fct_sessions as s inner join marts.fct_orders as o "
        "using (order_key) where s.session_id = 'V1'",
    )
    assert found == [(True,)]


def test_the_numbers_of_three_systems_are_one_published_customer(published: Settings) -> None:
    _run_records(published, "orders", "t.jsonl", _order("T1", customer_id="17", email="tess@inbox.example"),
                 _order("T2", customer_id="401", email="tess@inbox.example", source="desk"),
                 _order("T3", customer_id="u-9", email="tess@inbox.example", source="tracker"),
                 _order("T4", customer_id="17", email="zoe@inbox.example", source="tracker"))  # fmt: skip
    one, two, three, stranger = (customer for _, customer in _customers(published, "T%"))
    assert one == two == three != stranger

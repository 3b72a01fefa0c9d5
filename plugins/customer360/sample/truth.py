"""What is true about a sample: who is behind each record, who left and when, and what the tables have to add up to."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from customer360.sample.columns import NEVER, Bools, Ints, integers, joined, numbered, pick, times
from customer360.sample.journey import DROPOUT_EFFECTS, HIGHEST_DROPOUT, INTEREST_FADES_DAYS, Journey
from customer360.sample.orders import CANCELLED, STATUSES, Versions
from customer360.sample.people import DEVICE_SLOTS, EMAIL_SLOTS, PHONE_SLOTS, Identity, Names, People, device_names
from customer360.sample.sessions import Sessions

Model = dict[str, Any]


class TruthWriter:
    """Streams ``truth/people``, ``truth/records`` and ``truth/identifiers`` chunk by chunk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stack = ExitStack()
        self._files: dict[str, pq.ParquetWriter] = {}
        directory.mkdir(parents=True)

    def write(self, name: str, table: pa.Table) -> None:
        """Append to ``truth/<name>.parquet``."""
        if name not in self._files:
            writer = pq.ParquetWriter(self._directory / f"{name}.parquet", table.schema)
            self._files[name] = self._stack.enter_context(writer)
        self._files[name].write_table(table)

    def close(self) -> None:
        """Finish the files."""
        self._stack.close()


def people_table(people: People, journey: Journey, names: Names, calendar_end: int) -> pa.Table:
    """One row per person: when they came, whether and when they left, and the temper that made them."""
    n = people.count

    def count(flags: Bools) -> pa.Array:
        return integers(np.bincount(journey.person[flags], minlength=n))

    first = np.ones(len(journey.person), dtype=bool)
    first[1:] = journey.person[1:] != journey.person[:-1]
    first_order = np.full(n, NEVER)
    first_order[journey.person[first]] = journey.at[first]
    return pa.table(
        {
            "person_id": names.person,
            "was_there_before": pa.array(people.is_established),
            "first_order_at": times(first_order),
            "has_left": pa.array(journey.left_at < calendar_end),
            "left_at": times(journey.left_at),
            "orders_per_day": pa.array(people.order_rate),
            "dropout_probability": pa.array(people.dropout),
            "order_count": count(np.ones(len(journey.person), dtype=bool)),
            "cancelled_order_count": count(journey.is_cancelled),
            "late_order_count": count(journey.is_late),
            "complaint_count": count(journey.complains),
            "unanswered_complaint_count": count(journey.is_ignored),
            "household_id": numbered("H", people.first_number + people.household_head, 8),
        }
    )


def record_rows(feed: str, ids: pa.Array, person_ids: pa.Array, versions: Versions) -> pa.Table:
    """The true person behind each id of the feed that has at least one record."""
    seen = pa.array(versions.entity[versions.is_last()])
    feeds = pa.array([feed] * len(seen), pa.string())
    return pa.table({"feed": feeds, "record_id": ids.take(seen), "person_id": person_ids.take(seen)})


def session_people(sessions: Sessions, names: Names) -> pa.Array:
    """The person of each session; a stranger is called after the device, which is nobody else's."""
    strangers = joined("V-", device_names(sessions.device_number))
    return pc.coalesce(pick(names.person, sessions.person), strangers)


def identifier_rows(people: People, names: Names, seen: list[tuple[Identity, Ints, Ints]]) -> pa.Table:
    """Which identifiers showed which people, each pair once: normalised e-mails, E.164 phones.

    ``seen`` holds (identity, person, rows of it that have a record). Junk and the tills' addresses are left out:
    they are nobody's.
    """
    n = people.count
    kinds = (
        ("customer_id", "account", names.accounts, 2 * n),
        ("email", "email", names.normal_emails, EMAIL_SLOTS * n),
        ("phone", "phone", names.normal_phones, PHONE_SLOTS * n),
        ("anonymous_id", "device", names.devices, DEVICE_SLOTS * n),
    )
    tables = []
    for kind, attribute, texts, limit in kinds:
        pairs = np.unique(
            np.concatenate(
                [_pairs(getattr(identity, attribute)[rows], person[rows], limit, n) for identity, person, rows in seen]
            )
        )
        tables.append(
            pa.table(
                {
                    "identifier_type": pa.array([kind] * len(pairs), pa.string()),
                    "identifier": texts.take(pa.array(pairs // n)),
                    "person_id": names.person.take(pa.array(pairs % n)),
                }
            )
        )
    return pa.concat_tables(tables)


def _pairs(codes: Ints, person: Ints, limit: int, people: int) -> Ints:
    told = (codes >= 0) & (codes < limit) & (person >= 0)
    return np.asarray(codes[told] * people + person[told], dtype=np.int64)


class Totals:
    """Sums over the latest version of every id, exact. Money is counted in hundredths by currency."""

    def __init__(self, currencies: tuple[str, ...]) -> None:
        self._currencies = currencies
        self.ids: Counter[str] = Counter()
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.money: dict[str, Counter[str]] = defaultdict(Counter)

    def add_orders(self, versions: Versions) -> None:
        """Count a chunk's orders in their latest version."""
        last = versions.is_last()
        value = {name: numbers[last] for name, numbers in versions.measures.items()}
        self.ids["orders"] += int(last.sum())
        for code, status in enumerate(STATUSES):
            self.counts["orders_by_status"][status] += int((value["status"] == code).sum())
        cancelled = value["status"] == CANCELLED
        for code, currency in enumerate(self._currencies):
            here = value["currency"] == code
            if not here.any():
                continue
            sums = self.money[currency]
            for name in ("total_amount", "discount_amount", "shipping_amount", "tax_amount"):
                sums[name] += int(value[name][here].sum())
            sums["gross_amount"] += int(value["total_amount"][here & ~cancelled].sum())
            sums["cancelled_amount"] += int(value["total_amount"][here & cancelled].sum())
            sums["refunded_amount"] += int(value["refunded_amount"][here & ~cancelled].sum())
            sums["cancelled_refunded_amount"] += int(value["refunded_amount"][here & cancelled].sum())

    def add_order(self, currency: str, status: str, total_amount: int) -> None:
        """Count one more order, neither cancelled nor refunded."""
        self.ids["orders"] += 1
        self.counts["orders_by_status"][status] += 1
        self.adjust(currency, total_amount=total_amount, gross_amount=total_amount)

    def adjust(self, currency: str, **changes: int) -> None:
        """Add to the currency's sums what a correction changes, in hundredths."""
        for name, change in changes.items():
            self.money[currency][name] += change

    def add_sessions(self, versions: Versions) -> None:
        """Count a chunk's sessions in their latest version."""
        last = versions.is_last()
        self.ids["web_sessions"] += int(last.sum())
        for name in ("page_views", "engaged_seconds", "with_order"):
            self.counts["web_sessions"][name] += int(versions.measures[name][last].sum())

    def add_tickets(self, versions: Versions) -> None:
        """Count a chunk's tickets in their latest version."""
        last = versions.is_last()
        value = {name: numbers[last] for name, numbers in versions.measures.items()}
        self.ids["support_tickets"] += int(last.sum())
        for name in ("is_rated", "is_open", "is_reopened"):
            self.counts["support_tickets"][name] += int(value[name].sum())
        for code, currency in enumerate(self._currencies):
            paid = int(value["compensation_amount"][value["currency"] == code].sum())
            if paid:
                self.money[currency]["compensation_amount"] += paid

    def as_dict(self) -> dict[str, Any]:
        """The totals as JSON values, money as decimal text."""
        return {
            "ids": dict(sorted(self.ids.items())),
            "counts": {name: dict(sorted(values.items())) for name, values in sorted(self.counts.items())},
            "money": {
                currency: {name: f"{Decimal(value).scaleb(-2):.2f}" for name, value in sorted(values.items())}
                for currency, values in sorted(self.money.items())
            },
        }


def model(hard_identity: bool, rates: Any) -> Model:
    """What was put into the sample on purpose, for ``truth/model.json``."""
    return {
        "process": "orders come as a Poisson process per person (rates gamma-distributed); after each order a person "
        "leaves with a probability of their own (beta-distributed) times the factors below",
        "dropout_factors": DROPOUT_EFFECTS,
        "highest_dropout": HIGHEST_DROPOUT,
        "visits_fade_days": INTEREST_FADES_DAYS,
        "hard_identity": hard_identity,
        "identity_rates": rates,
    }


def write_json(path: Path, value: Any) -> None:
    """Write the value as readable JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

"""The CDNOW order log through every stage, without Airflow, and its published totals held against the raw file.

The warehouse of this demonstration is an installation of its own (C360_HOME/cdnow), made anew each time: the
comparison is with the whole of marts.
"""

from __future__ import annotations

import shutil
import time
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from customer360 import warehouse
from customer360.errors import Customer360Error
from customer360.front_door import landing
from customer360.progress import Progress
from customer360.sample import convert_cdnow
from customer360.settings import Settings
from customer360.warehouse import embedded_server

LOG = "CDNOW_master.txt"


class TotalsDifferError(Customer360Error):
    """What was published is not what the raw file says."""


@dataclass(frozen=True)
class Totals:
    """Of an order log: orders, their sum, and how many customers have which count and sum of orders."""

    orders: int
    amount: Decimal
    customers: Counter[tuple[int, Decimal]]

    @property
    def customer_count(self) -> int:
        """How many customers."""
        return self.customers.total()


@dataclass
class Outcome:
    """What was compared, and the best customers as published."""

    home: Path
    raw: Totals
    published: Totals
    best: list[tuple[int, int, Decimal]] = field(default_factory=list)
    seconds: float = 0.0


def run_cdnow(settings: Settings, progress: Progress) -> Outcome:
    """Convert the log, take it through every stage, and compare.

    Raises:
        TotalsDifferError: orders, money or customers differ from the raw file's by as little as a cent.
        SampleError: the package with the log is not installed.
    """
    from customer360 import run

    began = time.monotonic()
    own = settings.with_(home=settings.home / "cdnow", landing="")
    _start_anew(own)
    progress.stage("convert the order log")
    manifest = convert_cdnow(own.home / "sample")
    progress.note(f"{sum(file.rows for file in manifest.files):,} orders in {len(manifest.files)} files")
    progress.stage("start the warehouse")
    warehouse.set_up(own)
    for file in manifest.files:
        landing.put(own, file.feed, manifest.path(file), history=True)
    run.run_everything(own, progress=progress)
    progress.stage("compare with the raw file")
    outcome = Outcome(own.home, raw_totals(), published_totals(own), best=_best(own))
    _require_equal(outcome.raw, outcome.published)
    progress.note(
        f"{outcome.raw.orders:,} orders, {outcome.raw.amount:,} USD, {outcome.raw.customer_count:,} customers"
    )
    outcome.seconds = time.monotonic() - began
    return outcome


def _start_anew(own: Settings) -> None:
    if own.is_embedded and own.home.exists():
        if embedded_server.data_directory(own).exists():
            embedded_server.stop(own, immediate=True)
        shutil.rmtree(own.home)


def raw_totals() -> Totals:
    """The totals of the log as it lies in the package, read apart from the conversion."""
    from importlib.util import find_spec

    spec = find_spec("lifetimes")
    assert spec is not None  # noqa: S101  (the conversion has read the log from there)
    path = next(Path(place) / "datasets" / LOG for place in spec.submodule_search_locations or [])
    per_customer: dict[str, tuple[int, Decimal]] = {}
    for line in path.read_text(encoding="ascii").splitlines()[1:]:
        if line.strip():
            customer, _, _, amount = line.split()
            count, total = per_customer.get(customer, (0, Decimal(0)))
            per_customer[customer] = (count + 1, total + Decimal(amount))
    return _totals(per_customer.values())


def published_totals(settings: Settings) -> Totals:
    """The same of marts.fct_orders, per customer_key."""
    with warehouse.connect("bi_reader", settings) as connection:
        rows = connection.execute(
            "select count(*), sum(total_amount) from marts.fct_orders group by customer_key"
        ).fetchall()
        in_customer_360 = warehouse.scalar(connection, "select count(*) from marts.customer_360")
    totals = _totals(rows)
    if in_customer_360 != totals.customer_count:
        raise TotalsDifferError(
            f"marts.customer_360 has {in_customer_360} customers, marts.fct_orders {totals.customer_count}.",
            "Run `c360 verify`.",
        )
    return totals


def _totals(rows: object) -> Totals:
    counted = Counter((int(count), Decimal(total).normalize()) for count, total in rows)  # type: ignore[attr-defined]
    return Totals(
        orders=sum(count * times for (count, _), times in counted.items()),
        amount=sum((total * times for (_, total), times in counted.items()), Decimal(0)).quantize(Decimal("0.01")),
        customers=counted,
    )


def _require_equal(raw: Totals, published: Totals) -> None:
    for name in ("orders", "amount", "customer_count", "customers"):
        ours, theirs = getattr(published, name), getattr(raw, name)
        if ours != theirs:
            shown = "" if name == "customers" else f": {ours:,} published, {theirs:,} in the raw file"
            raise TotalsDifferError(
                f"The published {name.replace('_', ' ')} are not those of {LOG}{shown}.", "Run `c360 verify`."
            )


def _best(settings: Settings) -> list[tuple[int, int, Decimal]]:
    with warehouse.connect("bi_reader", settings) as connection:
        return connection.execute(
            """
            select customer_key, order_count, net_amount from marts.customer_360
            order by net_amount desc, customer_key limit 5
            """
        ).fetchall()

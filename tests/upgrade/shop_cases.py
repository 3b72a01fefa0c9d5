"""Records that stand beside the sample's in the dumped warehouse: one for each case that an upgrade must carry over.

Times count in days from the last day of the dump. Nobody of these exists.
"""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

Record = dict[str, Any]

PADDED = ("PAD1", "PAD1   ")
"""Ids that differ by blanks after them; the same order otherwise."""


class Cases:
    """The records, by the files that bring them."""

    def __init__(self, last_day: date) -> None:
        self._last = datetime.combine(last_day, time(12), UTC)

    def order(self, order_id: str, ago: float, *, version: float = 0, total: str = "50.00", **fields: Any) -> Record:
        """An order placed ``ago`` days before the last day, in its version of ``version`` days later."""
        placed = self._last - timedelta(days=ago)
        return {
            "order_id": order_id,
            "updated_at": (placed + timedelta(days=version)).isoformat(),
            "ordered_at": placed.isoformat(),
            "status": "paid",
            "currency": "USD",
            "total_amount": total,
            **fields,
        }

    def regulars(self, days: int) -> list[Record]:
        """Customers whom a churn model can tell apart better than the days since their last order do.

        Regular ones order again within the horizon however long their pause is, others never do: so small a shop of
        the sample's kind gives no version that may be promoted.
        """
        chance = random.Random(4)
        records = []
        for customer in range(40):
            ago = days - chance.uniform(0, 60)
            number = 0
            while ago > 4:
                records.append(self._plain(f"regular-{customer}-{number}", ago, chance, f"regular-{customer}"))
                ago -= chance.uniform(30, 85)
                number += 1
        for customer in range(90):
            ago = chance.uniform(4, days)
            records.append(self._plain(f"once-{customer}", ago, chance, f"once-{customer}"))
        return records

    def _plain(self, order_id: str, ago: float, chance: random.Random, customer_id: str) -> Record:
        return self.order(order_id, round(ago, 1), total=f"{chance.randrange(10, 90)}.50", customer_id=customer_id)

    def people(self) -> list[Record]:
        """Those who will be merged, joined, split, and the padded ids."""
        return [
            self.order("merge-1", 30, email="merge@shop-a.test", gift_wrap="red"),  # a field that no contract knows
            self.order("merge-2", 29, customer_id="merge"),
            self.order("join-1", 30, customer_id="join-1"),
            self.order("join-2", 28, customer_id="join-2"),
            self.order("undo-1", 30, customer_id="undo-1"),
            self.order("undo-2", 28, customer_id="undo-2"),
            self.order("split-1", 30, customer_id="split", email="split@shop-a.test"),
            self.order("split-2", 20, customer_id="split"),
            self.order("split-3", 10, email="split@shop-a.test"),
            *(
                self.order(order_id, 9, total="10", status="delivered", email="c.pad1@shop-a.test")
                for order_id in PADDED
            ),
        ]

    def held(self) -> list[Record]:
        """A batch that is published and then held: a customer of its own, and a version of somebody else's order."""
        return [
            self.order("held-1", 8, customer_id="held", total="70.00"),
            self.order("join-1", 30, version=2, customer_id="join-1", total="999.00"),
        ]

    def merging(self) -> list[Record]:
        """The order that shows that two published customers are one."""
        return [self.order("merge-3", 3, customer_id="merge", email="merge@shop-a.test")]

    def faulty(self) -> list[Record]:
        """Rows for the quarantine: one to be released, one to be discarded, one that stays; and a good one."""
        return [
            self.order("faulty-released", 6, customer_id="faulty", status="lost"),
            self.order("faulty-discarded", 5, customer_id="faulty", currency="money"),
            self.order("faulty-open", 4, customer_id="faulty", total_amount="-1"),
            self.order("faulty-none", 4, customer_id="faulty"),
        ]

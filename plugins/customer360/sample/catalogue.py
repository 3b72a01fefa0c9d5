"""What the sample shop sells, where its customers live, and what its coupons are called."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from customer360.sample.columns import Ints

CATEGORIES = (
    "kitchen", "garden", "books", "toys", "audio", "outdoor", "beauty", "pet care", "stationery", "lighting", "sports",
    "textiles",
)  # fmt: skip
BRANDS = (
    "Alderway", "Brightmoor", "Cinderfield", "Dunelight", "Eastbarrow", "Fennwick", "Glasshouse", "Harrowgate",
    "Ironwood", "Junipero", "Kestrel & Co", "Larkspur", "Marlowe", "Northlight", "Oakhaven", "Pinebrook", "Quillon",
    "Redstart", "Saltmarsh", "Thistledown",
)  # fmt: skip
BRANDS_PER_CATEGORY = 5
SKUS_PER_BRAND = 8
REFERRAL_PREFIX = "REF-"
"""``REF-<customer_id>``: the code with which a customer recommends the shop; a newcomer types it in."""

SALES_CHANNELS = ("web", "app", "store", "phone", "marketplace")
PAYMENT_METHODS = ("card", "paypal", "invoice", "gift_card", "apple_pay")
COUPONS = ("SPRING10", "SUMMER15", "AUTUMN10", "BLACKWEEK20")
COUPON_PERCENT = (10, 15, 10, 20)

CURRENCY_UNITS = {"USD": 1.0, "EUR": 0.92, "GBP": 0.79, "CAD": 1.36, "CHF": 0.88, "SEK": 10.4, "PLN": 3.95}
"""How many units of a currency the shop asks for what costs one dollar: list prices, not a day's exchange rate."""


@dataclass(frozen=True)
class Country:
    """A country that customers live in. ``tax_rates`` belong to ``regions``, in hundredths of a percent."""

    code: str
    share: float
    regions: tuple[str, ...]
    tax_rates: tuple[int, ...]


COUNTRIES = (
    Country("US", 0.74, ("CA", "NY", "TX", "WA", "OR", "IL", "FL", "MA"), (725, 888, 625, 650, 0, 625, 600, 625)),
    Country("CA", 0.08, ("ON", "QC", "BC"), (1300, 1498, 1200)),
    Country("GB", 0.08, ("England", "Scotland"), (2000, 2000)),
    Country("DE", 0.06, ("Berlin", "Bayern", "Hamburg"), (1900, 1900, 1900)),
    Country("FR", 0.04, ("Île-de-France", "Bretagne"), (2000, 2000)),
)
REGIONS_BEFORE = np.cumsum([0, *(len(c.regions) for c in COUNTRIES)])
"""Where a country's regions begin in the list of all regions."""


@dataclass(frozen=True)
class Catalogue:
    """480 articles. Article ``(category × 5 + brand) × 8 + n``; ``cost`` is -1 where the shop does not know it."""

    sku: pa.Array
    category: pa.Array
    brand: pa.Array
    list_price: Ints
    cost: Ints


def make_catalogue(seed: int) -> Catalogue:
    """The shop's articles: they depend on the seed alone."""
    rng = np.random.default_rng([seed, 7001])
    lines = len(CATEGORIES) * BRANDS_PER_CATEGORY
    article = np.arange(lines * SKUS_PER_BRAND)
    line = article // SKUS_PER_BRAND
    category = line // BRANDS_PER_CATEGORY
    brand = (category * 3 + line % BRANDS_PER_CATEGORY) % len(BRANDS)
    # Whole dollars less one cent or five, around a price level of the category.
    level = np.exp(rng.normal(3.2, 0.45, len(CATEGORIES)))
    dollars = np.maximum(3, np.round(level[category] * np.exp(rng.normal(0, 0.5, len(article)))))
    list_price = (dollars * 100).astype(np.int64) - np.where(rng.random(len(article)) < 0.5, 1, 5)
    cost = np.round(list_price * rng.uniform(0.42, 0.72, len(article))).astype(np.int64)
    cost[rng.random(len(article)) < 0.02] = -1
    names = pa.array([c.replace(" ", "")[:4].upper() for c in CATEGORIES])
    numbers = pa.array(article).cast(pa.string())
    sku = pa.compute.binary_join_element_wise(names.take(pa.array(category)), numbers, "-")
    return Catalogue(
        sku=sku,
        category=pa.array(CATEGORIES).take(pa.array(category)),
        brand=pa.array(BRANDS).take(pa.array(brand)),
        list_price=list_price,
        cost=cost,
    )

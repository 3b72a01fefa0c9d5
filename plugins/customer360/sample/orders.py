"""Orders: what was bought, what it cost, how it arrived, what came back; and the versions that told it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from customer360.sample.calendar import DAY, HOUR, Calendar
from customer360.sample.catalogue import (
    BRANDS_PER_CATEGORY,
    COUNTRIES,
    COUPON_PERCENT,
    COUPONS,
    CURRENCY_UNITS,
    PAYMENT_METHODS,
    REFERRAL_PREFIX,
    SALES_CHANNELS,
    SKUS_PER_BRAND,
    Catalogue,
)
from customer360.sample.columns import (
    NEVER,
    Bools,
    Ints,
    integers,
    joined,
    money,
    nested,
    numbered,
    pick,
    times,
)
from customer360.sample.journey import APP, MARKETPLACE, PHONE, STORE, WEB, Journey
from customer360.sample.people import (
    EMAIL_SLOTS,
    JUNK_EMAILS,
    TILL_EMAILS,
    Identity,
    Names,
    People,
    choose_device,
    identify,
)

STATUSES = ("placed", "paid", "shipped", "delivered", "cancelled", "returned")
PLACED, PAID, SHIPPED, DELIVERED, CANCELLED, RETURNED = range(6)
REFUND_REASONS = ("cancelled", "returned", "item returned", "goodwill", "lost in the post", "price adjustment")

_NO_COUPON, _WELCOME, _REFERRAL, _GIFT, _SEASONAL = range(5)


@dataclass(frozen=True)
class Items:
    """Lines of orders: those of order i stand from ``offsets[i]`` to ``offsets[i + 1]``. Money in hundredths."""

    offsets: Ints
    article: Ints
    quantity: Ints
    unit_price: Ints
    list_price: Ints
    unit_cost: Ints
    discount: Ints
    order: Ints


@dataclass(frozen=True)
class Delivery:
    """How each order went its way; NEVER where a step did not happen. A lost parcel is shipped and not delivered."""

    paid_at: Ints
    shipped_at: Ints
    promised_at: Ints
    delivered_at: Ints
    cancelled_at: Ints
    is_lost: Bools


@dataclass(frozen=True)
class Refunds:
    """The first and the second refund of each order: amount 0 and time NEVER where there is none.

    ``returned_quantity`` counts by line what came back with the first.
    """

    at: tuple[Ints, Ints]
    amount: tuple[Ints, Ints]
    reason: tuple[Ints, Ints]
    is_returned: Bools
    returned_quantity: Ints


@dataclass(frozen=True)
class Orders:
    """Orders of a chunk as they are in the end, one array entry each. Money in hundredths, times in seconds."""

    first_id: int
    journey: Journey
    identity: Identity
    currency: Ints
    items: Items
    coupon_kind: Ints
    seasonal_coupon: Ints
    referrer: Ints
    payment: Ints
    total: Ints
    discount: Ints
    shipping: Ints
    tax: Ints
    delivery: Delivery
    refunds: Refunds
    tells_returns: Bools

    @property
    def count(self) -> int:
        """Number of orders."""
        return len(self.total)

    def ids(self) -> pa.Array:
        """The orders' ids."""
        return numbered("O", self.first_id + np.arange(self.count), 10)


@dataclass(frozen=True)
class Versions:
    """Records of one feed: ``entity`` is the order's (session's, ticket's) place in its chunk, ``updated`` the version.

    Sorted by entity and version. ``measures`` are whole numbers by record, from which the truth's totals are summed.
    """

    table: pa.Table
    entity: Ints
    updated: Ints
    measures: dict[str, Ints]

    def is_last(self) -> Bools:
        """Whether the record is its entity's latest version."""
        last = np.ones(len(self.entity), dtype=bool)
        last[:-1] = self.entity[1:] != self.entity[:-1]
        return last


def make_orders(
    rng: np.random.Generator,
    people: People,
    journey: Journey,
    calendar: Calendar,
    catalogue: Catalogue,
    currencies: tuple[str, ...],
    first_id: int,
) -> Orders:
    """Fill the journey's orders with goods, money, deliveries and refunds."""
    n = len(journey.person)
    currency = _currencies(rng, people, journey.person, len(currencies))
    units = np.array([CURRENCY_UNITS[code] for code in currencies])
    coupon_kind, seasonal, referrer = _coupons(rng, people, journey, calendar)
    percent = np.select(
        [coupon_kind == _WELCOME, coupon_kind == _REFERRAL, coupon_kind == _GIFT, coupon_kind == _SEASONAL],
        [10, 10, 100, np.array(COUPON_PERCENT)[seasonal]],
        0,
    )
    items = _items(rng, people, journey, catalogue, units[currency], percent)
    goods = _per_order(items, items.quantity * items.unit_price)
    discount = _per_order(items, items.discount)
    free = (journey.channel == STORE) | (goods >= 5_000 * units[currency]) | (coupon_kind == _GIFT)
    shipping = np.where(free, 0, np.round(499 * units[currency])).astype(np.int64)
    rates = np.array([rate for country in COUNTRIES for rate in country.tax_rates])
    tax = ((goods - discount) * rates[people.region[journey.person]] + 5_000) // 10_000
    total = goods - discount + shipping + tax
    delivery = _delivery(rng, journey)
    return Orders(
        first_id=first_id,
        journey=journey,
        identity=_identity(rng, people, journey),
        currency=currency,
        items=items,
        coupon_kind=coupon_kind,
        seasonal_coupon=seasonal,
        referrer=referrer,
        payment=rng.choice(len(PAYMENT_METHODS), n, p=(0.55, 0.2, 0.1, 0.05, 0.1)),
        total=total,
        discount=discount,
        shipping=shipping,
        tax=tax,
        # A lost parcel came back to nobody: with no returned quantity told, its full refund says that nothing was kept.
        tells_returns=(journey.channel != MARKETPLACE) & (rng.random(n) < 0.9) & ~delivery.is_lost,
        delivery=delivery,
        refunds=_refunds(rng, journey, items, total, delivery),
    )


def _currencies(rng: np.random.Generator, people: People, person: Ints, count: int) -> Ints:
    """The shop's first currency for 70 % of the people, the others evenly; a person keeps theirs."""
    own = np.where(rng.random(people.count) < 0.7, 0, rng.integers(0, count, people.count))
    return np.asarray(own[person])


def _coupons(rng: np.random.Generator, people: People, journey: Journey, calendar: Calendar) -> tuple[Ints, Ints, Ints]:
    """Kind, seasonal coupon and referrer of each order; a referrer is of the chunk and has an account by then."""
    n = len(journey.person)
    first = (journey.ordinal == 0) & ~people.is_established[journey.person]
    seasonal = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3])[calendar.month(journey.at)]
    referrer = rng.integers(0, people.count, n)
    may_refer = (people.account_since[referrer] <= journey.at) & (people.household_head[referrer] != journey.person)
    may_refer &= referrer != journey.person
    luck = rng.random(n)
    kind = np.where(rng.random(n) < people.promotion_taste[journey.person], _SEASONAL, _NO_COUPON)
    kind = np.where(first & (luck < 0.2), _WELCOME, kind)
    kind = np.where(first & (luck > 0.9) & may_refer, _REFERRAL, kind)
    kind = np.where((luck > 0.6) & (luck < 0.603), _GIFT, kind)
    return kind, seasonal, referrer


def _items(
    rng: np.random.Generator, people: People, journey: Journey, catalogue: Catalogue, units: np.ndarray, percent: Ints
) -> Items:
    """One to six lines an order: mostly from the person's two favourite categories and, if loyal, one brand of each."""
    n = len(journey.person)
    lines = np.minimum(rng.geometric(0.55, n), 6)
    offsets = np.concatenate([[0], np.cumsum(lines)])
    order = np.repeat(np.arange(n), lines)
    person, size = journey.person[order], int(offsets[-1])
    luck = rng.random(size)
    category = np.where(luck < 0.5, people.favourite[person], people.second_favourite[person])
    category = np.where(luck > 0.75, rng.integers(0, 12, size), category)
    own_brand = (people.numbers[person] * 31 + category * 17) % BRANDS_PER_CATEGORY
    loyal = rng.random(size) < people.brand_loyalty[person]
    brand = np.where(loyal, own_brand, rng.integers(0, BRANDS_PER_CATEGORY, size))
    popular = np.minimum(rng.geometric(0.35, size) - 1, SKUS_PER_BRAND - 1)
    article = (category * BRANDS_PER_CATEGORY + brand) * SKUS_PER_BRAND + popular
    quantity = rng.choice([1, 2, 3, 4], size, p=(0.78, 0.15, 0.05, 0.02))
    list_price = np.round(catalogue.list_price[article] * units[order]).astype(np.int64)
    reduced = rng.random(size) < 0.08 + 0.25 * people.promotion_taste[person]
    cut = np.where(reduced, rng.choice([10, 20, 30], size), 0)
    unit_price = list_price * (100 - cut) // 100
    cost = catalogue.cost[article]
    unit_cost = np.where(cost < 0, -1, np.round(cost * units[order])).astype(np.int64)
    discount = quantity * unit_price * percent[order] // 100
    return Items(offsets, article, quantity, unit_price, list_price, unit_cost, discount, order)


def _per_order(items: Items, values: Ints) -> Ints:
    """Sum of the lines' values by order; every order has a line."""
    before = np.concatenate([[0], np.cumsum(values)])
    return np.asarray(before[items.offsets[1:]] - before[items.offsets[:-1]], dtype=np.int64)


def _delivery(rng: np.random.Generator, journey: Journey) -> Delivery:
    n, at = len(journey.person), journey.at
    in_store = journey.channel == STORE
    paid = np.where(in_store, at, at + rng.integers(45, 1_800, n))
    shipped = paid + rng.integers(4 * HOUR, 44 * HOUR, n)
    # Promised by eight in the evening of the third to sixth day.
    promised = (at // DAY + rng.integers(3, 7, n)) * DAY + 20 * HOUR
    early = promised - rng.integers(1, 40, n) * HOUR - rng.integers(0, HOUR, n)
    late = promised + (rng.exponential(2.5, n) * DAY).astype(np.int64) + 5 * HOUR
    delivered = np.maximum(np.where(journey.is_late, late, early), shipped + 5 * HOUR)
    # Who was to be in time is: a parcel that left late for an early promise moves the promise.
    promised = np.where(journey.is_late, promised, np.maximum(promised, delivered + HOUR))
    delivered = np.where(in_store, at, delivered)
    cancelled = at + np.where(rng.random(n) < 0.7, rng.integers(1_900, 20 * HOUR, n), rng.integers(300, 1_800, n))
    cancelled = np.where(journey.is_cancelled, cancelled, NEVER)
    no_promise = in_store | (rng.random(n) < 0.04) & ~journey.is_late
    is_lost = (rng.random(n) < 0.004) & ~journey.is_cancelled & ~in_store
    return Delivery(
        paid_at=np.where(paid < cancelled, paid, NEVER),
        shipped_at=np.where(journey.is_cancelled | in_store, NEVER, shipped),
        promised_at=np.where(no_promise, NEVER, promised),
        delivered_at=np.where(journey.is_cancelled | is_lost, NEVER, delivered),
        cancelled_at=cancelled,
        is_lost=is_lost,
    )


def _refunds(rng: np.random.Generator, journey: Journey, items: Items, total: Ints, delivery: Delivery) -> Refunds:
    """Up to two refunds an order, on their own later days; together never more than what was paid.

    A few come months after the delivery: figures of long ago have to be restated for them.
    """
    n = len(total)
    delivered = delivery.delivered_at < NEVER
    luck = rng.random(n)
    full = delivered & (luck < 0.04)
    one_item = delivered & (luck >= 0.04) & (luck < 0.085)
    goodwill = delivered & (luck > 1 - np.where(journey.is_late | journey.complains, 0.12, 0.008))
    paid_and_cancelled = journey.is_cancelled & (delivery.paid_at < NEVER)
    amount = np.zeros(n, dtype=np.int64)
    keeps_shipping = rng.random(n) < 0.3
    amount = np.where(full, np.where(keeps_shipping, total * 95 // 100, total), amount)
    first_line = items.offsets[:-1]
    line_total = items.quantity[first_line] * items.unit_price[first_line] - items.discount[first_line]
    amount = np.where(one_item, np.minimum(line_total, total), amount)
    amount = np.where(goodwill, total * rng.integers(5, 16, n) // 100, amount)
    amount = np.where(paid_and_cancelled | delivery.is_lost, total, amount)
    wait = (rng.gamma(2.0, 6.0, n) * DAY).astype(np.int64) + DAY
    wait += np.where(rng.random(n) < 0.04, rng.integers(90, 160, n) * DAY, 0)
    when = np.where(delivered, delivery.delivered_at + wait, NEVER)
    when = np.where(delivery.is_lost, delivery.shipped_at + 20 * DAY + wait // 4, when)
    when = np.where(paid_and_cancelled, delivery.cancelled_at, when)
    when = np.where(amount > 0, when, NEVER)
    reason = np.select([paid_and_cancelled, full, one_item, goodwill, delivery.is_lost], [0, 1, 2, 3, 4], 5)

    rest = total - amount
    again = (when < NEVER) & ~journey.is_cancelled & (rest > 100) & (rng.random(n) < 0.06)
    second = np.where(again, np.maximum(1, rest * rng.integers(5, 101, n) // 100), 0)
    second_at = np.where(again, when + rng.integers(2 * DAY, 60 * DAY, n), NEVER)
    # Every line is sent back in a full return; the first line in a partial one.
    sent_back = np.where(full[items.order], items.quantity, 0)
    sent_back[first_line[one_item]] = items.quantity[first_line[one_item]]
    return Refunds(
        at=(when, second_at),
        amount=(amount, second),
        reason=(reason, np.full(n, 5)),
        is_returned=full & (amount > 0),
        returned_quantity=sent_back,
    )


def _identity(rng: np.random.Generator, people: People, journey: Journey) -> Identity:
    """Who the order says it is from. One web order in seventy tells nothing but its device."""
    person, at, channel = journey.person, journey.at, journey.channel
    found = identify(
        rng,
        people,
        person,
        at,
        account=np.select([channel == STORE, channel == MARKETPLACE, channel == PHONE], [0.75, 0.3, 0.8], 0.94),
        email=np.select([channel == STORE, channel == PHONE], [0.35, 0.6], 0.93),
        phone=np.select([channel == STORE, channel == PHONE], [0.25, 0.98], 0.5),
    )
    online = (channel == WEB) | (channel == APP)
    device = choose_device(rng, people, person, at, channel == APP)
    device = np.where(online & (rng.random(len(person)) < 0.95), device, -1)
    n = people.count
    till = (channel == STORE) & (rng.random(len(person)) < people.rates.till_email_per_store_order)
    till_code = EMAIL_SLOTS * n + len(JUNK_EMAILS) + people.numbers[person] % len(TILL_EMAILS)
    email = np.where(till, till_code, found.email)
    silent = (device >= 0) & (found.account < 0) & (rng.random(len(person)) < 0.06)
    return Identity(
        account=found.account,
        email=np.where(silent, -1, email),
        email_form=found.email_form,
        phone=np.where(silent, -1, found.phone),
        phone_form=found.phone_form,
        device=device,
    )


def order_versions(
    orders: Orders, people: People, names: Names, catalogue: Catalogue, currencies: tuple[str, ...], end: int
) -> Versions:
    """One record per order and change, up to the sample's end, as the shop's system would have exported them."""
    order, when, status = _events(orders, end)
    refund_level = (when >= orders.refunds.at[0][order]).astype(np.int64) + (when >= orders.refunds.at[1][order])
    n, journey = orders.count, orders.journey
    person = journey.person[order]
    sent_back = (refund_level > 0).astype(np.int64)
    refunded = _refunded(orders, order, refund_level)
    known = people.country[person]
    columns = {
        "order_id": orders.ids().take(pa.array(order)),
        "updated_at": times(when),
        "ordered_at": times(journey.at[order]),
        "status": pick(STATUSES, status),
        "currency": pick(currencies, orders.currency[order]),
        "total_amount": money(orders.total[order]),
        "discount_amount": money(orders.discount[order], orders.discount[order] == 0),
        "shipping_amount": money(orders.shipping[order]),
        "tax_amount": money(orders.tax[order]),
        **identity_columns(orders.identity, names, order),
        "items": _item_lists(orders, catalogue).take(pa.array(order + n * sent_back)),
        "refunds": _refund_lists(orders).take(pa.array(order + n * refund_level)),
        "promised_delivery_at": times(orders.delivery.promised_at[order]),
        "delivered_at": times(
            np.where(orders.delivery.delivered_at[order] <= when, orders.delivery.delivered_at[order], NEVER)
        ),
        "sales_channel": pick(SALES_CHANNELS, _told_channel(journey.channel)[order]),
        "payment_method": pick(PAYMENT_METHODS, np.where(status == PLACED, -1, orders.payment[order])),
        "coupon_code": _coupon_texts(orders, names).take(pa.array(order)),
        "country": pick([c.code for c in COUNTRIES], known),
        "region": pick([r for c in COUNTRIES for r in c.regions], people.region[person]),
    }
    measures = {
        "currency": orders.currency[order],
        "status": status,
        "total_amount": orders.total[order],
        "discount_amount": orders.discount[order],
        "shipping_amount": orders.shipping[order],
        "tax_amount": orders.tax[order],
        "refunded_amount": refunded,
    }
    return Versions(pa.table(columns), order, when, measures)


def _events(orders: Orders, end: int) -> tuple[Ints, Ints, Ints]:
    """Order, time and status of every change up to ``end``, sorted by order and time; times of an order differ."""
    journey = orders.journey
    in_store = journey.channel == STORE
    kinds = (
        (np.where(in_store, NEVER, journey.at), PLACED),
        (np.where(in_store, NEVER, orders.delivery.paid_at), PAID),
        (orders.delivery.shipped_at, SHIPPED),
        (orders.delivery.delivered_at, DELIVERED),
        (orders.delivery.cancelled_at, CANCELLED),
        (orders.refunds.at[0], -1),
        (orders.refunds.at[1], -1),
    )
    # A cancelled order's refund is in the record that cancels it.
    at = np.stack([np.where(journey.is_cancelled & (i >= 5), NEVER, when) for i, (when, _) in enumerate(kinds)])
    event, order = np.nonzero(at < end)
    when = at[event, order]
    by_order = np.lexsort((event, when, order))
    event, order, when = event[by_order], order[by_order], when[by_order]
    status = np.array([kind for _, kind in kinds])[event]
    after_refund = np.where(orders.refunds.is_returned, RETURNED, np.where(orders.delivery.is_lost, SHIPPED, DELIVERED))
    status = np.where(status < 0, after_refund[order], status)
    same = np.zeros(len(order), dtype=bool)
    same[1:] = (order[1:] == order[:-1]) & (when[1:] <= when[:-1])
    if same.any():
        raise AssertionError("two versions of an order have the same time")
    return order, when, status


def _told_channel(channel: Ints) -> Ints:
    """Every other web order leaves its channel out: web is the default."""
    return np.where((channel == WEB) & (np.arange(len(channel)) % 2 == 0), -1, channel)


def _refunded(orders: Orders, order: Ints, level: Ints) -> Ints:
    first = np.where(level > 0, orders.refunds.amount[0][order], 0)
    return np.asarray(first + np.where(level > 1, orders.refunds.amount[1][order], 0))


def identity_columns(identity: Identity, names: Names, record: Ints) -> dict[str, pa.Array]:
    """The four identifier columns of these records."""
    email, phone = identity.email[record], identity.phone[record]
    return {
        "customer_id": pick(names.accounts, identity.account[record]),
        "email": pick(names.emails, np.where(email < 0, -1, identity.email_form[record] * names.email_codes + email)),
        "phone": pick(names.phones, np.where(phone < 0, -1, identity.phone_form[record] * names.phone_codes + phone)),
        "anonymous_id": pick(names.devices, identity.device[record]),
    }


def _item_lists(orders: Orders, catalogue: Catalogue) -> pa.Array:
    """The item list of each order before anything came back, then of each order after that; marketplaces tell half."""
    items = orders.items
    article = pa.array(items.article)
    mute = ~orders.tells_returns[items.order]
    fields = {
        "sku": catalogue.sku.take(article),
        "category": catalogue.category.take(article),
        "brand": catalogue.brand.take(article),
        "quantity": integers(items.quantity),
        "unit_price": money(items.unit_price),
        "list_price": money(items.list_price),
        "unit_cost": money(np.maximum(items.unit_cost, 0), items.unit_cost < 0),
        "discount_amount": money(items.discount),
    }
    unknown = (orders.journey.channel == MARKETPLACE) & (np.arange(orders.count) % 2 == 0)
    before = nested(items.offsets, {**fields, "returned_quantity": integers(items.quantity * 0, mute)}, unknown)
    after = nested(
        items.offsets, {**fields, "returned_quantity": integers(orders.refunds.returned_quantity, mute)}, unknown
    )
    return pa.concat_arrays([before, after])


def _refund_lists(orders: Orders) -> pa.Array:
    """No refund for every order, then the first of every order, then both."""
    n = orders.count
    ids = orders.ids()
    rows = np.arange(n)

    def refund(number: int, order: Ints) -> list[pa.Array]:
        return [
            joined(ids.take(pa.array(order)), f"-R{number + 1}"),
            times(orders.refunds.at[number][order]),
            money(orders.refunds.amount[number][order]),
            pick(REFUND_REASONS, orders.refunds.reason[number][order]),
        ]

    names = ("refund_id", "refunded_at", "amount", "reason")
    has = [rows[at < NEVER] for at in orders.refunds.at]
    # Elements: the first refund of each order that has one; then, for orders with two, both, side by side.
    both = has[1]
    first, pair_first, pair_second = refund(0, has[0]), refund(0, both), refund(1, both)
    woven = np.arange(2 * len(both)).reshape(2, -1).T.ravel()
    fields = {
        name: pa.concat_arrays([first[i], pa.concat_arrays([pair_first[i], pair_second[i]]).take(pa.array(woven))])
        for i, name in enumerate(names)
    }
    counts = np.zeros(3 * n, dtype=np.int64)
    counts[n + has[0]] = 1
    counts[2 * n + both] = 2
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return nested(offsets, fields, counts == 0)


def _coupon_texts(orders: Orders, names: Names) -> pa.Array:
    kind = orders.coupon_kind
    referral = joined(REFERRAL_PREFIX, pick(names.accounts, np.where(kind == _REFERRAL, orders.referrer, -1)))
    plain = pick(
        (*COUPONS, "WELCOME10", "GIFT100"),
        np.select([kind == _SEASONAL, kind == _WELCOME, kind == _GIFT], [orders.seasonal_coupon, 4, 5], -1),
    )
    return pa.compute.coalesce(referral, plain)

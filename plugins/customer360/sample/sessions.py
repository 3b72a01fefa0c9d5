"""Web sessions: those that lead to orders, those that don't, and strangers'; each growing through its versions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from customer360.sample.calendar import Calendar
from customer360.sample.catalogue import CATEGORIES, COUNTRIES
from customer360.sample.columns import NEVER, Bools, Floats, Ints, blank, integers, numbered, pick, times
from customer360.sample.journey import APP, INTEREST_FADES_DAYS, WEB
from customer360.sample.orders import Orders, Versions, identity_columns
from customer360.sample.people import (
    DEVICE_SLOTS,
    SLOT_DEVICE_TYPE,
    Identity,
    Names,
    People,
    choose_device,
    device_names,
    identify,
)

_CAMPAIGNS = (
    (None, None, None, None),
    ("https://www.search.example/", None, None, None),
    ("https://www.search.example/", "search", "cpc", "brand"),
    ("https://www.search.example/", "search", "cpc", "generic"),
    ("https://social.example/", "social", "paid", "lookalike"),
    (None, "newsletter", "email", "weekly"),
    (None, "newsletter", "email", "come-back"),
    ("https://prices.example/compare", "prices", "affiliate", None),
)
_CAMPAIGN_SHARES = (0.38, 0.2, 0.1, 0.08, 0.08, 0.09, 0.03, 0.04)
_LANDING_PAGES = ("/", "/sale", "/account", *("/c/" + category.replace(" ", "-") for category in CATEGORIES))
STRANGERS = 0.08
"""Sessions of people who never tell who they are, per session of a customer."""


@dataclass(frozen=True)
class Sessions:
    """Sessions of a chunk in their final state: ``person`` is -1 for a stranger, ``order`` -1 where none was placed."""

    first_id: int
    person: Ints
    order: Ints
    identity: Identity
    device_number: Ints
    device_slot: Ints
    started_at: Ints
    ended_at: Ints
    grew_at: Ints
    """When an earlier version was exported; NEVER where the session was exported once."""
    engaged_seconds: Ints
    page_views: Ints
    product_views: Ints
    searches: Ints
    add_to_carts: Ints
    campaign: Ints
    landing_page: Ints
    country: Ints

    @property
    def count(self) -> int:
        """Number of sessions."""
        return len(self.person)

    def ids(self) -> pa.Array:
        """The sessions' ids."""
        return numbered("S", self.first_id + np.arange(self.count), 11)


def make_sessions(
    rng: np.random.Generator, people: People, orders: Orders, calendar: Calendar, first_id: int
) -> Sessions:
    """Sessions of the chunk's people and of the strangers who came meanwhile."""
    bought = np.flatnonzero((orders.journey.channel == WEB) | (orders.journey.channel == APP))
    # One online order in fifty has no session: a blocker kept the script from loading.
    bought = bought[rng.random(len(bought)) < 0.98]
    looking, look_at, look_energy = _visits(rng, people, orders, calendar)
    strangers = int(STRANGERS * (len(bought) + len(looking)))
    person = np.concatenate([orders.journey.person[bought], looking, np.full(strangers, -1)])
    order = np.concatenate([bought, np.full(len(looking) + strangers, -1)])
    n = len(person)
    buys, known = order >= 0, person >= 0
    at = np.concatenate([orders.journey.at[bought], look_at, calendar.real(rng.random(strangers) * calendar.days)])
    energy = np.concatenate([orders.journey.engagement[bought], look_energy, np.full(strangers, 0.5)])
    length = np.where(buys, rng.gamma(2.5, 320, n), rng.gamma(0.9, 260 * energy)).astype(np.int64)
    length = np.minimum(length, 6 * 3_600) + np.where(buys, 240, 0)
    started = np.where(buys, at - length * 8 // 10 - 60, at)
    ended = np.where(buys, at + 60 + length // 5, at + length)
    length = ended - started
    bounced = ~buys & (rng.random(n) < 0.3)
    pages = np.where(bounced, 1, 1 + rng.poisson(np.where(buys, 9, 5 * energy)))
    products = rng.binomial(np.maximum(pages - 1, 0), 0.55)
    carts = np.where(buys, 1 + rng.poisson(0.8, n), rng.binomial(products, 0.09))

    somebody = np.maximum(person, 0)
    in_app = np.zeros(n, dtype=bool)
    in_app[: len(bought)] = orders.journey.channel[bought] == APP
    in_app[len(bought) : len(bought) + len(looking)] = rng.random(len(looking)) < 0.15
    device = choose_device(rng, people, somebody, started, in_app)
    # The order's own device is the session's, where the order tells it.
    told = np.append(orders.identity.device, -1)[order]
    device = np.where(told >= 0, told, device)
    slot = np.where(known, device // people.count, rng.choice([0, 1, 2], n, p=(0.6, 0.34, 0.06)))
    number = people.numbers[device % people.count] * DEVICE_SLOTS + slot
    # Two strangers' visits in three are one each; the third is the second visit of the one before.
    visitor = np.arange(n) - ((np.arange(n) % 3 == 2) & np.concatenate([[False], ~known[:-1]]))
    number = np.where(known, number, -(people.first_number * 1_000 + visitor + 2))
    found = identify(
        rng, people, somebody, ended, account=np.where(buys, 0.85, 0.3), email=np.ones(n), phone=np.zeros(n)
    )
    # The e-mail of a session comes from the checkout, or with the link of a newsletter.
    shows_email = known & (rng.random(n) < np.where(buys, 0.45, 0.06))
    identity = Identity(
        account=np.where(known, found.account, -1),
        email=np.where(shows_email, found.email, -1),
        email_form=found.email_form,
        phone=np.full(n, -1),
        phone_form=found.phone_form,
        device=np.where(known, device, -1),
    )
    grows = (length > 120) & (rng.random(n) < np.where(buys, 0.8, 0.2))
    return Sessions(
        first_id=first_id,
        person=person,
        order=order,
        identity=identity,
        device_number=number,
        device_slot=slot,
        started_at=started,
        ended_at=ended,
        grew_at=np.where(grows, started + 45 + (length * rng.uniform(0.1, 0.6, n)).astype(np.int64) // 2, NEVER),
        engaged_seconds=np.where(bounced, 0, (length * rng.beta(4, 3, n)).astype(np.int64)),
        page_views=pages,
        product_views=products,
        searches=rng.binomial(np.minimum(pages, 6), 0.2),
        add_to_carts=carts,
        campaign=rng.choice(len(_CAMPAIGNS), n, p=_CAMPAIGN_SHARES),
        landing_page=rng.integers(0, len(_LANDING_PAGES), n),
        country=np.where(known, people.country[somebody], rng.integers(0, len(COUNTRIES), n)),
    )


def _visits(rng: np.random.Generator, people: People, orders: Orders, calendar: Calendar) -> tuple[Ints, Ints, Floats]:
    """Person, time and energy of the visits that lead to no order.

    Between two orders they come evenly, as many as the person's visit rate and present engagement say; after the last
    order of somebody who has left, ever fewer.
    """
    journey = orders.journey
    # Spans: from the joining to the first order (nobody's, for a newcomer), and after each order.
    before_first = np.flatnonzero(people.is_established | (people.order_rate == 0))
    first_order = np.full(people.count, calendar.days)
    starts_person = np.concatenate([[True], journey.person[1:] != journey.person[:-1]]) if orders.count else _none()
    first_order[journey.person[starts_person]] = journey.even_day[starts_person]
    until = np.full(orders.count, calendar.days)
    until[:-1] = np.where(starts_person[1:], calendar.days, journey.even_day[1:])
    person = np.concatenate([before_first, journey.person])
    begin = np.concatenate([people.joined_even_day[before_first], journey.even_day])
    length = np.concatenate([first_order[before_first], until]) - begin
    energy = np.concatenate([np.ones(len(before_first)), journey.engagement])
    fades = np.concatenate([np.zeros(len(before_first), dtype=bool), journey.left_after])
    fading = INTEREST_FADES_DAYS
    effective = np.where(fades, fading * -np.expm1(-length / fading), length)
    visits = rng.poisson(people.visit_rate[person] * energy * effective)
    span = np.repeat(np.arange(len(person)), visits)
    luck = rng.random(len(span))
    faded = -fading * np.log1p(luck * np.expm1(-length[span] / fading))
    day = begin[span] + np.where(fades[span], faded, luck * length[span])
    return person[span], calendar.real(np.minimum(day, calendar.days - 1e-6)), energy[span]


def _none() -> Bools:
    return np.zeros(0, dtype=bool)


def session_versions(sessions: Sessions, orders: Orders, names: Names, end: int) -> Versions:
    """One or two records a session: the first is anonymous and shorter, the last is whole."""
    n = sessions.count
    session = np.repeat(np.arange(n), 2)
    is_first = np.tile([True, False], n)
    when = np.where(is_first, sessions.grew_at[session], sessions.ended_at[session] + 1)
    kept = when < end
    session, is_first, when = session[kept], is_first[kept], when[kept]
    started, ended = sessions.started_at[session], np.where(is_first, when, sessions.ended_at[session])

    def so_far(final: Ints) -> Ints:
        return np.where(is_first, final[session] // 2, final[session])

    pages = np.maximum(so_far(sessions.page_views), 1)
    engaged = np.minimum(so_far(sessions.engaged_seconds), ended - started)
    order = np.where(is_first, -1, sessions.order[session])
    known = identity_columns(sessions.identity, names, session)
    devices = device_names(sessions.device_number)
    slot = sessions.device_slot[session]
    campaign = sessions.campaign[session]
    columns = {
        "session_id": sessions.ids().take(pa.array(session)),
        "updated_at": times(when),
        "anonymous_id": devices.take(pa.array(session)),
        "started_at": times(started),
        "ended_at": times(ended),
        "page_views": integers(pages),
        "product_views": integers(so_far(sessions.product_views)),
        "searches": integers(so_far(sessions.searches), (sessions.searches[session] == 0) & (session % 2 == 0)),
        "add_to_carts": integers(so_far(sessions.add_to_carts)),
        "checkouts_started": integers(((order >= 0) | (so_far(sessions.add_to_carts) > 2)).astype(np.int64)),
        "engaged_seconds": integers(engaged, session % 40 == 0),
        "customer_id": blank(known["customer_id"], is_first),
        "email": blank(known["email"], is_first),
        "order_id": pick(orders.ids(), order),
        "device_type": pick(SLOT_DEVICE_TYPE, slot),
        "country": pick([c.code for c in COUNTRIES], sessions.country[session]),
        "landing_page": pick(_LANDING_PAGES, sessions.landing_page[session]),
        "referrer": pick([c[0] for c in _CAMPAIGNS], campaign),
        "utm_source": pick([c[1] for c in _CAMPAIGNS], campaign),
        "utm_medium": pick([c[2] for c in _CAMPAIGNS], campaign),
        "utm_campaign": pick([c[3] for c in _CAMPAIGNS], campaign),
    }
    measures = {
        "page_views": pages,
        "engaged_seconds": np.where(session % 40 == 0, 0, engaged),
        "with_order": (order >= 0).astype(np.int64),
    }
    return Versions(pa.table(columns), session, when, measures)

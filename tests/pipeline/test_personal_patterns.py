"""E-mail addresses, phone and card numbers in free text: one set of patterns, in Python and in the warehouse."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from customer360 import warehouse
from customer360.contract.personal_patterns import MAYBE_CARD, PERSONAL, has_card_number, masked_text
from customer360.settings import Settings

MASKED = [
    ("mail ann@example.org.", "mail [e-mail]."),
    ("/unsubscribe/ann%40example.co.uk/now", "/unsubscribe/[e-mail]/now"),
    ("müller+shop@exämple.de, o'neill@example.ie", "[e-mail], [e-mail]"),
    ("paid by 4111 1111 1111 1111 2 times", "paid by [card number] 2 times"),
    ("5555-5555-5555-4444/378282246310005", "[card number]/[card number]"),
    ("call +49 30 7654321 or 0049307654321", "call [phone number] or [phone number]"),
    ("(030) 7654321; 030/7654321; 07911 123 456", "[phone number]; [phone number]; [phone number]"),
    ("(415) 555-2671 and 415.555.2671", "[phone number] and [phone number]"),
    ("01511234567", "[phone number]"),
    ("%2B49307654321", "[phone number]"),
]
LEFT = [
    "4006381333931", "ISBN 978-3-16-148410-0", "/book/0306406152", "2026-03-01 12:00:00", "20260301T120000Z",
    "part-00000-tid-4893021932", "SAVE2026112901", "10.0.0.1", "EUR 1.234,56", "orders@20260501T100000Z",
    "1234567890123456", "Ann Example", "user@localhost", "REF-C-000123", "19.99 20.00 13.50 1",
]  # fmt: skip

ALPHABET = st.sampled_from(
    [*"0123456789", *"0123456789", *"+-./() ,;:@%_[]'\"\\|ab", "%40", "%2B", "a@b.co", "00", "é", "4111111111111111"]
)
TEXTS = st.one_of(
    st.lists(ALPHABET, max_size=40).map("".join),
    st.lists(st.sampled_from([text for text, _ in MASKED] + LEFT), min_size=1, max_size=3).map(" ".join),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=60),
)


@pytest.mark.parametrize(("text", "masked"), MASKED)
def test_a_personal_value_is_masked_and_the_text_around_it_stays(text: str, masked: str) -> None:
    assert masked_text(text) == masked
    assert masked_text(masked) == masked
    assert is_found(text)
    assert not is_found(masked)


@pytest.mark.parametrize("text", LEFT)
def test_what_only_looks_like_a_personal_value_stays(text: str) -> None:
    assert masked_text(text) == text
    assert not is_found(text)


def is_found(text: str) -> bool:
    """What the landing gate says."""
    one = pa.array([text])
    maybe_card = pc.match_substring_regex(one, MAYBE_CARD)[0].as_py() and has_card_number(text)
    return bool(pc.match_substring_regex(one, PERSONAL)[0].as_py() or maybe_card)


def in_the_warehouse(texts: list[str], module_settings: Settings) -> list[str]:
    with warehouse.connect("transformer", module_settings) as connection:
        return [
            row[0]
            for row in connection.execute(
                "select raw.masked_text(text) from unnest(%s::text[]) with ordinality as given (text, place) "
                "order by place",
                [texts],
            )
        ]


def test_the_warehouse_masks_what_python_masks(module_settings: Settings) -> None:
    known = [text for text, _ in MASKED] + LEFT

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(TEXTS, min_size=1, max_size=50))
    def same(texts: list[str]) -> None:
        masked = in_the_warehouse(texts, module_settings)
        assert masked == [masked_text(text) for text in texts]
        assert in_the_warehouse(masked, module_settings) == masked
        assert [was != now for was, now in zip(texts, masked, strict=True)] == [is_found(text) for text in texts]

    assert in_the_warehouse(known, module_settings) == [masked_text(text) for text in known]
    same()


def test_a_long_text_costs_time_that_grows_with_its_length(module_settings: Settings) -> None:
    with warehouse.connect("transformer", module_settings) as connection:
        connection.execute("set statement_timeout = '20s'")
        for text in ("a" * 300_000 + "@", "a@" * 100_000, "1" * 200_000, "0151 " * 50_000):
            assert warehouse.scalar(connection, "select length(raw.masked_text(%s)) > 0", [text])
            is_found(text)

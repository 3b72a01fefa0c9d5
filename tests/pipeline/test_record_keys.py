"""A record's key is the same in Python and in SQL, can be read back, and leaves an id of version 1.0 as it was."""

from __future__ import annotations

import re
import sys

from hypothesis import HealthCheck, example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from customer360 import warehouse
from customer360.contract.feeds import SOURCE_FORM
from customer360.contract.record_keys import SPACES, parts_of, record_key, trimmed_id
from customer360.settings import Settings

_spaces = st.text(st.sampled_from(SPACES), max_size=3)
_texts = st.text(st.characters(exclude_categories=["Cs", "Cn"], exclude_characters="\x00"), max_size=8)
_slashed = st.text(st.sampled_from("a/é b"), max_size=6)
_ids = st.builds("".join, st.tuples(_spaces, st.one_of(_texts, _slashed), _spaces))
_sources = st.one_of(st.none(), st.just(""), st.from_regex(re.compile(SOURCE_FORM), fullmatch=True))


def test_every_white_space_of_unicode_is_trimmed() -> None:
    assert [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isspace()] == list(SPACES)


@given(source=_sources, record_id=_ids)
def test_a_key_can_be_read_back(source: str | None, record_id: str) -> None:
    key = record_key(source, record_id)
    if trimmed_id(record_id) is None:
        assert key is None
    else:
        assert key is not None
        assert parts_of(key) == (source or "", trimmed_id(record_id))


@given(record_id=_ids)
def test_an_id_without_a_slash_and_a_source_is_its_own_key(record_id: str) -> None:
    if "/" not in record_id:
        assert record_key(None, record_id) == trimmed_id(record_id)


@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pairs=st.lists(st.tuples(_sources, _ids), min_size=1, max_size=50))
@example(pairs=[(None, f"{space}x{space}") for space in SPACES])
@example(pairs=[(None, "Z\u0065\u0301"), ("a", "/"), (None, "/"), (None, "a/b"), ("a", "a/b"), (None, " \u3000")])
def test_sql_gives_the_same_keys(module_settings: Settings, pairs: list[tuple[str | None, str]]) -> None:
    with warehouse.connect("transformer", module_settings) as connection:
        found = connection.execute(
            """
            select raw.trimmed_id(id), raw.record_key(source, id), raw.id_of_key(raw.record_key(source, id))
            from unnest(%s::text[], %s::text[]) with ordinality as given (source, id, number) order by number
            """,
            [[source for source, _ in pairs], [record_id for _, record_id in pairs]],
        ).fetchall()
    assert found == [(trimmed_id(i), record_key(s, i), trimmed_id(i)) for s, i in pairs]

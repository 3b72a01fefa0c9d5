"""How a text that somebody typed becomes an identifier, or none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customer360.errors import ConfigurationError
from customer360.identity.identifiers import (
    JUNK_LIST,
    Normaliser,
    normalise_customer_id,
    normalise_email,
    normalise_phone,
    read_junk_list,
)
from customer360.settings import Settings

NORMALISER = Normaliser.of(Settings())


@pytest.mark.parametrize(
    ("typed", "normal"),
    [
        (" Ann.Lee@Inbox.Example ", "ann.lee@inbox.example"),
        ("ann\u200b@inbox.example\ufeff", "ann@inbox.example"),
        ("ａｎｎ＠ｉｎｂｏｘ．ｅｘａｍｐｌｅ", "ann@inbox.example"),
        ("jose\u0301@inbox.example", "jos\u00e9@inbox.example"),
        ("ann@bücher.example", "ann@xn--bcher-kva.example"),
        ("ann@inbox.example.", "ann@inbox.example"),
        ("ann+news@inbox.example", "ann+news@inbox.example"),
        ("a.nn@inbox.example", "a.nn@inbox.example"),
        ("n/a", None),
        ("ann", None),
        ("@inbox.example", None),
        ("ann@", None),
        ("ann lee@inbox.example", None),
        ("ann@lee@inbox.example", None),
        ("", None),
    ],
)
def test_an_address_has_one_normal_form(typed: str, normal: str | None) -> None:
    assert normalise_email(typed) == normal


def test_plus_tags_and_dots_go_only_where_configured() -> None:
    assert normalise_email("a.n+news@gmail.example", drop_plus_tags=True) == "a.n@gmail.example"
    dotless = frozenset({"gmail.example"})
    assert normalise_email("a.n@gmail.example", dotless_domains=dotless) == "an@gmail.example"
    assert normalise_email("a.n@inbox.example", dotless_domains=dotless) == "a.n@inbox.example"
    configured = Normaliser.of(Settings(email_drop_plus_tags=True, email_dotless_domains="Gmail.example, x.example"))
    assert configured.normalise("email", "A.N+x@gmail.example") == "an@gmail.example"


@pytest.mark.parametrize(
    ("typed", "normal"),
    [
        ("(415) 867-5309", "+14158675309"),
        ("415.867.5309", "+14158675309"),
        ("+1 415 867 5309", "+14158675309"),
        ("0044 20 7946 0958", None),
        ("+44 (0)20 7946 0958", "+442079460958"),
        ("+49 151 12345678", "+4915112345678"),
        ("415 867 5309 ext. 12", "+14158675309;ext=12"),
        ("٤١٥٨٦٧٥٣٠٩", "+14158675309"),
        ("867-5309", None),
        ("12345", None),
        ("call me", None),
        ("", None),
    ],
)
def test_a_phone_becomes_e164_of_the_configured_region(typed: str, normal: str | None) -> None:
    assert normalise_phone(typed, "US") == normal


def test_the_region_decides_what_a_number_without_country_code_is() -> None:
    assert normalise_phone("030 901820", "DE") == "+4930901820"
    assert normalise_phone("020 7946 0958", "GB") == "+442079460958"


def test_an_account_id_keeps_its_case() -> None:
    assert normalise_customer_id(" aB-1 ") == "aB-1"
    assert normalise_customer_id("  ") is None


@pytest.mark.parametrize(
    ("kind", "typed"),
    [
        ("email", "test@test.com"),
        ("email", "TEST@TEST.com "),
        ("email", "none@none.com"),
        ("email", "noreply@shop.example"),
        ("email", "noemail@example.com"),
        ("phone", "000-000-0000"),
        ("phone", "1111111111"),
        ("phone", "+1 999 999 9999"),
        ("phone", "1234567890"),
        ("customer_id", "0"),
        ("customer_id", "NULL"),
        ("customer_id", "guest"),
        ("anonymous_id", "00000000-0000-0000-0000-000000000000"),
    ],
)
def test_a_placeholder_is_nobody_s(kind: str, typed: str) -> None:
    assert NORMALISER.normalise(kind, typed) is None


@pytest.mark.parametrize(
    ("kind", "typed"),
    [
        ("email", "ann@example.com"),
        ("email", "tess@test.com"),
        ("email", "nonette@inbox.example"),
        ("phone", "+1 202 555 0123"),
        ("phone", "+49 30 1111111"),
        ("customer_id", "100"),
        ("customer_id", "testa"),
    ],
)
def test_what_only_looks_like_a_placeholder_is_kept(kind: str, typed: str) -> None:
    assert NORMALISER.normalise(kind, typed) is not None


def test_every_line_of_the_junk_list_says_why_and_matches_something() -> None:
    lines = JUNK_LIST.read_text().splitlines()[1:]
    assert len(lines) > 20
    for line in lines:
        kind, how = line.split(",", 2)[:2]
        assert kind in {"customer_id", "email", "phone", "anonymous_id"}
        assert how in {"exact", "pattern"}
        assert line.rsplit(",", 1)[1].strip(), line


def test_a_junk_list_of_one_s_own_replaces_the_list(tmp_path: Path) -> None:
    own = tmp_path / "junk.csv"
    own.write_text("identifier_type,kind,value,why\nemail,exact,till@shop.example,a till\n")
    normaliser = Normaliser.of(Settings(identity_junk_list=str(own)))
    assert normaliser.normalise("email", "Till@shop.example") is None
    assert normaliser.normalise("email", "test@test.com") == "test@test.com"
    assert normaliser.junk.fingerprint != NORMALISER.junk.fingerprint


def test_a_junk_list_that_cannot_be_read_names_the_setting(tmp_path: Path) -> None:
    broken = tmp_path / "junk.csv"
    broken.write_text("identifier_type,kind,value,why\nemail,pattern,(,?\n")
    for path in (broken, tmp_path / "missing.csv"):
        with pytest.raises(ConfigurationError) as refused:
            read_junk_list(path)
        assert "C360_IDENTITY_JUNK_LIST" in refused.value.next_step


@given(st.sampled_from(["customer_id", "email", "phone", "anonymous_id"]), st.text(max_size=30))
def test_a_normal_form_is_its_own_normal_form(kind: str, typed: str) -> None:
    normal = NORMALISER.normalise(kind, typed)
    assert normal is None or NORMALISER.normalise(kind, normal) == normal


@given(st.sampled_from(["customer_id", "email", "phone"]), st.lists(st.text(max_size=20), max_size=5))
def test_many_texts_at_once_become_what_each_becomes(kind: str, typed: list[str]) -> None:
    assert NORMALISER.normalise_all(kind, typed) == [NORMALISER.normalise(kind, text) for text in typed]

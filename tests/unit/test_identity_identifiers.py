"""How a text that somebody typed becomes an identifier, or none."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from customer360.contract.record_keys import record_key
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


_TYPES = {"customer_id", "anonymous_id", "email", "email_domain", "phone"}


def test_every_line_of_the_junk_list_says_why_and_matches_something() -> None:
    with JUNK_LIST.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) > 150
    for row in rows:
        types = row["identifier_type"].split()
        assert types, row
        assert set(types) <= _TYPES, row
        assert row["kind"] in {"exact", "pattern", "word", "filler"}, row
        assert row["why"].strip(), row
        if row["kind"] == "word":
            word = row["value"]
            shown = {"email": f"{word}@inbox.example", "email_domain": f"ann@{word}.example"}
            for kind in types:
                assert NORMALISER.normalise(kind.split("_domain")[0], shown.get(kind, word)) is None, row


def _words(identifier_type: str) -> list[str]:
    words = NORMALISER.junk.words[identifier_type].words
    # An address is made of what its provider allows, and its normal form is in lower case.
    return sorted(word for word in words if word.isascii() or identifier_type == "customer_id")


_ID_WORDS, _LOCAL_WORDS, _DOMAIN_WORDS = (_words(kind) for kind in ("customer_id", "email", "email_domain"))
_CASES = st.sampled_from([str.lower, str.upper, str.title])
_BRACKETS = st.sampled_from(["", "()", "<>", "[]", "{}", '""', "''", "__", "--", "**", "??", "||"])
_GAP = st.sampled_from(["", " ", "_", "-", "."])


@st.composite
def _marker(draw: st.DrawFn) -> str:
    """One marker word or the same one again, in any case and any brackets."""
    gap = draw(_GAP)
    word = draw(_CASES)(draw(st.sampled_from(_ID_WORDS)).replace("-", gap))
    times = draw(st.integers(1, 3))
    # Short words stand alone: "na" and "na" is "nana", which is a name.
    between = draw(st.sampled_from([" ", "_", "-", ", ", "/"]))
    brackets = draw(_BRACKETS)
    return brackets[:1] + between.join([word] * times) + brackets[1:]


@st.composite
def _unfilled(draw: st.DrawFn) -> str:
    """A template that was never filled in, or a format."""
    name = draw(st.text("abcdefghijklmnopqrstuvwxyzABCXYZ_.", min_size=1, max_size=12))
    form = draw(
        st.sampled_from(["${%s}", "{{%s}}", "{{ %s }}", "<%%= %s %%>", "%%%%%s%%%%", "#{%s}", "[[%s]]", "<%s>"])
    )
    return form % name


@st.composite
def _zero(draw: st.DrawFn) -> str:
    """Nothing but zeros, however written."""
    parts = draw(st.lists(st.text("0", min_size=1, max_size=12), min_size=1, max_size=5))
    return draw(st.sampled_from(["", "-", "+"])) + draw(st.sampled_from([".", ",", "-", " ", ":"])).join(parts)


_REPEATED = st.builds(lambda letter, times: letter * times, st.sampled_from("abcxyzABXZéя"), st.integers(3, 20))
_PUNCTUATION = st.text("-_.?!*#\\|~^+=,;:<>()[]{}…–", min_size=1, max_size=8)
_ESCAPES = st.sampled_from(["\\N", "\\0", "\\n", "\\null", "\\\\N", "#REF!", "#VALUE!", "#DIV/0!", "#NV", "1900-01-00",
                            "1970-01-01", "0000-00-00 00:00:00", "9999-12-31", "-1", "-1.0", "-999", "qwertz", "abcdef",
                            "[object Object]", "Walk-In Customer", "not set", "No ID", "deleted user"])  # fmt: skip


@given(
    st.sampled_from(["customer_id", "anonymous_id"]),
    st.one_of(_unfilled(), _zero(), _REPEATED, _PUNCTUATION, _ESCAPES),
    st.sampled_from(["", "shop-b"]),
)
def test_a_text_without_anybody_in_it_is_nobody_s_id(kind: str, typed: str, source: str) -> None:
    shown = record_key(source, typed) if kind == "customer_id" else typed
    assert NORMALISER.normalise(kind, shown) is None


@given(_marker())
def test_marker_words_are_nobody_s_id_however_they_are_dressed(typed: str) -> None:
    assert NORMALISER.normalise("customer_id", record_key("", typed)) is None


@given(st.from_regex(r"[A-Z]{1,4}-?[1-9][0-9]{2,8}[A-Z]?", fullmatch=True), st.sampled_from(["", "shop-b"]))
def test_an_account_number_is_an_id(typed: str, source: str) -> None:
    assert NORMALISER.normalise("customer_id", record_key(source, typed)) == record_key(source, typed)


@given(st.integers(1, 999_999), st.uuids(version=4))
def test_counters_and_uuids_are_ids(number: int, uuid: UUID) -> None:
    for kind in ("customer_id", "anonymous_id"):
        assert NORMALISER.normalise(kind, str(number)) == str(number)
        assert NORMALISER.normalise(kind, str(uuid)) == str(uuid)
        assert NORMALISER.normalise(kind, f"{{{uuid}}}") == f"{{{uuid}}}"


@pytest.mark.parametrize(
    "name", ["anna", "hanna", "nanna", "noah", "noel", "alldis", "testa", "idris", "nilsson", "sofie", "tess", "x1"]
)
def test_a_name_that_holds_a_marker_word_is_kept(name: str) -> None:
    assert NORMALISER.normalise("customer_id", name) == name
    assert NORMALISER.normalise("email", f"{name}@inbox.example") == f"{name}@inbox.example"


@given(
    st.sampled_from(_LOCAL_WORDS),
    _GAP.filter(lambda gap: gap != " "),
    st.sampled_from(["", "1", "123", "-8f3e2a", ".0042"]),
    st.sampled_from(["shop-a.test", "example.com", "mail.example", "gmail.com"]),
)
def test_a_mailbox_of_marker_words_is_nobody_s(word: str, gap: str, number: str, domain: str) -> None:
    assert NORMALISER.normalise("email", f"{word.replace('-', gap)}{number}@{domain}") is None


@given(
    st.sampled_from(["ann", "ann.lee", "c17", "8f3e2a"]),
    st.one_of(
        st.builds("{}.{}".format, st.sampled_from(_DOMAIN_WORDS), st.sampled_from(["com", "shop-a.example", "org"])),
        st.sampled_from(["site.invalid", "invalid", "localhost", "pos.localhost", "localhost.localdomain"]),
    ),
)
def test_a_domain_that_delivers_nothing_has_nobody(local: str, domain: str) -> None:
    assert NORMALISER.normalise("email", f"{local}@{domain}") is None


@given(
    st.from_regex(r"[bcdfgklmprst][aeiou][a-z]{2,8}\.[bcdfgklmprst][aeiou][rlst][a-z]{2,8}[0-9]{0,3}", fullmatch=True),
    st.sampled_from(["example.com", "example.org", "inbox.example", "shop-a.test", "test.com", "gmail.com"]),
)
def test_samples_and_people_have_addresses(local: str, domain: str) -> None:
    assume(not any(word.replace("-", "") in local for word in _LOCAL_WORDS))
    assert NORMALISER.normalise("email", f"{local}@{domain}") == f"{local}@{domain}"


@pytest.mark.parametrize(
    "typed",
    ["na@na.com", "a@a.com", "x@y.z", "123@123.com", "foo@bar.com", "user@domain.com", "asdf@asdf.de", "aaa@gmail.com",
     "{{email}}@shop.example", "no.email.provided@shop.example", "0@0.com"],
)  # fmt: skip
def test_an_address_typed_to_get_past_a_form_is_nobody_s(typed: str) -> None:
    assert NORMALISER.normalise("email", typed) is None


@given(st.sampled_from(["+1", "+49", "+44"]), st.sampled_from(["200", "30", "151"]))
def test_a_line_of_zeros_is_nobody_s(country: str, area: str) -> None:
    assert NORMALISER.normalise("phone", f"{country}{area}0000000") is None


def test_a_list_of_one_s_own_keeps_what_a_form_takes_for_a_placeholder(tmp_path: Path) -> None:
    own = tmp_path / "junk.csv"
    own.write_text("identifier_type,kind,value,why\ncustomer_id,keep,0,the shop's first account\n")
    normaliser = Normaliser.of(Settings(identity_junk_list=str(own)))
    assert normaliser.normalise("customer_id", "0") == "0"
    assert normaliser.normalise("customer_id", "0.0") is None


def test_no_text_takes_long() -> None:
    begun = time.perf_counter()
    for kind in ("customer_id", "email", "phone", "anonymous_id"):
        for text in (
            "no" * 400 + "x",
            "null" * 300 + "1x",
            "-" * 2000 + "x",
            "0" * 2000 + "x",
            "(" * 500,
            "a@" + "no." * 300,
        ):
            NORMALISER.normalise_all(kind, [text])
    assert time.perf_counter() - begun < 2


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

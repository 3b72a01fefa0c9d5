"""Every setting refuses what it must not hold, in one line that a person can act on."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import phonenumbers
import pytest
from hypothesis import given, reject
from hypothesis import strategies as st

from customer360.contract.feeds import COUNTRIES, CURRENCIES
from customer360.errors import ConfigurationError
from customer360.setting_rules import (
    File,
    FileToUse,
    Folder,
    Host,
    Landing,
    Listed,
    Matching,
    Number,
    OneOf,
    Rule,
    Url,
    Whole,
    YesNo,
    Zone,
    masked_url,
)
from customer360.settings import (
    WITHOUT_PHONES,
    Settings,
    get_settings,
    load_settings,
    rule_of,
    unknown_variables,
    variable,
)

SETTINGS = sorted(Settings.model_fields)
NAMES = {name: variable(name) for name in SETTINGS}

_words = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ_", min_size=1, max_size=12)


def refused_by(rule: Rule) -> st.SearchStrategy[str]:
    """Texts that a rule must refuse: just outside its range or list, of another kind, half written."""
    match rule:
        case Whole():
            whole = st.integers(max_value=rule.least - 1) | st.integers(min_value=rule.most + 1)
            return whole.map(str) | st.sampled_from(["x", "1.5", "1 2", "-", "1e3", "inf"]) | _words
        case Number():
            below = st.floats(max_value=float(rule.least), exclude_max=True)
            above = st.floats(min_value=float(rule.most), exclude_min=True)
            return below.map(str) | above.map(str) | st.sampled_from(["nan", "inf", "x", "1,5"])
        case YesNo():
            return st.sampled_from(["maybe", "2", "-1", "oui", "yes!"])
        case OneOf():
            changed = st.sampled_from(rule.choices).map(str.swapcase) | st.sampled_from(rule.choices).map("{}x".format)
            return (changed | _words).filter(lambda text: text not in rule.choices)
        case Zone():
            return st.sampled_from(["Mars/Olympus", "Europe", "/etc/passwd", "../UTC", "posix/UTC", "+02:00", "Cest"])
        case Matching():
            return st.sampled_from(["my shop", "a;b", "x" * 52, "a/b", "shop'", "ä"])
        case Host():
            return st.sampled_from(["http://here", "here:80", "a b", "-a", "256.1.1.1", "a..b", "a/b"])
        case Url():
            first = rule.schemes[0]
            texts = ["x", "example.org", "ftp://example.org/a", f"{first}://", f"{first}:///a", f"{first}://h:port/a"]
            return st.sampled_from([*texts, f"{first}://a host/a", f"{first}://h:70000/a", f"{first}:example.org"])
        case Landing():
            return st.sampled_from(["s4://bucket", "s3://", "s3:///", __file__, f"{__file__}/landing"])
        case Folder():
            return st.sampled_from([__file__, f"{__file__}/folder"])
        case File():
            return st.sampled_from(["/no/such/file.csv", str(Path(__file__).parent)])
        case FileToUse():
            return st.sampled_from([str(Path(__file__).parent), "/"])
        case Listed():
            return st.sampled_from(["@", "a b c", ",", f"{rule.example},;", "=5", "a@b@c", "orders.age=3"])
    raise AssertionError(f"{rule} is a new kind of rule: say here what it refuses")


def refusal_of(environ: dict[str, str]) -> ConfigurationError | None:
    """What is said about the values of an environment; None if they are accepted."""
    try:
        load_settings(environ)
    except ConfigurationError as refusal:
        return refusal
    return None


@pytest.mark.parametrize("name", SETTINGS)
@given(data=st.data())
def test_every_setting_refuses_what_is_not_allowed(name: str, data: st.DataObject) -> None:
    rule = rule_of(Settings.model_fields[name])
    with pytest.raises(ConfigurationError) as refused:
        load_settings({NAMES[name]: data.draw(refused_by(rule))})
    lines = str(refused.value).splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"{NAMES[name]} is ")
    assert f"it must be {rule.allowed}." in lines[0]
    assert rule.example in refused.value.next_step


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_accepts_its_example_and_its_default(name: str) -> None:
    setting = Settings.model_fields[name]
    beside = {"C360_ALERT_SMTP_URL": "smtp://localhost"} if name == "alert_email_to" else {}
    beside |= {"C360_ALERT_EMAIL_TO": "a@example.org"} if name == "alert_smtp_url" else {}
    assert load_settings(beside | {NAMES[name]: rule_of(setting).example}) is not None
    assert load_settings({NAMES[name]: "  "}) == load_settings({})


@pytest.mark.parametrize("name", [name for name in SETTINGS if isinstance(rule_of(Settings.model_fields[name]), Whole)])
def test_both_ends_of_a_range_belong_to_it(name: str) -> None:
    rule = rule_of(Settings.model_fields[name])
    assert isinstance(rule, Whole)
    for end in (rule.least, rule.most):
        assert getattr(load_settings({NAMES[name]: str(end)}), name) == end


def test_the_bad_values_that_were_accepted_once_are_refused_together() -> None:
    bad = {
        "C360_REPORTING_CURRENCY": "eur",
        "C360_MONITOR_SECONDS": "-5",
        "C360_RUN_STUCK_MINUTES": "-1",
        "C360_ALERT_WEBHOOK_SEVERITY": "loud",
    }
    with pytest.raises(ConfigurationError) as refused:
        load_settings(bad)
    assert str(refused.value).splitlines() == [
        "4 settings do not fit:",
        "C360_REPORTING_CURRENCY is 'eur'; it must be an ISO 4217 code of docs/feeds.md in capitals, such as EUR. "
        "Did you mean EUR?",
        "C360_MONITOR_SECONDS is '-5'; it must be a whole number from 1 to 3,600.",
        "C360_RUN_STUCK_MINUTES is '-1'; it must be a whole number from 1 to 525,600.",
        "C360_ALERT_WEBHOOK_SEVERITY is 'loud'; it must be one of info, warning, critical.",
    ]
    assert refused.value.next_step
    for name, text in bad.items():
        with pytest.raises(ConfigurationError, match=f"^{name} is '{text}'"):
            load_settings({name: text})


@given(st.lists(st.sampled_from(SETTINGS), min_size=2, unique=True), st.data())
def test_all_bad_values_are_reported_at_once(names: list[str], data: st.DataObject) -> None:
    bad = {NAMES[name]: data.draw(refused_by(rule_of(Settings.model_fields[name]))) for name in names}
    with pytest.raises(ConfigurationError) as refused:
        load_settings(bad)
    first, *lines = str(refused.value).splitlines()
    assert {line.split()[0] for line in lines} == bad.keys()
    assert first == f"{len(bad)} settings do not fit:"


def test_a_command_refuses_bad_values_and_warns_of_misspelled_variables(tmp_path: Path) -> None:
    own = {"C360_HOME": str(tmp_path), "C360_MONITOR_SECONDS": "-5", "C360_MONITOR_SECOND": "7", "COLUMNS": "200"}
    command = Path(sys.executable).with_name("c360")
    ended = subprocess.run([command, "status", "--json"], env=own, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert "C360_MONITOR_SECOND is not a setting and has no effect. Did you mean C360_MONITOR_SECONDS?" in ended.stderr
    assert "C360_MONITOR_SECONDS is '-5'; it must be a whole number from 1 to 3,600." in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("name", "start", "end"),
    [
        ("C360_WAREHOUSE_URL", "postgresql://shop:", "@db.example.org:port/customer360"),
        ("C360_WAREHOUSE_URL", "postgres:shop:", "@db.example.org/customer360"),
        ("C360_WAREHOUSE_URL", "postgresql://db.example.org?password=", ""),
        ("C360_ALERT_SMTP_URL", "http://mail:", "@mail.example.org"),
        ("C360_ALERT_WEBHOOK_URL", "ftp://hooks.example.org/services/", ""),
        ("C360_ALERT_WEBHOOK_URL", "", ""),
        ("C360_LANDING", "s4://key:", "@bucket/landing"),
        ("C360_AIRFLOW_URL", "https://admin:", "@host:port"),
    ],
)
@given(secret=st.text("abcXYZ0189/?#@:%+=", min_size=8, max_size=20).map("hunter2{}hunter2".format))
def test_no_secret_of_a_refused_value_is_shown(name: str, start: str, end: str, secret: str) -> None:
    refusal = refusal_of({name: f"{start}{secret}{end}"})
    if refusal is None:
        reject()  # a ? or / of the secret made a URL of it that can be read
    assert "hunter2" not in f"{refusal} {refusal.next_step}"
    assert refusal.__cause__ is None


def test_no_secret_stands_in_the_repr_of_settings() -> None:
    text = repr(
        Settings(
            warehouse_url="postgresql://shop:hunter2@db.example.org/shop",  # pragma: allowlist secret
            alert_webhook_url="https://hooks.example.org/hunter2",
            alert_smtp_url="smtp://mail:hunter2@mail.example.org",  # pragma: allowlist secret
            alert_email_to="oncall@example.org",
        )
    )
    assert "hunter2" not in text
    assert "monitor_seconds=20" in text


def test_a_refused_url_still_shows_its_host() -> None:
    # pragma: allowlist nextline secret
    assert masked_url("postgresql://shop:secret@db.example.org:5432/") == "'postgresql://db.example.org/…'"


def test_a_refused_mail_address_is_not_shown() -> None:
    with pytest.raises(ConfigurationError) as refused:
        load_settings({"C360_ALERT_EMAIL_FROM": "ann.smith@example.org, ben@ example.org"})
    assert "ann.smith" not in str(refused.value)
    assert "Entry 2 does not fit." in str(refused.value)


def test_mail_needs_a_server_and_a_receiver() -> None:
    for given_alone in ({"C360_ALERT_SMTP_URL": "smtp://localhost"}, {"C360_ALERT_EMAIL_TO": "a@example.org"}):
        with pytest.raises(ConfigurationError, match=r"C360_ALERT_EMAIL_TO .* C360_ALERT_SMTP_URL is"):
            load_settings(given_alone)


def test_settings_survive_the_way_through_an_environment(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, email_drop_plus_tags=True, load_lease_seconds=0.2, landing="s3://bucket/landing")
    assert load_settings(settings.spelled_out()) == settings
    assert load_settings(Settings().spelled_out()) == Settings()


def test_the_constructor_does_not_read_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("C360_MONITOR_SECONDS", "7")
    assert Settings().monitor_seconds == 20
    assert load_settings().monitor_seconds == 7


def test_a_changed_copy_is_validated_too() -> None:
    with pytest.raises(ConfigurationError, match="C360_MONITOR_SECONDS is '0'"):
        Settings().with_(monitor_seconds=0)
    with pytest.raises(TypeError, match="monitor_second"):
        Settings().with_(monitor_second=1)


def test_a_misspelled_variable_is_warned_about_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("C360_ALERT_WEBHOOK", "https://example.org")
    get_settings.cache_clear()
    with caplog.at_level(logging.WARNING):
        get_settings()
        get_settings()
    get_settings.cache_clear()
    assert [record.message for record in caplog.records if "C360_ALERT_WEBHOOK " in record.message] == [
        "C360_ALERT_WEBHOOK is not a setting and has no effect. Did you mean C360_ALERT_WEBHOOK_URL?"
    ]


def test_variables_of_compose_and_of_drills_are_no_misspellings() -> None:
    assert unknown_variables({"C360_POSTGRES_PASSWORD": "x", "C360_KILL_AT": "y", "C360_HOME": "z", "PATH": "p"}) == []


def test_every_currency_of_the_contract_can_be_reported_in() -> None:
    for currency in CURRENCIES:
        assert load_settings({"C360_REPORTING_CURRENCY": currency}).reporting_currency == currency


def test_a_region_without_phones_is_one_that_the_phone_library_does_not_know() -> None:
    assert set(COUNTRIES) - set(phonenumbers.SUPPORTED_REGIONS) == WITHOUT_PHONES

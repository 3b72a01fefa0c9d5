"""Every setting of the product: one environment variable each, with its default, what it may hold, and its reason.

The fields of :class:`Settings` are the only place where a setting is declared: the field ``home`` is the variable
``C360_HOME``. ``docs/settings.md`` is generated from them and a test fails when the two differ.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from customer360.contract.feeds import COUNTRIES, CURRENCIES
from customer360.errors import ConfigurationError
from customer360.setting_rules import (
    File,
    FileToUse,
    Folder,
    Host,
    Landing,
    Matching,
    Number,
    OneOf,
    Rule,
    Url,
    Whole,
    YesNo,
    Zone,
    ZoneOrNone,
    domains,
    hosts_and_mail_domains,
    mail_addresses,
    nearest,
    objectives,
)

_PACKAGE = Path(__file__).resolve().parent
IS_CHECKOUT = (_PACKAGE.parents[1] / "dbt_project").is_dir()
PROJECT_ROOT = _PACKAGE.parents[1] if IS_CHECKOUT else _PACKAGE / "project"
"""Where DAGs, dbt project, docs and sources are: around the package in a checkout, inside it in a wheel."""
PREFIX = "C360_"
_SHIPPED_JUNK_LIST = PROJECT_ROOT / "plugins" / "customer360" / "identity" / "junk_identifiers.csv"
SEVERITIES = ("info", "warning", "critical")

# Variables of this prefix that are no settings of an installation: fault drills, who acts through the on-call page,
# the tests' servers, and what docker-compose.yml reads.
NOT_SETTINGS = frozenset(
    {
        "C360_ACTOR",
        "C360_BACKUP_FOLDER",
        "C360_BACKUP_SEAL_FOLDER",
        "C360_KILL_AT",
        "C360_LANDING_FOLDER",
        "C360_PAUSE_AT",
        "C360_PAUSE_FILE",
        "C360_POSTGRES_OPTIONS",
        "C360_POSTGRES_PASSWORD",
        "C360_POSTGRES_PORT",
        "C360_RECEIVE_HOOKS_FOLDER",
    }
)

_YEAR_MINUTES = 525_600
_WAREHOUSE = Url(("postgresql", "postgres"), "postgresql://user:password@host:5432/database", with_path=True)
_AIRFLOW = Url(("http", "https"), "https://airflow.example.org")
_WEBHOOK = Url(("https", "http"), "https://hooks.example.org/services/token")
_MAIL_SERVER = Url(("smtp", "smtps"), "smtp://user:password@mail.example.org:587")
# PostgreSQL cuts a name at 63 bytes, and Airflow's database is named after this one.
_DATABASE = Matching(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,50}", "up to 51 letters, digits, _ and -", "customer360")
_ROLE_PREFIX = Matching(r"[a-z_][a-z0-9_]{0,15}", "up to 16 of a-z, 0-9 and _, no digit first", "shop2_")
_CURRENCY = OneOf(CURRENCIES, "an ISO 4217 code of docs/feeds.md in capitals, such as EUR", "EUR")
# The uninhabited ones have no numbering plan: with them every number without a country code would be unreadable.
WITHOUT_PHONES = frozenset({"AQ", "BV", "GS", "HM", "PN", "TF", "UM"})
_REGION = OneOf(
    (region for region in COUNTRIES if region not in WITHOUT_PHONES),
    "an ISO 3166 code in capitals, such as DE, of a country with telephones",
    "DE",
)

_log = logging.getLogger(__name__)


def _setting(default: Any, doc: str, *, is_secret: bool = False) -> Any:
    """A field with its default; ``doc`` is its line in docs/settings.md. The repr of settings leaves out a secret."""
    return Field(default=default, description=doc, repr=not is_secret)


class Settings(BaseSettings):
    """The configuration of one installation.

    ``Settings(...)`` uses its arguments and the defaults; only :func:`load_settings` reads the environment.

    Raises:
        ConfigurationError: values do not fit; the message has one line for each.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid", hide_input_in_errors=True)

    home: Annotated[Path, Folder()] = _setting(
        PROJECT_ROOT / ".c360" if IS_CHECKOUT else Path.home() / ".customer360",
        "Folder that holds everything the product writes: the embedded server's data, landing zone, logs, secrets. "
        "Installed from a wheel, it is by default `~/.customer360`.",
    )
    warehouse_url: Annotated[str, _WAREHOUSE] = _setting(
        "",
        "URL of a PostgreSQL >= 15 of your own (postgresql://user:password@host:port/database), as a role with "
        "CREATEROLE and CREATEDB that owns the database. Only the set-up and `c360 access` need user and password. "
        "Empty: the embedded server.",
        is_secret=True,
    )
    role_prefix: Annotated[str, _ROLE_PREFIX] = _setting(
        "c360_",
        "What the names of this installation's roles and of Airflow's database begin with in the server; another for "
        "each installation on one server.",
    )
    database: Annotated[str, _DATABASE] = _setting(
        "customer360", "Name of the warehouse's database in the embedded server."
    )
    landing: Annotated[str, Landing()] = _setting(
        "",
        "The landing zone: a folder, or an fsspec URL such as s3://bucket/landing. Empty: landing/ in C360_HOME.",
    )
    isolate: Annotated[bool, YesNo()] = _setting(
        True,
        "Whether a build that fails on data finds the rows, quarantines them and publishes the rest. No: it stops.",
    )
    business_timezone: Annotated[str, Zone()] = _setting(
        "UTC",
        "IANA time zone that turns a time into a business date. A change rebuilds all tables.",
    )
    reporting_currency: Annotated[str, _CURRENCY] = _setting(
        "USD",
        "ISO 4217 code that every published amount is converted to. A change rebuilds all tables.",
    )
    parquet_timezone: Annotated[str, ZoneOrNone()] = _setting(
        "",
        "IANA time zone of Parquet times that name none (INT96, timestamps without a zone). It is recorded with each "
        "batch, and a replay uses the recorded one. Empty: such files are refused, unless Spark wrote their INT96 "
        "times, which are UTC.",
    )
    phone_region: Annotated[str, _REGION] = _setting(
        "US", "ISO 3166 region assumed for phone numbers without a country code."
    )
    email_drop_plus_tags: Annotated[bool, YesNo()] = _setting(
        False,
        "Whether ann+news@ and ann@ are one address. No: not every provider has plus-tags.",
    )
    email_dotless_domains: Annotated[str, domains()] = _setting(
        "",
        "Mail domains, with commas between them, that ignore dots before the @ (gmail.com does).",
    )
    identity_max_customer_ids: Annotated[int, Whole(1, 1_000_000)] = _setting(
        1,
        "K: an e-mail address or phone linked to more than this many customer_ids of one source is shared and joins no "
        "customers.",
    )
    identity_max_phone_people: Annotated[int, Whole(1, 1_000_000)] = _setting(
        1,
        "The same for a phone of people with different e-mail addresses and no customer_id; the greater limit counts.",
    )
    identity_max_emails: Annotated[int, Whole(1, 1_000_000)] = _setting(
        4,
        "A customer_id seen with more e-mail addresses than this is shared and joins no customers.",
    )
    identity_max_phones: Annotated[int, Whole(1, 1_000_000)] = _setting(
        4,
        "A customer_id or e-mail address seen with more phones than this is shared and joins no customers.",
    )
    identity_max_a_day: Annotated[int, Whole(1, 1_000_000)] = _setting(
        2,
        "The same for the e-mail addresses or the phones of one day (UTC).",
    )
    identity_max_device_people: Annotated[int, Whole(1, 1_000_000)] = _setting(
        3,
        "A device on which more people than this were seen (a till, a kiosk) attributes nothing to a customer.",
    )
    identity_device_days: Annotated[int, Whole(0, 36_500)] = _setting(
        30,
        "Days before a person is first known on a device whose events are attributed to that person.",
    )
    identity_junk_list: Annotated[str, File(str(_SHIPPED_JUNK_LIST))] = _setting(
        "",
        "A CSV file of placeholder identifiers that never join anyone. Empty: the list that comes with the product.",
    )

    airflow_host: Annotated[str, Host()] = _setting(
        "127.0.0.1", "Address that Airflow's API server and user interface listen on."
    )
    airflow_port: Annotated[int, Whole(0, 65_535)] = _setting(
        0, "Port of Airflow's API server. 0: a free one, chosen once and kept for the installation."
    )
    airflow_url: Annotated[str, _AIRFLOW] = _setting(
        "",
        "URL at which Airflow's other processes and the commands reach the API server. "
        "Empty: http://127.0.0.1 and the port.",
    )

    dags: Annotated[str, Folder(must_exist=True)] = _setting(
        "", "Folder of the DAG files that Airflow reads. Empty: dags/ of the product."
    )

    monitor_seconds: Annotated[int, Whole(1, 3_600)] = _setting(20, "Seconds between two checks of the monitor.")
    metrics_host: Annotated[str, Host()] = _setting(
        "127.0.0.1", "Address that the monitor's Prometheus counters are served on."
    )
    metrics_port: Annotated[int, Whole(0, 65_535)] = _setting(
        0, "Port of the counters. 0: a free one, which `c360 up` prints and C360_HOME/metrics.url holds."
    )
    run_stuck_minutes: Annotated[int, Whole(1, _YEAR_MINUTES)] = _setting(
        30, "A run that holds the writer lock for longer than this opens an incident."
    )
    files_waiting_minutes: Annotated[int, Whole(1, _YEAR_MINUTES)] = _setting(
        15, "A finished file that is not read for longer than this opens an incident."
    )
    disk_free_mb: Annotated[int, Whole(0, 1_000_000_000)] = _setting(
        2000, "Less free space than this on the disk of C360_HOME, in MB, opens an incident."
    )
    freshness_objectives: Annotated[str, objectives()] = _setting(
        "",
        "Objectives that differ from the defaults in ops.freshness_objectives, in minutes, with commas between them: "
        "orders.landing=240,customer_360.publication=5.",
    )
    quarantine_alert_rows: Annotated[int, Whole(0, 1_000_000_000)] = _setting(
        20, "Fewer rows of a feed in quarantine than this open no incident."
    )
    quarantine_alert_share: Annotated[float, Number(0, 1)] = _setting(
        0.02, "Quarantined rows that are a smaller share than this of the rows landed within a day open no incident."
    )
    id_conflict_alert_records: Annotated[int, Whole(0, 1_000_000_000)] = _setting(
        1,
        "Fewer records of a feed whose id stands for two records (has_id_conflict) open no incident.",
    )
    alert_webhook_url: Annotated[str, _WEBHOOK] = _setting(
        "", "Slack-compatible webhook for alerts. Empty: none.", is_secret=True
    )
    alert_webhook_severity: Annotated[str, OneOf(SEVERITIES)] = _setting(
        "warning", "Lowest severity sent to the webhook: info, warning or critical."
    )
    alert_smtp_url: Annotated[str, _MAIL_SERVER] = _setting(
        "",
        "Mail server for alerts, smtp://user:password@host:port or smtps://. Empty: none.",
        is_secret=True,
    )
    alert_email_from: Annotated[str, mail_addresses()] = _setting("customer360@localhost", "Sender of the alert mails.")
    alert_email_to: Annotated[str, mail_addresses()] = _setting(
        "", "Receivers of the alert mails, with commas between them."
    )
    alert_email_severity: Annotated[str, OneOf(SEVERITIES)] = _setting(
        "critical", "Lowest severity sent by mail: info, warning or critical."
    )
    alert_group_seconds: Annotated[int, Whole(0, 86_400)] = _setting(
        60,
        "After a message to a channel, alerts that are not critical are collected for this long and sent as one.",
    )

    session_silence_minutes: Annotated[int, Whole(1, 1440)] = _setting(
        30,
        "Web events without a session of the vendor's: after so many minutes without an event of the device the next "
        "session begins. A change rebuilds all tables.",
    )
    session_campaign_cut: Annotated[bool, YesNo()] = _setting(
        True,
        "Web events without a session of the vendor's: an event of another campaign than the last one begins the next "
        "session. A change rebuilds all tables.",
    )
    bot_session_events: Annotated[int, Whole(10, 1_000_000)] = _setting(
        1000,
        "A session that is built of more web events than this is a program's and is left out. A change rebuilds all "
        "tables.",
    )
    internal_traffic: Annotated[str, hosts_and_mail_domains()] = _setting(
        "",
        "The shop's own traffic, left out of the sessions that are built from web events: hosts of pages and, behind "
        "@, domains of visitors' e-mail addresses, with commas between them. A change rebuilds all tables.",
    )

    history_months: Annotated[int, Whole(0, 600)] = _setting(
        24,
        "Months before the first daily pass for which `c360 history reconstruct` works out tiers, stages and the "
        "ladder from the records. 0: none.",
    )
    airflow_history_days: Annotated[int, Whole(0, 36_500)] = _setting(
        30,
        "The DAG `tidy_airflow` removes the records and task logs of Airflow's runs that are older than this. The "
        "product's own records of runs, batches and gates stay. 0: nothing is removed.",
    )
    receive: Annotated[bool, YesNo()] = _setting(
        False, "Whether `c360 up` starts the receiver of webhooks, and on-call is alerted while it is silent."
    )
    receive_host: Annotated[str, Host()] = _setting(
        "127.0.0.1", "Address that the receiver of webhooks listens on; TLS ends at a proxy in front of it."
    )
    receive_port: Annotated[int, Whole(0, 65_535)] = _setting(
        0, "Port of the receiver. 0: a free one, chosen once and kept for the installation."
    )
    receive_folder: Annotated[str, Folder(or_empty=True)] = _setting(
        "",
        "Folder of the receiver's spool, on a disk that outlives the process and is no network share. Empty: receive/ "
        "in C360_HOME.",
    )
    receive_hooks: Annotated[str, Folder(or_empty=True)] = _setting(
        "",
        "Folder with one file per hook, named after its source or feed, whose lines are secrets of that hook. Empty: "
        "hooks/ in the receiver's folder.",
    )
    receive_body_mb: Annotated[int, Whole(1, 16)] = _setting(
        5, "A request with a larger body than this, in MB, is answered with 413."
    )
    receive_file_seconds: Annotated[float, Number(0, 86_400)] = _setting(
        2.0, "Events of a hook land in one file at most in so many seconds, and when its last file was loaded."
    )
    receive_file_events: Annotated[int, Whole(1, 1_000_000)] = _setting(
        5_000, "So many events of a hook land at once, whatever became of its last file; a file holds no more."
    )
    receive_spool_mb: Annotated[int, Whole(1, 100_000_000)] = _setting(
        2_000, "While more than this waits in the spool, in MB, requests are answered with 429."
    )
    receive_duplicate_hours: Annotated[int, Whole(1, 8_760)] = _setting(
        72, "A delivery that comes again within so many hours is acknowledged and counted, and does not land again."
    )
    receive_replay_seconds: Annotated[int, Whole(1, 86_400)] = _setting(
        300, "A request whose signed time is further from now than this is answered with 401."
    )

    landed_file_days: Annotated[int, Whole(0, 36_500)] = _setting(
        90, "`c360 tidy` removes landed files older than this whose batch is published."
    )
    raw_retention_days: Annotated[int, Whole(0, 36_500)] = _setting(
        0,
        "`c360 tidy` removes rows known for longer than this from raw, with the texts that identify people; their "
        "figures in the marts are frozen. 0: raw is kept.",
    )
    backup_url: Annotated[str, Landing()] = _setting(
        "",
        "Where backups go: a folder on another disk, or an fsspec URL (s3://bucket/backups). Empty: none are made.",
    )
    backup_key_file: Annotated[str, FileToUse()] = _setting(
        "",
        "The file with the key of the backups, which `c360 backup new-key` writes. Keep a copy of it away from this "
        "machine and from the backups. With the public key alone (age1…) backups can be made and not be read.",
    )
    backup_hours: Annotated[int, Whole(0, 8_760)] = _setting(
        24,
        "With C360_BACKUP_URL set, a backup is made when the last one is older than this, and an incident opens when "
        "it is half as old again. 0: backups are made by hand alone.",
    )
    backup_keep: Annotated[int, Whole(0, 10_000)] = _setting(
        14, "How many of the newest backups stay; older ones are removed after each good backup. 0: all stay."
    )
    backup_landing: Annotated[bool, YesNo()] = _setting(
        True, "Whether backups hold the landed files too. An object store is never copied: it keeps its own."
    )
    gate_timeout_seconds: Annotated[int, Whole(1, 86_400)] = _setting(
        900,
        "A query of a gate that takes longer is cancelled; its expectation counts as failed, and nothing is published.",
    )
    reader_connections: Annotated[int, Whole(1, 10_000)] = _setting(
        10, "How many connections each reader's log-in may have open at once."
    )
    reader_statement_seconds: Annotated[int, Whole(0, 86_400)] = _setting(
        1800, "A reader's query that runs for longer is ended."
    )
    reader_idle_transaction_seconds: Annotated[int, Whole(0, 86_400)] = _setting(
        600, "A reader's transaction that idles for longer is ended."
    )
    reader_idle_seconds: Annotated[int, Whole(0, 864_000)] = _setting(
        43_200, "A reader's connection that idles for longer is ended."
    )
    reader_temp_file_mb: Annotated[int, Whole(1, 100_000_000)] = _setting(
        4096,
        "How much disk a reader's session may use for sorting and joining, in MB. A server of your own must let the "
        "set-up say so: grant set on parameter temp_file_limit to its role.",
    )
    writer_lease_seconds: Annotated[float, Number(0.1, 86_400)] = _setting(
        30.0,
        "A writer (build, daily pass, release, …) without a heartbeat for so long is taken to be dead, and another "
        "takes over. One that ended on the same machine is noticed at once.",
    )
    source_memory_mb: Annotated[int, Whole(64, 1_000_000)] = _setting(
        1024,
        "Memory in MB that the conversion of a vendor's export may use; beyond that it spills to C360_HOME.",
    )
    load_lease_seconds: Annotated[float, Number(0.1, 86_400)] = _setting(
        300.0,
        "A loader without progress for this long (a paused machine) loses its batch to another loader.",
    )

    @property
    def landing_url(self) -> str:
        """The landing zone as a path or URL, with the default filled in."""
        return self.landing or str(self.home / "landing")

    @property
    def is_embedded(self) -> bool:
        """Whether the warehouse is the server that this project starts and stops itself."""
        return not self.warehouse_url

    @property
    def logs(self) -> Path:
        """Folder of the logs of every process that the product starts."""
        return self.home / "logs"

    def today(self) -> date:
        """The present business date, in ``business_timezone``."""
        return datetime.now(ZoneInfo(self.business_timezone)).date()

    def with_(self, **changes: Any) -> Settings:
        """A copy with some fields changed.

        Raises:
            ConfigurationError: a change does not fit.
        """
        return Settings(**dict(self) | changes)

    def spelled_out(self) -> dict[str, str]:
        """The environment from which :func:`load_settings` reads these same settings."""
        return {variable(name): str(value) for name, value in self}

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as failure:
            # Without its cause, which holds the values and with them passwords.
            raise _refusal(failure) from None

    @field_validator("home")
    @classmethod
    def _absolute(cls, home: Path) -> Path:
        return home.resolve()

    @field_validator("alert_email_to")
    @classmethod
    def _mail_has_a_server_and_receivers(cls, receivers: str, info: ValidationInfo) -> str:
        server = info.data.get("alert_smtp_url")
        if server and not receivers:
            raise ValueError("C360_ALERT_SMTP_URL is set, and without a receiver no alert would be mailed.")
        if receivers and server == "":
            raise ValueError("C360_ALERT_SMTP_URL is empty, and without a server no alert would be mailed.")
        return receivers

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Pydantic's hook: only the arguments, so that ``Settings(home=…)`` is the same in every environment."""
        return (init_settings,)


def variable(name: str) -> str:
    """The environment variable of a field of Settings."""
    return f"{PREFIX}{name.upper()}"


def rule_of(setting: FieldInfo) -> Rule:
    """What a field of Settings may hold."""
    return next(found for found in setting.metadata if isinstance(found, Rule))


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read every setting from the environment; an empty variable is an unset one.

    Raises:
        ConfigurationError: values do not fit; the message has one line for each: the variable, its value (masked where
            it may be a secret or a mail address), and what is allowed.
    """
    source = EnvSettingsSource(Settings)
    given = os.environ if environ is None else environ
    source.env_vars = {
        name.lower(): text.strip() for name, text in given.items() if name.startswith(PREFIX) and text.strip()
    }
    return Settings(**source())


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """One sentence for each variable that begins like a setting and is none: most likely a misspelling."""
    known = {variable(name) for name in Settings.model_fields}
    return [
        f"{name} is not a setting and has no effect. {_nearest_setting(name)}".strip()
        for name in sorted(environ)
        if name.startswith(PREFIX) and name not in NOT_SETTINGS and name not in known
    ]


def _nearest_setting(name: str) -> str:
    question = nearest(name.removeprefix(PREFIX), [field.upper() for field in Settings.model_fields])
    return question.replace("mean ", f"mean {PREFIX}")


@cache
def get_settings() -> Settings:
    """The settings of this process, read once; warns of variables that are none."""
    for sentence in unknown_variables(os.environ):
        _log.warning("%s", sentence)
    return load_settings()


def _refusal(failure: ValidationError) -> ConfigurationError:
    """One line for each setting that does not fit."""
    refused = {str(error["loc"][0]): error for error in failure.errors(include_url=False)}
    unknown = refused.keys() - Settings.model_fields.keys()
    if unknown:
        raise TypeError(f"Settings has no field {', '.join(sorted(unknown))}")
    lines = []
    for name, error in refused.items():
        rule = rule_of(Settings.model_fields[name])
        hint = str(error["ctx"]["error"]) if error["type"] == "value_error" else ""
        lines.append(
            f"{variable(name)} is {rule.shown(str(error['input']))}; it must be {rule.allowed}. {hint}".strip()
        )
    if len(lines) > 1:
        return ConfigurationError(
            f"{len(lines)} settings do not fit:\n" + "\n".join(lines),
            "Correct them, or unset them for their defaults (docs/settings.md).",
        )
    (name,) = refused
    setting = Settings.model_fields[name]
    return ConfigurationError(
        lines[0],
        f"Set it to a value such as {rule_of(setting).example}, or unset it for its default"
        + (f", {setting.default}." if str(setting.default) else "."),
    )

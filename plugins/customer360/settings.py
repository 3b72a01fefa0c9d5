"""Every setting of the product: one environment variable each, with its default and its reason.

The fields of :class:`Settings` are the only place where a setting is declared; ``docs/settings.md`` is generated
from them and a test fails when the two differ.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from customer360.errors import ConfigurationError

PROJECT_ROOT = Path(__file__).resolve().parents[2]


def _setting(env: str, default: Any, doc: str) -> Any:
    """A dataclass field that is read from ``env``; ``doc`` is its line in docs/settings.md."""
    return field(default=default, metadata={"env": env, "doc": doc})


@dataclass(frozen=True)
class Settings:
    """The configuration of one installation. Build it with :func:`load_settings`."""

    home: Path = _setting(
        "C360_HOME",
        PROJECT_ROOT / ".c360",
        "Folder that holds everything the product writes: the embedded server's data, landing zone, logs, secrets.",
    )
    warehouse_url: str = _setting(
        "C360_WAREHOUSE_URL",
        "",
        "URL of a PostgreSQL >= 15 of your own, as a role that may create roles and schemas "
        "(postgresql://user:password@host:port/database). Empty: the embedded server.",
    )
    database: str = _setting("C360_DATABASE", "customer360", "Name of the warehouse's database in the embedded server.")
    landing: str = _setting(
        "C360_LANDING",
        "",
        "The landing zone: a folder, or an fsspec URL such as s3://bucket/landing. Empty: landing/ in C360_HOME.",
    )
    business_timezone: str = _setting(
        "C360_BUSINESS_TIMEZONE",
        "UTC",
        "IANA time zone that turns a time into a business date. Another one builds all tables anew.",
    )
    reporting_currency: str = _setting(
        "C360_REPORTING_CURRENCY",
        "USD",
        "ISO 4217 code that every published amount is converted to. Another one builds all tables anew.",
    )
    parquet_timezone: str = _setting(
        "C360_PARQUET_TIMEZONE",
        "",
        "IANA time zone of Parquet times that name none (INT96, timestamps without a zone). It is recorded with each "
        "batch, and a replay uses the recorded one. Empty: such files are refused, unless Spark wrote their INT96 "
        "times, which are UTC.",
    )
    phone_region: str = _setting(
        "C360_PHONE_REGION", "US", "ISO 3166 region assumed for phone numbers without a country code."
    )
    email_drop_plus_tags: bool = _setting(
        "C360_EMAIL_DROP_PLUS_TAGS",
        False,
        "Whether ann+news@ and ann@ are one address. No: not every provider has plus-tags.",
    )
    email_dotless_domains: str = _setting(
        "C360_EMAIL_DOTLESS_DOMAINS",
        "",
        "Mail domains, with commas between them, that ignore dots before the @ (gmail.com does).",
    )
    identity_max_customer_ids: int = _setting(
        "C360_IDENTITY_MAX_CUSTOMER_IDS",
        1,
        "K: an e-mail address or phone linked to more than this many customer_ids is shared and joins nobody.",
    )
    identity_max_phone_people: int = _setting(
        "C360_IDENTITY_MAX_PHONE_PEOPLE",
        1,
        "The same for a phone and people who have unlike e-mail addresses, no customer_id; the greater limit counts.",
    )
    identity_max_device_people: int = _setting(
        "C360_IDENTITY_MAX_DEVICE_PEOPLE",
        20,
        "A device on which more people than this were seen (a till, a kiosk) attributes nothing to anybody.",
    )
    identity_device_days: int = _setting(
        "C360_IDENTITY_DEVICE_DAYS",
        30,
        "For how many days before a person is first known on a device what happened on it is taken to be theirs.",
    )
    identity_junk_list: str = _setting(
        "C360_IDENTITY_JUNK_LIST",
        "",
        "A CSV file of placeholder identifiers that never join anyone. Empty: the list that comes with the product.",
    )

    airflow_host: str = _setting(
        "C360_AIRFLOW_HOST", "127.0.0.1", "Address that Airflow's API server and user interface listen on."
    )
    airflow_port: int = _setting(
        "C360_AIRFLOW_PORT", 0, "Its port. 0: a free one, chosen once and kept for the installation."
    )
    airflow_url: str = _setting(
        "C360_AIRFLOW_URL",
        "",
        "How Airflow's other processes and the commands reach it. Empty: http://127.0.0.1 and the port.",
    )

    dags: str = _setting("C360_DAGS", "", "Folder of the DAG files that Airflow reads. Empty: dags/ of the product.")

    monitor_seconds: int = _setting("C360_MONITOR_SECONDS", 20, "Seconds between two looks of the monitor.")
    metrics_host: str = _setting(
        "C360_METRICS_HOST", "127.0.0.1", "Address that the monitor's Prometheus counters are served on."
    )
    metrics_port: int = _setting(
        "C360_METRICS_PORT", 0, "Its port. 0: a free one, which `c360 up` prints and C360_HOME/metrics.url holds."
    )
    run_stuck_minutes: int = _setting(
        "C360_RUN_STUCK_MINUTES", 30, "A run that writes for longer than this opens an incident."
    )
    files_waiting_minutes: int = _setting(
        "C360_FILES_WAITING_MINUTES", 15, "A finished file that lies unread for longer than this opens an incident."
    )
    disk_free_mb: int = _setting(
        "C360_DISK_FREE_MB", 2000, "Less room than this on the disk of C360_HOME, in MB, opens an incident."
    )
    freshness_objectives: str = _setting(
        "C360_FRESHNESS_OBJECTIVES",
        "",
        "Objectives that differ from the defaults in ops.freshness_objectives, in minutes, with commas between them: "
        "orders.landing=240,customer_360.publication=5.",
    )
    quarantine_alert_rows: int = _setting(
        "C360_QUARANTINE_ALERT_ROWS", 20, "Fewer rows of a feed in quarantine than this open no incident."
    )
    quarantine_alert_share: float = _setting(
        "C360_QUARANTINE_ALERT_SHARE", 0.02, "Nor does a smaller share of the rows that landed within a day."
    )
    alert_webhook_url: str = _setting("C360_ALERT_WEBHOOK_URL", "", "Slack-compatible webhook for alerts. Empty: none.")
    alert_webhook_severity: str = _setting(
        "C360_ALERT_WEBHOOK_SEVERITY", "warning", "Least severity sent there: info, warning or critical."
    )
    alert_smtp_url: str = _setting(
        "C360_ALERT_SMTP_URL", "", "Mail server for alerts, smtp://user:password@host:port or smtps://. Empty: none."
    )
    alert_email_from: str = _setting("C360_ALERT_EMAIL_FROM", "customer360@localhost", "Sender of the alert mails.")
    alert_email_to: str = _setting("C360_ALERT_EMAIL_TO", "", "Receivers of the alert mails, with commas between them.")
    alert_email_severity: str = _setting(
        "C360_ALERT_EMAIL_SEVERITY", "critical", "Least severity sent by mail: info, warning or critical."
    )
    alert_group_seconds: int = _setting(
        "C360_ALERT_GROUP_SECONDS",
        60,
        "After a message to a channel, what is not critical is gathered for this long and sent as one.",
    )

    landed_file_days: int = _setting(
        "C360_LANDED_FILE_DAYS", 90, "`c360 tidy` removes landed files older than this whose batch is published."
    )
    raw_retention_days: int = _setting(
        "C360_RAW_RETENTION_DAYS",
        0,
        "`c360 tidy` removes from raw what was known longer ago than this, with the texts that identify people; what "
        "marts say of it is frozen. 0: raw is kept.",
    )
    gate_timeout_seconds: int = _setting(
        "C360_GATE_TIMEOUT_SECONDS",
        900,
        "A query of a gate that takes longer is ended; the expectation could not judge, and nothing is published.",
    )
    load_lease_seconds: float = _setting(
        "C360_LOAD_LEASE_SECONDS",
        300.0,
        "A loader that makes no progress for so long (a paused machine) is cut off, and another takes its batch over.",
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
        """A copy with some fields changed."""
        return replace(self, **changes)


def load_settings(environ: dict[str, str] | None = None) -> Settings:
    """Read every setting from the environment.

    Raises:
        ConfigurationError: a value does not fit; the message names the variable, the value's rule and the next step.
    """
    source = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for setting in fields(Settings):
        text = source.get(setting.metadata["env"], "").strip()
        if text:
            values[setting.name] = _parse(setting.metadata["env"], text, setting.default)
    settings = Settings(**values)
    settings = replace(settings, home=settings.home.expanduser().resolve())
    try:
        ZoneInfo(settings.business_timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigurationError(
            f"C360_BUSINESS_TIMEZONE is {settings.business_timezone!r}, which is not an IANA time zone.",
            "Set it to a name such as Europe/Berlin, or unset it for UTC.",
        ) from error
    try:
        ZoneInfo(settings.parquet_timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ConfigurationError(
            f"C360_PARQUET_TIMEZONE is {settings.parquet_timezone!r}, which is not an IANA time zone.",
            "Set it to a name such as UTC or Europe/Berlin, or unset it.",
        ) from error
    if len(settings.reporting_currency) != 3 or not settings.reporting_currency.isalpha():
        raise ConfigurationError(
            f"C360_REPORTING_CURRENCY is {settings.reporting_currency!r}, which is not a three-letter ISO 4217 code.",
            "Set it to a code such as EUR, or unset it for USD.",
        )
    return settings


def _parse(env: str, text: str, default: Any) -> Any:
    kind = type(default)
    try:
        if isinstance(default, Path):
            return Path(text)
        if kind is bool:
            lowered = text.lower()
            if lowered not in {"1", "0", "true", "false", "yes", "no"}:
                raise ValueError
            return lowered in {"1", "true", "yes"}
        return kind(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{env} is {text!r}, which is not a valid {kind.__name__}.", f"Correct it, or unset it for {default!r}."
        ) from error


@cache
def get_settings() -> Settings:
    """The settings of this process, read once."""
    return load_settings()

"""How Airflow is configured here: everything by environment variables, nothing in an airflow.cfg.

One dictionary serves the processes that ``c360 up`` starts, the command line of Airflow, and the tests. Each value
that differs from Airflow's default has its reason beside it. The secrets are generated once and kept in C360_HOME
with mode 0600: with no airflow.cfg and no secret in the environment every process would make up its own and refuse
the others' tokens.
"""

from __future__ import annotations

import json
import os
import secrets
from base64 import urlsafe_b64encode
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from customer360.settings import PROJECT_ROOT, Settings
from customer360.stack.lineage import events_file

DAGS = PROJECT_ROOT / "dags"
PLUGINS = PROJECT_ROOT / "plugins"
ADMIN = "admin"

# How many tasks may run at once. Each is a warm process forked from the scheduler; more of them warm up slower, and
# the pipeline has one writer anyway.
PARALLELISM = 4


@dataclass(frozen=True)
class AirflowSecrets:
    """What Airflow's processes share, and the password of its administrator."""

    jwt_secret: str
    api_secret_key: str
    fernet_key: str
    admin_password: str


def airflow_home(settings: Settings) -> Path:
    """AIRFLOW_HOME: logs of tasks, secrets and process records."""
    return settings.home / "airflow"


def dags_folder(settings: Settings) -> Path:
    """The folder of the DAG files."""
    return Path(settings.dags) if settings.dags else DAGS


def airflow_secrets(settings: Settings) -> AirflowSecrets:
    """The installation's secrets; generated at the first call."""
    path = airflow_home(settings) / "secrets.json"
    if path.exists():
        stored = json.loads(path.read_text())
        if all(name.name in stored for name in fields(AirflowSecrets)):
            return AirflowSecrets(**{name.name: stored[name.name] for name in fields(AirflowSecrets)})
    made = AirflowSecrets(
        jwt_secret=secrets.token_urlsafe(48),
        api_secret_key=secrets.token_urlsafe(32),
        fernet_key=urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        admin_password=secrets.token_urlsafe(12),
    )
    write_private(path, json.dumps(asdict(made), indent=1))
    return made


def end_sessions(settings: Settings, *, new_password: str = "") -> AirflowSecrets:
    """Make another signing key, so that no session outlives the next start of Airflow; and another admin's password."""
    before = airflow_secrets(settings)
    made = replace(before, jwt_secret=secrets.token_urlsafe(48), admin_password=new_password or before.admin_password)
    write_private(airflow_home(settings) / "secrets.json", json.dumps(asdict(made), indent=1))
    return made


def _simple_users(settings: Settings) -> str:
    """The users as Airflow's simple auth manager wants them: name:role, with commas between them."""
    path = airflow_home(settings) / "users.json"
    stored: dict[str, str] = {ADMIN: "admin"} | (json.loads(path.read_text()) if path.exists() else {})
    return ",".join(f"{name}:{'op' if role == 'operator' else role}" for name, role in stored.items())


def write_private(path: Path, text: str) -> None:
    """Replace a file at once by one that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    partial.write_text(text)
    partial.replace(path)


def address(settings: Settings, port: int) -> str:
    """The URL at which commands and Airflow's processes reach the API server."""
    return (settings.airflow_url or f"http://127.0.0.1:{port}").rstrip("/")


def environment(settings: Settings, database_url: str, port: int) -> dict[str, str]:
    """The environment of every Airflow process of this installation.

    ``database_url`` is Airflow's own database (:func:`customer360.warehouse.create_airflow_database`), ``port`` where
    its API server listens. The caller's own ``AIRFLOW__SECTION__KEY`` variables survive where this
    project does not set that key (SMTP, remote logs, …).
    """
    return product_environment(settings) | _airflow(settings, database_url, port)


def product_environment(settings: Settings) -> dict[str, str]:
    """The environment of a process of this installation that is no part of Airflow."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return inherited | _product(settings)


def _product(settings: Settings) -> dict[str, str]:
    """The product's own settings, spelled out, so that a process started from any folder sees the same."""
    return settings.spelled_out() | {
        # A telemetry host that does not answer would hold up a build.
        "DO_NOT_TRACK": "1",
        "DBT_SEND_ANONYMOUS_USAGE_STATS": "False",
        "GX_ANALYTICS_ENABLED": "False",
        # A thread pool that is opened before the scheduler forks its workers does not work in them.
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def _airflow(settings: Settings, database_url: str, port: int) -> dict[str, str]:
    own = airflow_secrets(settings)
    home = airflow_home(settings)
    values = {
        "core": {
            "dags_folder": str(dags_folder(settings)),
            "plugins_folder": str(PLUGINS),
            "executor": "LocalExecutor",
            "parallelism": str(PARALLELISM),
            "load_examples": "False",
            "dags_are_paused_at_creation": "False",
            # Default 30: a busy machine may take longer to import Cosmos than that.
            "dagbag_import_timeout": "120",
            "fernet_key": own.fernet_key,
            "execution_api_server_url": f"{address(settings, port)}/execution/",
            "simple_auth_manager_users": _simple_users(settings),
            "simple_auth_manager_passwords_file": str(home / "passwords.json"),
            "simple_auth_manager_all_admins": "False",
        },
        "database": {
            "sql_alchemy_conn": database_url.replace("postgresql://", "postgresql+psycopg2://", 1),
            "sql_alchemy_conn_async": _async_url(database_url),
        },
        "api": {
            "host": settings.airflow_host,  # Airflow's own default listens to the whole network
            "port": str(port),
            "base_url": f"http://127.0.0.1:{port}",
            "secret_key": own.api_secret_key,
            "instance_name": "customer360",
            "expose_config": "False",
            "enable_swagger_ui": "False",  # /docs and /redoc show every endpoint to whoever comes along
        },
        "api_auth": {"jwt_secret": own.jwt_secret},
        "scheduler": {
            "scheduler_idle_sleep_time": "0.1",  # default 1: each hop between tasks waits for it
            # Default 300: a task whose worker was killed with it would hold the pipeline for five minutes.
            "task_instance_heartbeat_timeout": "60",
            # Default 300: what a killed scheduler had queued blocks its DAG until the next look (measured).
            "orphaned_tasks_check_interval": "30",
        },
        # Default 5: after a task ends its worker often sleeps this long before it takes the next one.
        "workers": {"min_heartbeat_interval": "1"},
        "dag_processor": {
            "refresh_interval": "30",  # default 300: how long a new DAG file stays unseen
            # Default 30: parsing the unchanged files again was most of what the idle stack burnt (bench/idle.py). A
            # changed file is parsed at once all the same. What waits is the watch of a DAG that was paused: until
            # then the sweep finds its files.
            "min_file_process_interval": "1800",
            "dag_file_processor_timeout": "150",
        },
        "logging": {
            "base_log_folder": str(settings.logs / "tasks"),
            "file_task_handler_new_folder_permissions": "0o700",
            "file_task_handler_new_file_permissions": "0o600",
            "dag_processor_child_process_log_directory": str(settings.logs / "dag_processor"),
            "colored_console_log": "False",
        },
        "cosmos": {"enable_telemetry": "False", "enable_cache": "False", "cache_dir": str(home / "cosmos")},
        "openlineage": {
            "disabled": "False",
            "namespace": "customer360",
            "transport": json.dumps({"type": "file", "log_file_path": str(events_file(settings)), "append": True}),
            # Source code and environment of tasks are not for whoever reads lineage.
            "disable_source_code": "True",
            "include_full_task_info": "False",
        },
    }
    flat = {
        f"AIRFLOW__{section.upper()}__{key.upper()}": value
        for section, keys in values.items()
        for key, value in keys.items()
    }
    own_transport = os.environ.get("AIRFLOW__OPENLINEAGE__TRANSPORT")
    if own_transport:
        flat["AIRFLOW__OPENLINEAGE__TRANSPORT"] = own_transport
    events_file(settings).parent.mkdir(parents=True, exist_ok=True)
    return flat | {"AIRFLOW_HOME": str(home)} | _certificates(database_url)


def _async_url(database_url: str) -> str:
    """Airflow's database for asyncpg, which knows none of libpq's parameters and calls ``sslmode`` ``ssl``."""
    parts = urlsplit(database_url)
    mode = dict(parse_qsl(parts.query)).get("sslmode")
    return urlunsplit(parts._replace(scheme="postgresql+asyncpg", query=f"ssl={mode}" if mode else ""))


def _certificates(database_url: str) -> dict[str, str]:
    """Where asyncpg finds the certificates that the URL names: it takes them from libpq's variables alone."""
    given = dict(parse_qsl(urlsplit(database_url).query))
    return {
        f"PG{name.upper()}": given[name] for name in ("sslrootcert", "sslcert", "sslkey", "sslcrl") if name in given
    }

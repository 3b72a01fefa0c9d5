"""The site of the models: dbt's own documentation (tables, columns, tests, metrics, who reads what) as one file."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from customer360.errors import Customer360Error
from customer360.models import runner
from customer360.models.fingerprint import PROJECT, contract_for_models, settings_for_models
from customer360.settings import Settings

FILE_NAME = "models.html"

# dbt's page can load the script of a tracker when usage statistics are on. Ours are off; the address goes all the same,
# so that the file names no host.
_TRACKER = re.compile(r"//[\w.-]+\.cloudfront\.net/[\w./-]+")


class ModelSiteError(Customer360Error):
    """dbt could not write its documentation."""


def path_of(settings: Settings) -> Path:
    """Where the file is written unless another place is named."""
    return settings.home / "docs" / FILE_NAME


def write(settings: Settings, out: Path | None = None) -> Path:
    """Write dbt's documentation as one HTML file that opens without a network; returns where it is.

    It reads the warehouse's catalog, for the types and sizes of the tables that are there.

    Raises:
        ModelSiteError: dbt failed; the message is dbt's.
    """
    wanted = out or path_of(settings)
    target = settings.home / "dbt" / "site"
    target.mkdir(parents=True, exist_ok=True)
    ended = subprocess.run(
        [
            sys.executable, "-m", "dbt.cli.main", "--no-use-colors", "docs", "generate", "--static",
            "--project-dir", PROJECT, "--profiles-dir", PROJECT, "--target-path", target,
            "--log-path", settings.logs / "dbt",
            "--vars", json.dumps(contract_for_models() | settings_for_models(settings)),
        ],
        capture_output=True, text=True, check=False, env=os.environ | runner.dbt_environment(settings),
    )  # fmt: skip
    page = target / "static_index.html"
    if ended.returncode != 0 or not page.exists():
        raise ModelSiteError(
            f"dbt could not write its documentation:\n{ended.stdout[-1500:]}",
            f"Correct the file that it names in {PROJECT}, or run `c360 run` where it misses a table.",
        )
    text = _TRACKER.sub("", page.read_text())
    wanted.parent.mkdir(parents=True, exist_ok=True)
    unfinished = wanted.with_name(f".{wanted.name}.{os.getpid()}")
    unfinished.write_text(text)
    unfinished.replace(wanted)
    for file in target.glob("*.html"):
        file.unlink()
    return wanted

"""dbt's description of the project as a file, from which Airflow draws one task per model."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

from customer360.errors import Customer360Error
from customer360.models.fingerprint import PROJECT, contract_for_models, project_fingerprint
from customer360.settings import Settings


class ModelGraphError(Customer360Error):
    """The dbt project does not parse."""


def manifest(settings: Settings) -> Path:
    """The path of manifest.json; it is written when the models have changed since, which takes some seconds.

    Raises:
        ModelGraphError: the project does not parse; the message is dbt's.
    """
    folder = settings.home / "dbt" / "graph"
    folder.mkdir(parents=True, exist_ok=True)
    wanted = folder / f"manifest-{project_fingerprint()[:16]}.json"
    with (folder / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not wanted.exists():
            _parse(settings, folder)
            for old in folder.glob("manifest-*.json"):
                old.unlink()
            (folder / "manifest.json").rename(wanted)
    return wanted


def _parse(settings: Settings, folder: Path) -> None:
    """In a process of its own: who wants the file mostly has no use for dbt's modules in memory."""
    parsed = subprocess.run(
        [
            sys.executable, "-m", "dbt.cli.main", "--no-use-colors", "parse", "--project-dir", PROJECT,
            "--profiles-dir", PROJECT, "--target-path", folder, "--log-path", settings.logs / "dbt",
            "--vars", json.dumps(contract_for_models()),
        ],
        capture_output=True, text=True, check=False, env=os.environ | {"DO_NOT_TRACK": "1"},
    )  # fmt: skip
    if parsed.returncode != 0 or not (folder / "manifest.json").exists():
        raise ModelGraphError(
            f"The dbt project does not parse:\n{parsed.stdout[-1500:]}", f"Correct the file that it names in {PROJECT}."
        )

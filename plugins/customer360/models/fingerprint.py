"""Fingerprints: whether the published tables come from the models, settings and rates of now."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from customer360.contract.feeds import FEEDS
from customer360.settings import PROJECT_ROOT, Settings
from customer360.warehouse.dirty import KEY_TYPES

PROJECT = PROJECT_ROOT / "dbt_project"
ATTRIBUTION = PROJECT / "seeds" / "attribution_parameters.csv"


def live_fingerprint(settings: Settings) -> str:
    """What every live row depends on besides its records: models, contract, and the settings that the models read.

    A run over dirty keys under another one would leave the untouched rows on other days, or in other money, than the
    rest: all are built anew.
    """
    given = f"{project_fingerprint()} {json.dumps(settings_for_models(settings))}"
    return hashlib.sha256(given.encode() + ATTRIBUTION.read_bytes()).hexdigest()


def project_fingerprint() -> str:
    """A hash of the models and of what their macros know of the contract."""
    return hashlib.sha256(f"{models_fingerprint()} {json.dumps(contract_for_models())}".encode()).hexdigest()


def contract_for_models() -> dict[str, Any]:
    """What the models' macros know of the contract: dbt's variables ``feeds`` and ``key_types``."""
    return {"feeds": {name: feed.for_models for name, feed in FEEDS.items()}, "key_types": KEY_TYPES}


def settings_for_models(settings: Settings) -> dict[str, Any]:
    """What the models know of the settings, as dbt's variables."""
    return {
        "business_timezone": settings.business_timezone,
        "reporting_currency": settings.reporting_currency,
        "session_silence_minutes": settings.session_silence_minutes,
        "session_campaign_cut": settings.session_campaign_cut,
        "bot_session_events": settings.bot_session_events,
        "internal_traffic": settings.internal_traffic,
    }


def models_fingerprint(project: Path = PROJECT) -> str:
    """A hash of the SQL that the live tables come from: every macro, and the models tagged staging or live.

    Where it differs from that of the published tables, their old rows are not what the models would give: all are
    built anew. Read from the files, so that a run that has nothing to do need not load dbt.
    """
    hashed = hashlib.sha256()
    for path in sorted(project.glob("models/**/*.sql")):
        text = path.read_text()
        if _LIVE.search(text):
            hashed.update(path.name.encode() + text.encode())
    for path in sorted(project.glob("macros/**/*.sql")):
        hashed.update(path.read_bytes())
    return hashed.hexdigest()


_LIVE = re.compile(r"tags\s*=\s*\[[^]]*'(?:staging|live)'")

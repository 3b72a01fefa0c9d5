"""The Data Docs site shows what the gates found, and nothing personal."""

from __future__ import annotations

import re

from front_door import ingest_one, jsonl, order

from customer360.gates import data_docs
from customer360.settings import Settings


def test_the_site_shows_every_gate_without_personal_values(settings: Settings) -> None:
    rows = [order(1), order(2, status="lost", email="ann.secret@example.com"), order(3, total_amount="mail@secret.org")]
    ingest_one(settings, "orders", "a.jsonl", jsonl(rows))
    page = data_docs.build_data_docs(settings)
    pages = {path.relative_to(page.parent).as_posix(): path.read_text() for path in page.parent.rglob("*.html")}
    validations = [text for name, text in pages.items() if name.startswith("validations/")]
    assert {name.split("/")[1] for name in pages if name.startswith("validations/")} >= {"landing", "raw"}
    assert any("status is one of placed" in text for text in validations)
    assert not any("secret" in text for text in pages.values())
    heads = " ".join(re.sub(r"<[^>]+>|\s+", " ", text) for text in validations)
    assert re.search(r"Data asset:\s+batch 1, orders/a.jsonl", heads)
    assert re.search(r"Data asset:\s+raw.orders, batch 1", heads)
    assert not re.search(r"Data asset:\s+None", heads)
    made_at = page.stat().st_mtime_ns
    assert data_docs.build_data_docs(settings).stat().st_mtime_ns == made_at, "nothing new was found"

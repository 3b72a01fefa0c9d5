"""The landing zone in an object store: an S3 API server of this machine."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from customer360 import wake
from customer360.front_door import landing, load
from customer360.settings import Settings
from tests.pipeline.front_door import WRITERS, assert_balanced, jsonl, order, raw_rows
from tests.pipeline.vendor_exports import shop_orders, shopify_csv


@pytest.fixture
def bucket(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """Settings whose landing zone is a bucket."""
    import boto3
    from moto.server import ThreadedMotoServer

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    name = f"shop-{uuid.uuid4().hex[:8]}"  # every server of a process shows the same buckets
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=name)
    yield settings.with_(landing=f"s3://{name}/landing")
    server.stop()


def test_files_of_a_bucket_are_loaded_like_those_of_a_folder(bucket: Settings, tmp_path: Path) -> None:
    for format_, writer in WRITERS.items():
        source = tmp_path / f"a.{format_}"
        source.write_bytes(writer([order(1, order_id=format_), order(2, status="lost")]))
        landing.put(bucket, "orders", source, history=format_ == "csv")
    assert len(wake.waiting_files(bucket, "orders")) == 3
    summary = load.ingest(bucket)
    assert (len(summary.loaded), summary.row_count, summary.quarantined_count) == (3, 3, 3)
    assert {row[0] for row in raw_rows(bucket, "orders", "order_id")} == set(WRITERS)
    assert wake.waiting_files(bucket, "orders") == []
    assert load.ingest(bucket).batches == []
    assert_balanced(bucket)


def test_a_bucket_keeps_both_contents_of_a_name(bucket: Settings, tmp_path: Path) -> None:
    source = tmp_path / "a.jsonl"
    names = []
    for number in (1, 1, 2):
        source.write_bytes(jsonl([order(number)]))
        names.append(landing.put(bucket, "orders", source).name)
    assert names == ["a.jsonl", "a.jsonl", "a~2.jsonl"]
    assert load.ingest(bucket).row_count == 2
    first = landing.files(bucket, "orders")[0]
    landing.remove(bucket, first.location)
    assert len(landing.files(bucket, "orders")) == 1


def test_exports_in_a_bucket_are_converted_like_those_of_a_folder(bucket: Settings, tmp_path: Path) -> None:
    export = tmp_path / "orders.csv"
    export.write_bytes(shopify_csv(shop_orders()))
    file = landing.put_export(bucket, "shopify_csv", export, namespace="shop-uk")
    assert file.name.startswith("sources/shopify_csv@shop-uk/orders@")
    again = landing.put_export(bucket, "shopify_csv", export, namespace="shop-uk")
    assert again.location == file.location
    landing.put_export(bucket, "shopify_csv", export, history=True)
    assert [batch.state for batch in load.ingest(bucket).batches] == ["loaded", "loaded"]
    assert wake.waiting_files(bucket, "orders") == []
    assert_balanced(bucket)


def test_a_corrected_file_in_a_bucket_is_read_and_removed(bucket: Settings) -> None:
    import boto3

    name = bucket.landing.split("/")[2]
    store = boto3.client("s3")
    store.put_object(Bucket=name, Key="landing/corrections/fixed.jsonl", Body=b"{}\n")
    with landing.correction(bucket, "fixed.jsonl") as path:
        assert path.read_bytes() == b"{}\n"
        assert path.name == "fixed.jsonl"
    assert not path.exists()
    landing.remove_correction(bucket, "fixed.jsonl")
    with pytest.raises(landing.LandingError, match="cannot be read"), landing.correction(bucket, "fixed.jsonl"):
        pass
    assert landing.files(bucket) == []

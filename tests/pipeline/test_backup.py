"""A backup is consistent, sealed and complete; a restore brings back everything or changes nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from customer360 import kill_points, warehouse
from customer360 import restore as restoring
from customer360.backup import place as places
from customer360.backup import sealing, take
from customer360.backup.check import check
from customer360.backup.place import DATABASE, LANDING, MANIFEST, Place
from customer360.errors import ConfigurationError
from customer360.progress import Silent
from customer360.publication.verify import verify
from customer360.run import run_everything
from customer360.settings import Settings
from customer360.warehouse import embedded_server
from tests.pipeline.conftest import copy_of
from tests.pipeline.front_door import drop, jsonl
from tests.pipeline.shop import order, rows

NOW = datetime.now(UTC)


def with_backups(settings: Settings, folder: Path) -> Settings:
    """Settings with a place and a key for backups."""
    key = folder / "keys" / "backup.key"
    sealing.new_key(key)
    return settings.with_(backup_url=str(folder / "backups"), backup_key_file=str(key))


@pytest.fixture(scope="module")
def backed_up(built_shop: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, take.Backup]]:
    """A published shop with landed files and a daily pass, and its backup: read them, never write them."""
    folder = tmp_path_factory.mktemp("backed_up")
    with copy_of(built_shop, folder / "landing") as shop:
        settings = with_backups(shop, folder)
        drop(settings, "orders", "landed.jsonl", jsonl([order("o8", email="eight@example.org"), order("o9")]))
        drop(settings, "orders", "bad.jsonl", jsonl([order("b1", status="lost")]))
        run_everything(settings, trigger="test")
        yield settings, take.take(settings, trigger="test")


@contextmanager
def empty_home(settings: Settings) -> Iterator[Settings]:
    """A machine that has nothing of the installation but its backups and their key."""
    with tempfile.TemporaryDirectory(prefix="c360-restored-", ignore_cleanup_errors=True) as folder:
        fresh = settings.with_(home=Path(folder), landing="")
        try:
            yield fresh
        finally:
            embedded_server.stop(fresh, immediate=True)


def everything(settings: Settings) -> dict[str, str]:
    """A fingerprint of the rows of every table but the operating ones."""
    with warehouse.admin(settings) as connection:
        tables = connection.execute(
            "select quote_ident(schemaname) || '.' || quote_ident(tablename) from pg_tables "
            "where schemaname = any(%s) order by 1",
            [[schema for schema in warehouse.SCHEMAS if schema != "ops"]],
        ).fetchall()
        assert len(tables) > 30
        return {
            name: warehouse.scalar(
                connection, f"select md5(coalesce(string_agg(t::text, '|' order by t::text), '')) from {name} as t"
            )
            for (name,) in tables
        }


def test_losing_everything_but_the_backup_loses_nothing(backed_up: tuple[Settings, take.Backup]) -> None:
    original, made = backed_up
    with empty_home(original) as fresh:
        restored = restoring.restore(fresh)
        assert (restored.name, restored.broken, restored.landed_files) == (made.name, [], 2)
        assert restored.rows == made.rows > 100
        assert everything(fresh) == everything(original)
        assert [check.name for check in verify(fresh, full=True).checks if not check.holds] == []
        # Every role can do its work and no more, and readers have log-ins again.
        assert rows(fresh, "select count(*) from marts.fct_orders") == rows(
            original, "select count(*) from marts.fct_orders"
        )
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            rows(fresh, "select * from raw.orders")
        with psycopg.connect(warehouse.reader_url("bi_reader", fresh)) as reader:
            assert reader.execute("select count(*) from marts.customer_360").fetchone() != (0,)
        # The ledger knows the landed files where they are now: nothing is loaded twice, and a replay finds its file.
        assert restored.waiting_files == 0
        before = rows(fresh, "select max(batch_id), count(*) from ops.batches")
        run_everything(fresh, trigger="test")
        assert rows(fresh, "select max(batch_id), count(*) from ops.batches") == before
        # What comes later is taken in as if nothing had happened, and old customers keep their keys.
        known = rows(fresh, "select customer_key from marts.fct_orders where order_id = 'o8'")
        drop(fresh, "orders", "later.jsonl", jsonl([order("o10", email="eight@example.org")]))
        run_everything(fresh, trigger="test")
        assert rows(fresh, "select customer_key from marts.fct_orders where order_id = 'o10'") == known
        assert [check.name for check in verify(fresh, full=True).checks if not check.holds] == []
        assert rows(fresh, "select name from ops.restores", role="oncall") == [(made.name,)]


@pytest.mark.slow
def test_files_that_were_landed_after_the_backup_are_what_the_next_run_loads(
    backed_up: tuple[Settings, take.Backup], tmp_path: Path
) -> None:
    original, _ = backed_up
    survived = tmp_path / "landing"
    with empty_home(original) as fresh:
        fresh = fresh.with_(landing=str(survived))
        drop(fresh, "orders", "after.jsonl", jsonl([order("o77", email="late@example.org")]))
        restored = restoring.restore(fresh)
        assert (restored.landed_files, restored.waiting_files) == (2, 1)
        run_everything(fresh, trigger="test")
        assert rows(fresh, "select count(*) from marts.fct_orders where order_id = 'o77'") == [(1,)]


def test_another_key_opens_nothing_and_changes_nothing(backed_up: tuple[Settings, take.Backup], tmp_path: Path) -> None:
    original, _ = backed_up
    sealing.new_key(tmp_path / "other.key")
    with empty_home(original.with_(backup_key_file=str(tmp_path / "other.key"))) as fresh:
        with pytest.raises(sealing.SealedFileError, match="sealed with another key"):
            restoring.restore(fresh)
        assert list(fresh.home.iterdir()) == []


@pytest.fixture
def copied(backed_up: tuple[Settings, take.Backup], tmp_path: Path) -> tuple[Settings, Path]:
    """The backup in a place of this test alone."""
    import shutil

    original, made = backed_up
    shutil.copytree(original.backup_url, tmp_path / "backups")
    return original.with_(backup_url=str(tmp_path / "backups")), tmp_path / "backups" / made.name


@pytest.mark.parametrize("part", [DATABASE, LANDING, MANIFEST])
@pytest.mark.parametrize("harm", ["cut at its end", "cut between two blocks", "one byte changed", "gone", "emptied"])
def test_a_damaged_backup_is_refused_before_anything_is_changed(
    copied: tuple[Settings, Path], part: str, harm: str
) -> None:
    settings, folder = copied
    path = folder / part
    data = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        changed = {
            "cut at its end": data[:-1],
            "cut between two blocks": data[: len(data) // 65_552 * 65_552],
            "one byte changed": data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
            "emptied": b"",
        }[harm]
        path.write_bytes(changed)
    with empty_home(settings) as fresh:
        with pytest.raises((sealing.SealedFileError, places.BackupMissingError)) as caught:
            restoring.restore(fresh)
        assert "c360 backup" in caught.value.next_step
        assert list(fresh.home.iterdir()) == []


def test_a_part_of_another_backup_is_refused(copied: tuple[Settings, Path]) -> None:
    settings, folder = copied
    other = take.take(settings.with_(landing=str(folder.parent.parent / "elsewhere")), trigger="test")
    (folder / LANDING).write_bytes((Path(settings.backup_url) / other.name / LANDING).read_bytes())
    with pytest.raises(sealing.SealedFileError, match="exchanged"):
        check(Place(settings), folder.name, sealing.key_of(settings), Silent())


def test_a_home_that_is_not_empty_is_left_alone(backed_up: tuple[Settings, take.Backup]) -> None:
    original, _ = backed_up
    before = everything(original)
    with pytest.raises(ConfigurationError, match=r"is not empty.*Nothing was changed"):
        restoring.restore(original)
    assert everything(original) == before
    warehouse.connect("owner", original).close()  # and it goes on


def test_another_zone_or_prefix_is_refused_with_the_line_to_set(backed_up: tuple[Settings, take.Backup]) -> None:
    original, _ = backed_up
    with empty_home(original.with_(business_timezone="Europe/Berlin", role_prefix="shop2_")) as fresh:
        with pytest.raises(ConfigurationError) as caught:
            restoring.restore(fresh)
        assert "C360_ROLE_PREFIX=c360_ C360_BUSINESS_TIMEZONE=UTC" in caught.value.next_step
        assert list(fresh.home.iterdir()) == []


def killed_at(point: str, settings: Settings, program: str) -> None:
    """Run a step in a process of its own that is killed at a point."""
    import pickle

    run = subprocess.run(
        [sys.executable, "-c", f"import sys, pickle; s = pickle.loads(sys.stdin.buffer.read()); {program}"],
        input=pickle.dumps(settings), env=os.environ | {"C360_KILL_AT": point}, check=False,
    )  # fmt: skip
    assert run.returncode == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("point", [name for name in kill_points.POINTS if name.startswith("restore.")])
def test_a_restore_that_was_killed_lets_nobody_in_and_goes_on(
    backed_up: tuple[Settings, take.Backup], point: str
) -> None:
    original, made = backed_up
    with empty_home(original) as fresh:
        killed_at(point, fresh, "from customer360 import restore; restore.restore(s)")
        for role in ("bi_reader", "owner"):
            with pytest.raises(ConfigurationError, match=f"`c360 restore {made.name}`|being restored"):
                warehouse.connect(role, fresh)
        with warehouse.admin(fresh) as connection:
            for kind in warehouse.READERS:
                may = "select has_database_privilege(%s, current_database(), 'connect')"
                assert not warehouse.scalar(connection, may, [warehouse.role_name(kind, fresh)])
        assert restoring.restore(fresh).broken == []
        assert everything(fresh) == everything(original)


@pytest.mark.slow
@pytest.mark.parametrize("point", [name for name in kill_points.POINTS if name.startswith("backup.")])
def test_a_backup_that_was_killed_is_no_backup(shop: Settings, tmp_path: Path, point: str) -> None:
    settings = with_backups(shop, tmp_path)
    killed_at(point, settings, "from customer360.backup import take; take.take(s, trigger='test')")
    (remains,) = Place(settings).listed()
    assert not remains.is_whole
    with pytest.raises(places.BackupMissingError):
        Place(settings).find()
    made = take.take(settings, trigger="test")  # the lease of the dead one is free at once
    assert Place(settings).find().name == made.name
    folder = Path(settings.backup_url)
    (folder / remains.name).rename(folder / "c360-20200101T000000Z")
    assert take.prune(settings) == ["c360-20200101T000000Z"]


@pytest.mark.slow
def test_a_backup_is_of_one_moment_while_files_are_loaded(shop: Settings, tmp_path: Path) -> None:
    import threading

    from customer360.front_door import load

    settings = with_backups(shop, tmp_path)
    stop = threading.Event()

    def keep_loading() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            drop(settings, "orders", f"busy{number}.jsonl", jsonl([order(f"busy{number}-{n}") for n in range(50)]))
            load.ingest(settings)

    loading = threading.Thread(target=keep_loading)
    loading.start()
    try:
        for _ in range(2):
            take.take(settings, trigger="test")
    finally:
        stop.set()
        loading.join()
    with empty_home(settings) as fresh:
        restored = restoring.restore(fresh)
        assert restored.broken == []
        run_everything(fresh, trigger="test")
        assert [check.name for check in verify(fresh, full=True).checks if not check.holds] == []


def test_backups_are_readable_by_their_owner_alone_and_hold_nothing_in_clear(
    backed_up: tuple[Settings, take.Backup],
) -> None:
    original, _ = backed_up
    folder = Path(original.backup_url)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in files} == {DATABASE, LANDING, MANIFEST}
    for path in files:
        assert path.stat().st_mode & 0o077 == 0
        assert path.parent.stat().st_mode & 0o077 == 0
        data = path.read_bytes()
        assert data.startswith(b"age-encryption.org/v1\n")
        assert b"example.org" not in data
        assert b"fct_orders" not in data
    secret = Path(original.backup_key_file).read_text().splitlines()[-1]
    assert all(secret.encode() not in path.read_bytes() for path in files)


@pytest.mark.parametrize("where", ["home", "backups"])
def test_a_key_that_would_be_lost_or_found_with_the_data_is_refused(shop: Settings, tmp_path: Path, where: str) -> None:
    folder = shop.home if where == "home" else tmp_path / "backups"
    key = folder / f"of-a-test-{tmp_path.name}.key"
    sealing.new_key(key)
    settings = shop.with_(backup_url=str(tmp_path / "backups"), backup_key_file=str(key))
    with pytest.raises(ConfigurationError, match="The key of the backups"):
        take.take(settings, trigger="test")
    key.unlink()


def test_the_public_key_makes_backups_that_it_cannot_read(shop: Settings, tmp_path: Path) -> None:
    settings = with_backups(shop, tmp_path)
    public = tmp_path / "keys" / "public.key"
    public.write_text(f"{sealing.key_of(settings).public}\n")
    made = take.take(settings.with_(backup_key_file=str(public)), trigger="test")
    with pytest.raises(ConfigurationError, match="public key alone"):
        check(Place(settings), made.name, sealing.key_of(settings.with_(backup_key_file=str(public))), Silent())
    assert check(Place(settings), made.name, sealing.key_of(settings), Silent()).manifest.row_count == made.rows


def test_only_the_newest_backups_are_kept(shop: Settings, tmp_path: Path) -> None:
    settings = with_backups(shop, tmp_path).with_(backup_keep=2)
    made = [take.take(settings, trigger="test") for _ in range(3)]
    assert [one.removed for one in made] == [[], [], [made[0].name]]
    assert [one.name for one in Place(settings).listed()] == [made[1].name, made[2].name]


def test_a_failed_backup_says_why_on_record_and_leaves_nothing(shop: Settings, tmp_path: Path) -> None:
    settings = with_backups(shop, tmp_path)
    with warehouse.admin(settings) as connection:
        connection.execute("alter table raw.orders rename to moved")
        connection.execute("create table raw.orders (secret text)")  # of the administrator: the owner may not read it
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        take.take(settings, trigger="test")
    assert Place(settings).listed() == []
    ((state, error),) = rows(settings, "select state, error from ops.backups", role="oncall")
    assert state == "failed"
    assert "InsufficientPrivilege" in error


def test_a_schedule_wants_a_backup_when_the_last_good_one_is_old(shop: Settings, tmp_path: Path) -> None:
    settings = with_backups(shop, tmp_path)
    assert not take.is_due(shop)
    assert take.is_due(settings)
    take.take(settings, trigger="test")
    assert not take.is_due(settings)
    assert not take.is_due(settings.with_(backup_hours=0))
    with warehouse.connect("owner", settings) as connection:
        connection.execute("update ops.backups set taken_at = taken_at - interval '25 hours'")
    assert take.is_due(settings)


@pytest.mark.slow
def test_a_backup_in_a_bucket_is_restored_from_it(
    backed_up: tuple[Settings, take.Backup], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import boto3
    from moto.server import ThreadedMotoServer

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        boto3.client("s3", endpoint_url=f"http://{host}:{port}").create_bucket(Bucket=tmp_path.name.replace("_", "-"))
        settings = backed_up[0].with_(backup_url=f"s3://{tmp_path.name.replace('_', '-')}/deep/backups", backup_keep=1)
        take.take(settings, trigger="test")
        made = take.take(settings, trigger="test")
        assert [one.name for one in Place(settings).listed()] == [made.name]
        with empty_home(settings) as fresh:
            assert restoring.restore(fresh).rows == made.rows
            assert everything(fresh) == everything(settings)
    finally:
        server.stop()


@pytest.mark.slow
def test_the_runbook_brings_a_lost_warehouse_back(
    backed_up: tuple[Settings, take.Backup], terminal_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import shlex

    from tests.runbook_commands import commands, filled

    original, made = backed_up
    page = commands("restore_warehouse")
    assert {command.section for command in page} >= {"Look", "Fix", "Prove"}
    monkeypatch.setenv("C360_BACKUP_URL", original.backup_url)
    monkeypatch.setenv("C360_BACKUP_KEY_FILE", original.backup_key_file)
    for number in (1, 2):
        with empty_home(original) as fresh:
            c360 = terminal_of(fresh)
            for command in page:
                if command.needs_airflow or (command.section == "Fix" and command.number != number):
                    continue
                if command.text.endswith("access add"):
                    continue  # named in passing
                code, told, said = c360(*shlex.split(filled(command.text, {"BACKUP": made.name}))[1:])
                assert code == 0, f"{command.text}: {told}{said}"


def test_a_key_file_that_is_not_there_stops_no_command_but_those_that_need_it(
    shop: Settings, tmp_path: Path, terminal_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("C360_BACKUP_KEY_FILE", str(tmp_path / "not mounted.key"))
    monkeypatch.setenv("C360_BACKUP_URL", str(tmp_path / "backups"))
    c360 = terminal_of(shop)
    assert c360("verify")[0] == 0
    assert c360("backup", "list")[0] == 0
    for words in (["backup"], ["restore"]):
        code, _, said = c360(*words)
        assert (code, "there is no such file" in " ".join(said.split())) == (2, True), words


def test_the_commands_say_what_they_did(
    shop: Settings, tmp_path: Path, terminal_of: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    c360 = terminal_of(shop)
    code, _, said = c360("backup")
    assert (code, "C360_BACKUP_KEY_FILE is not set" in said) == (2, True)
    key = tmp_path / "keys" / "backup.key"
    code, told, _ = c360("backup", "new-key", key)
    assert (code, f"C360_BACKUP_KEY_FILE={key}" in told.replace("\n", "")) == (0, True)
    assert key.stat().st_mode & 0o777 == 0o600
    code, _, said = c360("backup", "new-key", key)
    assert (code, "not overwritten" in said) == (2, True)
    monkeypatch.setenv("C360_BACKUP_KEY_FILE", str(key))
    monkeypatch.setenv("C360_BACKUP_URL", str(tmp_path / "backups"))
    c360 = terminal_of(shop)
    code, told, _ = c360("backup", "--json")
    made = json.loads(told)
    assert (code, made["landed_files"]) == (0, 0)
    code, told, _ = c360("backup", "list", "--json")
    assert [one["name"] for one in json.loads(told)] == [made["name"]]
    code, told, _ = c360("backup", "verify", "--json")
    assert (code, json.loads(told)["rows"]) == (0, made["rows"])
    code, told, _ = c360("backup", "verify", "--trial", "--json")
    assert (code, json.loads(told)["rows"], json.loads(told)["broken"]) == (0, made["rows"], [])
    assert not list(shop.home.glob("trial-*"))
    code, _, said = c360("restore")
    assert (code, "is not empty" in said) == (2, True)
    code, told, _ = c360("backup", "prune", "--keep", 1)
    assert (code, told.strip()) == (0, "0 backups.")

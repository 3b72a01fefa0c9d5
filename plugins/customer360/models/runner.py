"""The models: dbt, called in this process, on a manifest that is parsed once.

A call costs what its models cost: the project is parsed once per process (and inherited by forked workers after
:func:`warm`), nothing is started, and no result of an earlier call is trusted (no run_results.json is read).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, unquote, urlsplit

from psycopg import sql

from customer360 import warehouse
from customer360.errors import Customer360Error
from customer360.models import statements
from customer360.models.fingerprint import contract_for_models, settings_for_models
from customer360.models.results import FAILED, ModelResult, masked
from customer360.settings import PROJECT_ROOT, Settings
from customer360.warehouse import Connection

if TYPE_CHECKING:
    from dbt.contracts.graph.manifest import Manifest

PROJECT = PROJECT_ROOT / "dbt_project"
_log = logging.getLogger(__name__)

# dbt keeps its adapter, flags and event manager in globals of the process.
_one_call_at_a_time = threading.RLock()
_manifests: dict[tuple[str, int], Manifest] = {}

# Half of a small model's time is dbt's own Python, which one interpreter runs one thread at a time: more than this
# adds nothing on a small machine, less leaves the server idle.
_THREADS = 4
# A whole table keeps a processor of the server busy by itself; more of them at once only push each other out of its
# caches (measured on two processors: the daily pass of 200,000 customers takes a tenth longer with four).
_WHOLE_THREADS = max(2, os.cpu_count() or 2)


@dataclass(frozen=True)
class ModelTable:
    """A table that the models build, as its files declare it: what publication and documentation need to know."""

    name: str
    schema: str
    description: str
    columns: dict[str, str]
    """Column name → PostgreSQL type, in the table's order."""
    column_descriptions: dict[str, str]
    primary_key: tuple[str, ...]
    scope: str | None
    """The scope of ops.dirty that it is replaced by; None: always built whole."""
    scope_key: str | None
    tags: tuple[str, ...]
    publish_to: str | None
    """marts or marts_pii; None: a table between the doors."""


class ModelsFailedError(Customer360Error):
    """At least one model failed. ``results`` has every node's outcome, the failed one's path is in the next step."""

    def __init__(self, message: str, next_step: str, results: Sequence[ModelResult] = ()) -> None:
        super().__init__(message, next_step)
        self.results = list(results)

    @property
    def sqlstate(self) -> str:
        """PostgreSQL's code of the first failure; empty if the server refused nothing."""
        return next((result.sqlstate for result in self.results if result.sqlstate), "")


def run_models(
    settings: Settings,
    select: str | Sequence[str],
    *,
    run_id: int | None,
    full_refresh: bool = False,
    variables: Mapping[str, Any] | None = None,
    progress: Callable[[ModelResult], None] | None = None,
) -> list[ModelResult]:
    """Build the selected models in dependency order and record each in ``ops.model_runs``.

    Args:
        select: a dbt selection (``tag:live``) or several.
        run_id: the run in ops.runs that the results belong to; None records nothing.
        full_refresh: build the tables whole; otherwise those with a scope do the keys in ops.dirty alone.
        variables: values of dbt_project.yml's vars for this call (schema_prefix, known_until, as_of_on).
        progress: called once per finished model, from dbt's threads.

    Returns:
        One result per node, in the order in which they finished.

    Raises:
        ModelsFailedError: a model failed (those that read it were skipped), or dbt could not start.
    """
    arguments = ["run", "--select", *([select] if isinstance(select, str) else select)]
    if full_refresh:
        arguments.append("--full-refresh")
    if not full_refresh and isinstance(select, str):
        results = _run_kept(settings, select, dict(variables or {}), run_id, progress)
        if results is not None:
            return results
    return _call(settings, arguments, dict(variables or {}), run_id, progress)


@dataclass(frozen=True)
class CompiledModel:
    """A model's query, and the table that it fills."""

    table: ModelTable
    query: str


def compile_models(
    settings: Settings, select: str | Sequence[str], *, variables: Mapping[str, Any]
) -> list[CompiledModel]:
    """The selected models as SQL for whole tables, parents first; nothing is built.

    For steps that run the same models many times with other dates: a call of dbt costs seconds, whatever the tables
    hold. Variables that a query only quotes (known_until, as_of_on) may be given as placeholders.

    Raises:
        ModelsFailedError: a model does not compile.
    """
    arguments = ["compile", "--full-refresh", "--select", *([select] if isinstance(select, str) else select)]
    with _one_call_at_a_time, warehouse.connect("transformer", settings, autocommit=True) as connection:
        manifest = _manifest(settings, str(variables.get("schema_prefix", "")))
        _point_at_database(manifest, connection.info.dbname)
        _load_changed_seeds(settings, connection, manifest)
        outcome = _dbt(settings, manifest, arguments, {"published_tables": [], **variables}, [])
    if not outcome.success:
        raise _failure([], {}, outcome.exception)
    compiled = [result.node for result in outcome.result.results if result.node.resource_type == "model"]
    nodes = {node.unique_id: node for node in compiled}
    in_order: dict[str, None] = {}

    def add(unique_id: str) -> None:
        if unique_id in in_order or unique_id not in nodes:
            return
        for parent in nodes[unique_id].depends_on_nodes:
            add(parent)
        in_order[unique_id] = None

    for unique_id in nodes:
        add(unique_id)
    return [CompiledModel(_table(nodes[unique_id]), nodes[unique_id].compiled_code) for unique_id in in_order]


def run_model_tests(
    settings: Settings,
    select: str | Sequence[str],
    *,
    run_id: int | None,
    variables: Mapping[str, Any] | None = None,
) -> list[ModelResult]:
    """Run the selected dbt tests (``test_type:unit``, ``test_type:data``) on the tables as they stand.

    Unit tests need the tables that their models read to exist, with or without rows.

    Returns:
        One result per test, in the order in which they finished.

    Raises:
        ModelsFailedError: a test failed; the message names the first and says how many rows break it.
    """
    arguments = ["test", "--select", *([select] if isinstance(select, str) else select)]
    return _call(settings, arguments, dict(variables or {}), run_id, None)


def _call(
    settings: Settings,
    arguments: list[str],
    variables: dict[str, Any],
    run_id: int | None,
    progress: Callable[[ModelResult], None] | None,
) -> list[ModelResult]:
    with _one_call_at_a_time, warehouse.connect("transformer", settings, autocommit=True) as connection:
        manifest = _manifest(settings, str(variables.get("schema_prefix", "")))
        _point_at_database(manifest, connection.info.dbname)
        _load_changed_seeds(settings, connection, manifest)
        _create_missing_daily_tables(connection, manifest)
        variables = {"published_tables": _published_tables(connection), **variables}
        is_increment = _scoped_before(connection, manifest, arguments, variables)
        results, failure = _invoke(settings, manifest, arguments, variables, progress)
        _record(connection, run_id, results)
        if is_increment and results and not failure:
            _keep_increment(settings, connection, manifest, arguments[-1], variables, results)
    if failure:
        raise failure
    if not results:
        raise ModelsFailedError(f"Nothing matches dbt's selection `{' '.join(arguments)}`.", "Correct the selection.")
    return results


def warm(settings: Settings) -> None:
    """Import dbt and parse the project now, so that the calls of this process and of its forks start at once."""
    with _one_call_at_a_time:
        _manifest(settings, "")


def _run_kept(
    settings: Settings,
    select: str,
    variables: dict[str, Any],
    run_id: int | None,
    progress: Callable[[ModelResult], None] | None,
) -> list[ModelResult] | None:
    """Run an increment by the statements that dbt ran before (:mod:`customer360.models.statements`); None without."""
    if variables.get("schema_prefix"):
        return None
    with warehouse.connect("transformer", settings, autocommit=True) as connection:
        key = _increment_key(settings, connection, select, variables)
        increment = statements.kept(target_path(settings), _file_name(select), key, connection)
        if increment is None:
            return None

        def finished(result: ModelResult) -> None:
            _tell(result)
            if progress:
                progress(result)

        results = statements.run(settings, increment.statements, threads=_THREADS, finished=finished)
        _record(connection, run_id, results)
    if statements.has_failed(results):
        raise _failure(results, {one.model: Path(one.file) for one in increment.statements}, None)
    return results


def _increment_key(settings: Settings, connection: Connection, select: str, variables: Mapping[str, Any]) -> str:
    """What an increment's text depends on besides what the models read: no value of the day may be among it."""
    return statements.key_of(
        PROJECT,
        {
            **{name: value for name, value in variables.items() if name != "as_of_on"},
            **contract_for_models(),
            **settings_for_models(settings),
            "select": select,
            "database": connection.info.dbname,
            "published": _published_tables(connection),
        },
    )


def _file_name(select: str) -> str:
    return f"increment-{re.sub('[^a-z0-9]+', '-', select.lower())}"


def _scoped_before(connection: Connection, manifest: Manifest, arguments: list[str], variables: dict[str, Any]) -> bool:
    """Whether a model that is run now with a scope does the dirty keys alone: see the macro is_scoped."""
    if "--full-refresh" in arguments or arguments[0] != "run" or len(arguments) != 3 or variables.get("schema_prefix"):
        return False
    return bool(
        warehouse.scalar(
            connection,
            "select bool_and(to_regclass(name) is not null) from unnest(%s::text[]) as name",
            [[f"{n.schema}.{n.name}" for n in manifest.nodes.values() if n.resource_type == "model" and _is_live(n)]],
        )
    )


def _is_live(node: Any) -> bool:
    return not {"staging", "live"}.isdisjoint(node.tags)


def _keep_increment(
    settings: Settings,
    connection: Connection,
    manifest: Manifest,
    select: str,
    variables: dict[str, Any],
    results: Sequence[ModelResult],
) -> None:
    """Keep the statements that dbt has just run, if all of them do dirty keys alone."""
    nodes = {node.name: node for node in manifest.nodes.values() if node.resource_type == "model"}
    ran = {result.model for result in results}
    published = variables["published_tables"]
    if not all(
        name in nodes
        and _is_live(nodes[name])
        and nodes[name].config.meta.get("scope")
        and (name in published or not nodes[name].config.meta.get("moves"))
        for name in ran
    ):
        return
    # A daily table that no day has made yet is an empty one here; whether it is there is asked before each run.
    read = {f"{node.schema}.{node.name}" for node in nodes.values() if {"live", "staging", "daily"} & set(node.tags)}
    files = {name: _run_file(settings, nodes[name]) for name in ran}
    texts = {name: file.read_text() for name, file in files.items()}
    if (day := variables.get("as_of_on")) and any(f"'{day}'" in text for text in texts.values()):
        return  # a text that names the day holds for that day alone
    increment = statements.Increment(
        tuple(
            statements.Statement(
                name,
                f"{nodes[name].schema}.{name}",
                texts[name],
                tuple(sorted(_ancestors(manifest, nodes[name].unique_id) & ran)),
                str(files[name]),
            )
            for name in sorted(ran)
        ),
        tuple(
            statements.Seed(f"{node.schema}.{node.name}", _seed_comment(node))
            for node in manifest.nodes.values()
            if node.resource_type == "seed"
        ),
        tuple(sorted(read)),
    )
    key = _increment_key(
        settings, connection, select, {name: v for name, v in variables.items() if name != "published_tables"}
    )
    statements.keep(target_path(settings), _file_name(select), key, increment)


def _ancestors(manifest: Manifest, unique_id: str) -> set[str]:
    """The names of all models that a model reads, directly or through others."""
    found: set[str] = set()
    waiting = [unique_id]
    while waiting:
        for parent in manifest.nodes[waiting.pop()].depends_on_nodes:
            if parent.startswith("model.") and manifest.nodes[parent].name not in found:
                found.add(manifest.nodes[parent].name)
                waiting.append(parent)
    return found


def _run_file(settings: Settings, node: Any, schema_prefix: str = "") -> Path:
    """Where dbt writes the SQL that it runs for a model."""
    return target_path(settings, schema_prefix) / "run" / "customer360" / node.original_file_path


def model_tables(settings: Settings, *, schema_prefix: str = "") -> list[ModelTable]:
    """Every table that the models build, by schema and name, as declared in their YAML."""
    with _one_call_at_a_time:
        manifest = _manifest(settings, schema_prefix)
    tables = [_table(node) for node in manifest.nodes.values() if node.resource_type == "model"]
    return sorted(tables, key=lambda table: (table.schema, table.name))


def journal_tables(settings: Settings) -> list[ModelTable]:
    """Every published journal: a source, for only its own step writes it, whose file says where it is published."""
    with _one_call_at_a_time:
        manifest = _manifest(settings, "")
    return sorted(
        (
            ModelTable(
                name=source.name,
                schema=source.schema,
                description=source.description,
                columns={name: column.data_type or "" for name, column in source.columns.items()},
                column_descriptions={name: column.description for name, column in source.columns.items()},
                primary_key=tuple(source.config.meta["primary_key"]),
                scope=None,
                scope_key=None,
                tags=tuple(source.tags),
                publish_to=source.config.meta["published_in"],
            )
            for source in manifest.sources.values()
            if "published_in" in source.config.meta
        ),
        key=lambda table: table.name,
    )


def tables_read(settings: Settings) -> dict[str, frozenset[str]]:
    """For each published table the sources and seeds that its models read, directly or through others."""
    with _one_call_at_a_time:
        manifest = _manifest(settings, "")
    known: dict[str, frozenset[str]] = {}

    def read_by(unique_id: str) -> frozenset[str]:
        if unique_id not in known:
            known[unique_id] = frozenset()  # a model never reads itself; this ends the walk if one did
            source = manifest.sources.get(unique_id)
            node = manifest.nodes.get(unique_id)
            if source is not None:
                known[unique_id] = frozenset({f"{source.schema}.{source.identifier}"})
            elif node is not None and node.resource_type == "seed":
                known[unique_id] = frozenset({f"{node.schema}.{node.name}"})
            elif node is not None:
                known[unique_id] = frozenset().union(*(read_by(parent) for parent in node.depends_on_nodes))
        return known[unique_id]

    return {
        f"{table.publish_to}.{table.name}": read_by(node.unique_id)
        for node in manifest.nodes.values()
        if node.resource_type == "model" and (table := _table(node)).publish_to
    }


def dbt_environment(settings: Settings) -> dict[str, str]:
    """The environment variables that dbt_project/profiles.yml reads: role transformer of this warehouse."""
    parts = urlsplit(warehouse.url("transformer", settings))
    environment = {
        "CUSTOMER360_DBT_HOST": parts.hostname or "127.0.0.1",
        "CUSTOMER360_DBT_PORT": str(parts.port or 5432),
        "CUSTOMER360_DBT_USER": unquote(parts.username or ""),
        "CUSTOMER360_DBT_DATABASE": parts.path.lstrip("/"),
        "DBT_ENV_SECRET_C360_PASSWORD": unquote(parts.password or ""),
        "DO_NOT_TRACK": "1",
        # The text of a time, and so the hash that breaks ties, must not depend on the server's zone; compiling
        # queries (on by default) takes longer than most models run.
        "PGOPTIONS": "-c timezone=UTC -c jit=off",
        "PGAPPNAME": f"customer360 dbt {warehouse.session_tag()}".strip(),
    }
    given = parse_qs(parts.query)
    tls = ("sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl")
    return environment | {f"PG{name.upper()}": given[name][0] for name in tls if name in given}


def target_path(settings: Settings, schema_prefix: str = "") -> Path:
    """Where dbt writes the compiled SQL of a build; on-call reads it there."""
    return settings.home / "dbt" / (schema_prefix or "live")


def _table(node: Any) -> ModelTable:
    meta = node.config.meta
    published = meta.get("published_in", "marts") if node.config.schema == "candidate" else None
    return ModelTable(
        name=node.name,
        schema=node.schema,
        description=node.description,
        columns={name: column.data_type or "" for name, column in node.columns.items()},
        column_descriptions={name: column.description for name, column in node.columns.items()},
        primary_key=tuple(meta.get("primary_key", ())),
        scope=meta.get("scope"),
        scope_key=meta.get("scope_key"),
        tags=tuple(node.tags),
        publish_to=published,
    )


def _manifest(settings: Settings, schema_prefix: str) -> Manifest:
    """The parsed project. Parsed once per process, prefix and state of the files; needs no warehouse."""
    key = (schema_prefix, _project_version())
    if key not in _manifests:
        parsed = _dbt(settings, None, ["parse"], {"schema_prefix": schema_prefix}, [])
        if not parsed.success:
            raise ModelsFailedError(
                f"The dbt project does not parse: {parsed.exception}", f"Correct the file it names in {PROJECT}."
            )
        for old in [old for old in _manifests if old[0] == schema_prefix]:
            del _manifests[old]
        _manifests[key] = parsed.result
    return _manifests[key]


def _project_version() -> int:
    """Newest modification among the project's files: a process that lives through a deployment parses again."""
    folders = ("macros", "models", "seeds", "tests")
    files = [PROJECT / "dbt_project.yml", *(path for folder in folders for path in (PROJECT / folder).rglob("*"))]
    return max(path.stat().st_mtime_ns for path in files)


def _point_at_database(manifest: Manifest, database: str) -> None:
    """dbt writes the database into every node when it parses; a process may serve more than one (tests do)."""
    for node in (*manifest.nodes.values(), *manifest.sources.values()):
        if node.database != database:
            if getattr(node, "relation_name", None):
                node.relation_name = f'"{database}"."{node.schema}"."{node.identifier}"'
            node.database = database


def _invoke(
    settings: Settings,
    manifest: Manifest,
    arguments: list[str],
    variables: Mapping[str, Any],
    progress: Callable[[ModelResult], None] | None,
) -> tuple[list[ModelResult], ModelsFailedError | None]:
    """One call of dbt; its results in the order in which the nodes finished, and the failure if there is one."""
    results: list[ModelResult] = []

    def on_event(event: Any) -> None:
        if event.info.name == "NodeFinished":
            result = _result_of(event)
            results.append(result)
            _tell(result)
            if progress:
                progress(result)

    outcome = _dbt(settings, manifest, arguments, variables, [on_event])
    if outcome.success:
        return results, None
    prefix = str(variables.get("schema_prefix", ""))
    files = {
        node.name: _run_file(settings, node, prefix)
        for node in manifest.nodes.values()
        if node.resource_type == "model"
    }
    return results, _failure(results, files, outcome.exception)


def _tell(result: ModelResult) -> None:
    what = result.message if result.status in FAILED else f"{result.rows_affected} rows"
    level = logging.ERROR if result.status in FAILED else logging.INFO
    _log.log(level, "%s: %s in %.2f s, %s", result.model, result.status, result.seconds, what)


def _result_of(event: Any) -> ModelResult:
    ran = event.data.run_result
    rows = ran.adapter_response.fields.get("rows_affected")
    count = int(rows.number_value or rows.string_value or 0) if rows is not None else None
    return ModelResult(
        model=event.data.node_info.node_name,
        status=str(ran.status),
        seconds=ran.execution_time,
        rows_affected=count if count is not None and count >= 0 else None,
        message="" if ran.status == "success" else masked(ran.message),
        sqlstate="" if ran.status == "success" else _sqlstate_of(ran.message),
    )


_sqlstates: dict[str, str] = {}
"""First line of an error of PostgreSQL -> its code, of the present call of dbt, which hands on the text alone."""


def _sqlstate_of(message: str) -> str:
    return next((code for text, code in _sqlstates.items() if text in message), "")


def _note_sqlstates() -> None:
    """Let dbt's adapter note the code of each error that PostgreSQL answers with."""
    import psycopg2
    from dbt.adapters.postgres.connections import PostgresConnectionManager

    handler = PostgresConnectionManager.exception_handler
    if getattr(handler, "notes_sqlstates", False):
        return

    @contextlib.contextmanager
    def noting(self: PostgresConnectionManager, statement: str) -> Iterator[None]:
        with handler(self, statement):
            try:
                yield
            except psycopg2.DatabaseError as error:
                if error.pgcode:
                    _sqlstates[str(error).strip().split("\n", 1)[0]] = error.pgcode
                raise

    noting.notes_sqlstates = True  # type: ignore[attr-defined]
    PostgresConnectionManager.exception_handler = noting  # type: ignore[method-assign, assignment]


def _failure(
    results: Sequence[ModelResult], files: Mapping[str, Path], exception: BaseException | None
) -> ModelsFailedError:
    first = next((result for result in results if result.status in FAILED), None)
    if first is None:
        return ModelsFailedError(
            f"dbt stopped before the first model: {masked(str(exception))}", "Run `c360 status`.", results
        )
    skipped = sum(result.status == "skipped" for result in results)
    read = f"Read the SQL as it ran in {files[first.model]}; w" if first.model in files else "W"
    return ModelsFailedError(
        f"Model {first.model} failed: {first.message}"
        + (f" ({skipped} models that read it were skipped.)" if skipped else ""),
        f"{read}hat was due stays due, so that the next run does it.",
        results,
    )


def _dbt(
    settings: Settings,
    manifest: Manifest | None,
    arguments: Sequence[str],
    variables: Mapping[str, Any],
    callbacks: list[Callable[[Any], None]],
) -> Any:
    from dbt.cli.main import dbtRunner

    prefix = str(variables.get("schema_prefix", ""))
    given: dict[str, Any] = contract_for_models()
    environment = {"DO_NOT_TRACK": "1"}
    if manifest is not None:  # parsing depends on prefix and contract alone, so that dbt's stored parse stays good
        given |= settings_for_models(settings)
        environment = dbt_environment(settings)
    command = [
        *arguments,
        "--project-dir", str(PROJECT), "--profiles-dir", str(PROJECT),
        "--target-path", str(target_path(settings, prefix)), "--log-path", str(settings.logs / "dbt"),
        "--log-level", "none", "--log-level-file", "none", "--no-print", "--no-write-json",
        "--no-version-check", "--vars", json.dumps({**given, **variables}),
    ]  # fmt: skip
    if manifest is not None:
        command += ["--threads", str(_WHOLE_THREADS if "--full-refresh" in arguments else _THREADS)]
    _settle_behaviour_flags()
    _note_sqlstates()
    _sqlstates.clear()
    with _environment(environment):
        outcome = dbtRunner(manifest=manifest, callbacks=callbacks).invoke(command)
    if outcome.exception is not None and not isinstance(outcome.exception, Exception):
        raise outcome.exception  # Ctrl-C, or a task's time-out: dbtRunner would have swallowed it
    return outcome


def _settle_behaviour_flags() -> None:
    """Keep one of each behaviour flag, and name its source without a search.

    Every call adds the adapter's flags to this list of the process again, and dbt walks the stack and every module for
    each of them to find who declared it: a third of a second per call, and the hundredth call of a process would spend
    most of its time on that (dbt-adapters 1.x, measured).
    """
    from dbt.adapters.base import impl
    from dbt_common.behavior_flags import BehaviorFlagRendered

    flags = impl.DEFAULT_BASE_BEHAVIOR_FLAGS
    flags[:] = {flag["name"]: flag for flag in flags}.values()
    BehaviorFlagRendered._default_source = staticmethod(lambda: "dbt")  # type: ignore[method-assign]


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _record(connection: Connection, run_id: int | None, results: Sequence[ModelResult]) -> None:
    if run_id is None or not results:
        return
    with connection.cursor() as cursor:
        cursor.executemany(
            "insert into ops.model_runs (run_id, model, status, seconds, rows_affected, message)"
            " values (%s, %s, %s, %s, %s, %s)",
            [(run_id, r.model, r.status, r.seconds, r.rows_affected, r.message or None) for r in results],
        )


def _load_changed_seeds(settings: Settings, connection: Connection, manifest: Manifest) -> None:
    """Load the seeds whose files differ from what is loaded; each table's comment holds its file's checksum."""
    seeds = {node.name: node for node in manifest.nodes.values() if node.resource_type == "seed"}
    loaded: dict[str, str] = dict(
        connection.execute(
            "select relname, obj_description(oid, 'pg_class') from pg_class"
            " where relnamespace = to_regnamespace('staging') and relname = any(%s)",
            [list(seeds)],
        ).fetchall()
    )
    changed = {name: node for name, node in seeds.items() if loaded.get(name) != _seed_comment(node)}
    if not changed:
        return
    _, failure = _invoke(settings, manifest, ["seed", "--full-refresh", "--select", *changed], {}, None)
    if failure:
        raise failure
    for name, node in changed.items():
        connection.execute(
            sql.SQL("comment on table staging.{} is {}").format(sql.Identifier(name), sql.Literal(_seed_comment(node)))
        )


def _seed_comment(node: Any) -> str:
    return f"{node.description} File checksum {node.checksum.checksum[:16]}."


def _published_tables(connection: Connection) -> list[str]:
    return [
        row[0]
        for row in connection.execute(
            "select relname from pg_class where relnamespace = to_regnamespace('marts') and relkind = 'r' order by 1"
        ).fetchall()
    ]


def _create_missing_daily_tables(connection: Connection, manifest: Manifest) -> None:
    """Create the daily tables that do not exist yet, and the columns that an older version's tables lack, empty.

    The live models read them from the first run on; the next daily pass makes them whole.
    """
    daily = [
        node
        for node in manifest.nodes.values()
        if node.resource_type == "model" and "daily" in node.tags and "live" not in node.tags
    ]
    names = [f"{node.schema}.{node.name}" for node in daily]
    there: dict[str, list[str]] = dict(
        connection.execute(
            """
            select n, array_agg(a.attname::text) from unnest(%s::text[]) as n
            join pg_attribute as a on a.attrelid = to_regclass(n) and a.attnum > 0 and not a.attisdropped
            group by n
            """,
            [names],
        ).fetchall()
    )
    for node, name in zip(daily, names, strict=True):
        present = there.get(name, [])
        missing = [
            sql.SQL("{} {}").format(sql.Identifier(column), sql.SQL(warehouse.query(spec.data_type or "text")))
            for column, spec in node.columns.items()
            if column not in present
        ]
        if present:
            for column in missing:
                connection.execute(
                    sql.SQL("alter table {} add column {}").format(sql.Identifier(node.schema, node.name), column)
                )
            continue
        columns = sql.SQL(", ").join(missing)
        connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(node.schema)))
        connection.execute(
            sql.SQL("create table {}.{} ({})").format(sql.Identifier(node.schema), sql.Identifier(node.name), columns)
        )

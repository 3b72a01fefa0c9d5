"""How fresh and complete each published table is; a description of every table and column of ops."""

from alembic import op

revision = "0200"
down_revision = "0191"
branch_labels = None
depends_on = None

_TABLES = """
create table ops.table_status (
    schema_name text not null,
    table_name text not null,
    feeds text[] not null,
    is_daily boolean not null,
    row_count bigint not null,
    as_of_on date,
    publication_id bigint not null,
    published_at timestamptz not null,
    changed_at timestamptz not null,
    primary key (schema_name, table_name)
);
comment on table ops.table_status is
    'One row per published table, written by the publication''s own transaction; marts.data_status reads it.';
comment on column ops.table_status.schema_name is 'Schema of the table.';
comment on column ops.table_status.table_name is 'Name of the table.';
comment on column ops.table_status.feeds is 'The feeds whose records the table is made from.';
comment on column ops.table_status.is_daily is 'Whether the table has figures of one day, which the daily pass moves.';
comment on column ops.table_status.row_count is 'Rows of the table after its last publication.';
comment on column ops.table_status.as_of_on is 'Business date of the daily figures; null for a table without any.';
comment on column ops.table_status.publication_id is 
    'The publication that last compared the table with what was built.';
comment on column ops.table_status.published_at is 'When that was (UTC).';
comment on column ops.table_status.changed_at is 'When a publication last moved a row of the table (UTC).';
create view ops.feed_completeness as
with batches as (
    select feed,
        max(landed_at) filter (where not is_history and state not in ('refused', 'duplicate')) as newest_landed_at,
        coalesce(sum(greatest(landed_rows, loaded_rows)) filter (where state in ('landed', 'failed', 'loaded')), 0)
            ::bigint as waiting_row_count,
        min(landed_at) filter (where state in ('landed', 'failed', 'loaded')) as waiting_since,
        coalesce(sum(loaded_rows) filter (where state = 'held'), 0)::bigint as held_row_count
    from ops.batches
    group by feed
),
amounts as (
    select state, jsonb_object_agg(currency, amount) as amounts
    from (
        select b.state, o.currency, sum(o.total_amount) as amount
        from ops.batches as b join raw.orders as o using (batch_id)
        where b.state in ('loaded', 'held') and b.feed = 'orders'
        group by b.state, o.currency
    ) as summed
    group by state
),
quarantined as (
    select feed, sum(row_count)::bigint as row_count,
        case when feed = 'orders' then
            jsonb_object_agg(coalesce(currency, 'unknown'), amount) filter (where amount is not null)
        end as amounts
    from (
        select feed, currency, count(*) as row_count, sum(amount) as amount
        from quarantine.rows
        cross join lateral (
            -- The row may be anything: only what reads like an amount counts.
            select substring(upper(record) from '"CURRENCY"\\s*:\\s*"\\s*([A-Z]{3})\\s*"') as currency,
                substring(record from '"total_amount"\\s*:\\s*"?\\s*(-?[0-9]{1,10}([.][0-9]{1,4})?)\\s*["\\s,}]')
                    ::numeric as amount
        ) as read
        where state = 'open'
        group by feed, currency
    ) as counted
    group by feed
)
select batches.feed, batches.newest_landed_at, batches.waiting_row_count, batches.waiting_since,
    case when batches.feed = 'orders' then (select amounts from amounts where state = 'loaded') end
        as waiting_order_amounts,
    batches.held_row_count,
    case when batches.feed = 'orders' then (select amounts from amounts where state = 'held') end
        as held_order_amounts,
    coalesce(quarantined.row_count, 0) as quarantined_row_count,
    quarantined.amounts as quarantined_order_amounts
from batches
left join quarantined using (feed);
comment on view ops.feed_completeness is
    'One row per feed with a batch: what of it is not published, counted when the view is read.';
comment on column ops.feed_completeness.feed is 'The feed.';
comment on column ops.feed_completeness.newest_landed_at is 'When its newest file landed, backfills left out (UTC).';
comment on column ops.feed_completeness.waiting_row_count is 'Rows that have landed and are not published yet.';
comment on column ops.feed_completeness.waiting_since is 'When the oldest file that waits landed (UTC).';
comment on column ops.feed_completeness.waiting_order_amounts is
    'Totals of the orders that are loaded and not published yet: currency → sum.';
comment on column ops.feed_completeness.held_row_count is 'Rows in batches that an operator holds back.';
comment on column ops.feed_completeness.held_order_amounts is 'Totals of the orders in them: currency → sum.';
comment on column ops.feed_completeness.quarantined_row_count is 'Rows that are in quarantine now.';
comment on column ops.feed_completeness.quarantined_order_amounts is
    'Totals of the orders in quarantine, as far as they can be read: currency → sum.';
"""

# Columns of earlier migrations that had no description.
_DESCRIPTIONS = """
ops.alembic_version: One row: the newest migration of the warehouse that was applied.
ops.alembic_version.version_num: Number of the migration.
ops.alert_deliveries.alert_id: The alert (ops.alerts).
ops.alert_deliveries.channel: Where it goes: email, or a webhook.
ops.alert_deliveries.attempts: How often sending was tried.
ops.alert_deliveries.sent_at: When the channel took it (UTC); null while it has not.
ops.alert_deliveries.next_try_at: When it is tried again (UTC); null when it was sent or given up.
ops.alert_deliveries.error: What the last attempt that failed said.
ops.alerts.alert_id: Number of the alert.
ops.alerts.incident_id: The incident that changed (ops.incidents).
ops.alerts.event: What happened to it: opened, escalated or closed.
ops.alerts.made_at: When it happened (UTC).
ops.batch_actions.action_id: Number of the action.
ops.batch_actions.batch_id: The batch (ops.batches).
ops.batch_actions.action: What was done: hold, unhold, replay, release, discard or tidy.
ops.batch_actions.row_count: Rows that it concerned.
ops.batch_actions.acted_by: Who did it.
ops.batch_actions.because: Why, in that person's words.
ops.batch_actions.acted_at: When (UTC).
ops.batches.batch_id: Number of the batch, in the order of arrival.
ops.batches.feed: The feed: orders, web_sessions or support_tickets.
ops.batches.file_name: Name of the file, below the folder of its feed.
ops.batches.content_hash: Hash of the file's content, by which a file that lands twice is known.
ops.batches.bytes: Size of the file in bytes.
ops.batches.state: What became of it: landed, refused, failed, loaded, held, published or duplicate.
ops.batches.landed_rows: Rows that the file holds.
ops.batches.loaded_rows: Rows that were loaded into raw.
ops.batches.released_rows: Rows that were released from quarantine, in batches of their own.
ops.batches.discarded_rows: Rows that an operator discarded from quarantine.
ops.batches.duplicate_rows: Rows that raw had already with the same content.
ops.batches.erased_rows: Rows that were erased on a person's demand.
ops.batches.refused_rows: Rows of a file that was refused whole.
ops.batches.duplicate_of: The batch that had the same content before; null for any other state than duplicate.
ops.batches.released_from: The batch from whose quarantine the rows of this one were released; null for a landed file.
ops.batches.unknown_fields: Fields that the contract does not know: name → rows that had it.
ops.batches.error: Why it was refused or failed; null otherwise.
ops.batches.file_modified_at: When the file was last written, as its storage says (UTC).
ops.batches.landed_at: When the file was first seen in the landing zone (UTC).
ops.batches.gated_at: When the landing gate judged it (UTC).
ops.batches.loaded_at: When its rows were in raw (UTC).
ops.batches.claimed_by: The run that took it (ops.runs).
ops.batches.published_at: When its rows were published (UTC).
ops.batches.publication_id: The publication that published it (ops.publications).
ops.control_totals.measure: What is counted, as table and column.
ops.control_totals.total: The total over the whole table.
ops.control_totals.publication_id: The publication that last moved it.
ops.conversions.batch_id: The batch of converted records (ops.batches).
ops.conversions.converted_at: When the vendor's export was converted (UTC).
ops.dirty.scope: What kind of key it is: order, session, ticket, event, stream, attribution, customer or day.
ops.dirty.key: The key, as text.
ops.freshness.subject: The feed or table.
ops.freshness.measure: What was measured: landing, publication or event.
ops.freshness.looked_at: When the monitor looked (UTC).
ops.freshness.age_minutes: Age that it measured, in minutes.
ops.freshness.objective_minutes: Age that was allowed then, in minutes.
ops.freshness.is_fresh: Whether the age was within what was allowed.
ops.freshness_objectives.subject: The feed or table.
ops.freshness_objectives.measure: landing (the newest file), publication (a file's wait) or event (the newest event).
ops.freshness_objectives.objective_minutes: Age that is allowed, in minutes (C360_FRESHNESS_OBJECTIVES).
ops.freshness_objectives.target_share: Share of the monitor's looks that should find it fresh, 0 to 1.
ops.gate_results.gate: The gate: landing, raw, candidate or marts.
ops.gate_results.suite: The suite of expectations, named like what it guards.
ops.gate_results.expectation: The expectation, in words.
ops.gate_results.column_name: The column that it judges; null where it judges rows.
ops.gate_results.severity: critical stops the line; warning does not.
ops.gate_results.outcome: passed, failed or crashed.
ops.gate_results.run_id: The run (ops.runs); null at the landing and raw gates.
ops.gate_results.batch_id: The batch that was judged (ops.batches); null at the candidate and marts gates.
ops.gate_results.checked_count: Rows that were judged.
ops.gate_results.unexpected_count: Rows that break the expectation.
ops.gate_results.detail: What was seen, without personal data.
ops.gate_results.checked_at: When it was judged (UTC).
ops.incident_mutes.dedupe_key: The cause, as in ops.incidents.
ops.incident_mutes.muted_by: Who closed it by hand.
ops.incident_mutes.because: Why.
ops.incident_mutes.muted_at: When (UTC).
ops.incidents.incident_id: Number of the incident.
ops.incidents.kind: Kind of the cause; each kind has a runbook.
ops.incidents.dedupe_key: The cause: at most one incident of it is open at a time.
ops.incidents.severity: critical, warning or info.
ops.incidents.summary: What is wrong, in one sentence, without personal data.
ops.incidents.tables: The published tables that it concerns, with their schemas.
ops.incidents.evidence: The figures that it was opened by.
ops.incidents.runbook: The page that says what to do (c360 runbook NAME).
ops.incidents.command: The command that fixes or shows it.
ops.incidents.first_seen_at: When the cause was first seen (UTC).
ops.incidents.last_seen_at: When the monitor last saw it (UTC).
ops.incidents.seen_count: How often the monitor saw it.
ops.incidents.escalated_at: When its severity rose (UTC); null while it has not.
ops.incidents.closed_at: When it was closed (UTC); null while it is open.
ops.incidents.closed_by: Who closed it: a person, or the state that is good again.
ops.incidents.closed_because: Why a person closed it.
ops.landing_seen.path: Path of the file.
ops.landing_seen.bytes: Its size when it was looked at.
ops.landing_seen.modified_ns: When it was last written, in nanoseconds since 1970.
ops.landing_seen.batch_id: The batch that it became (ops.batches).
ops.landing_seen.seen_at: When it was looked at (UTC).
ops.leases.name: What the lease is for.
ops.leases.acquired_at: When its holder got it (UTC).
ops.live_build.is_complete: True: the live tables were built whole by one set of models.
ops.live_build.run_id: The run that built them (ops.runs).
ops.live_build.publication_id: The publication of that build (ops.publications).
ops.live_build.published_at: When it was published (UTC).
ops.model_runs.run_id: The run (ops.runs).
ops.model_runs.model: Name of the model.
ops.model_runs.status: success, error, skipped, or a test's outcome.
ops.model_runs.seconds: How long it took, in seconds.
ops.model_runs.rows_affected: Rows that it wrote; null where the server does not say.
ops.model_runs.message: Why it failed; null otherwise.
ops.model_runs.finished_at: When it ended (UTC).
ops.page_actions.action_id: Number of the action.
ops.page_actions.incident_id: The incident that it was started from (ops.incidents); null otherwise.
ops.page_actions.command: The command as it ran.
ops.page_actions.acted_by: Who started it.
ops.page_actions.because: Why, in that person's words.
ops.page_actions.started_at: When it was started (UTC).
ops.page_actions.finished_at: When it ended (UTC); null while it runs.
ops.page_actions.exit_code: Its exit code; 0 is success.
ops.page_actions.output: The end of what it printed.
ops.publications.publication_id: Number of the publication, in the order of publication.
ops.publications.run_id: The run that made it (ops.runs).
ops.publications.kind: live: the dirty keys; rebuild: every live table whole; daily: the daily tables.
ops.publications.as_of_on: Business date of the daily figures; null for any other kind than daily.
ops.publications.published_at: When it was published (UTC).
ops.publications.tables: Tables that it changed: name → rows added, changed, removed and dated anew.
ops.restatements.publication_id: The publication that moved the figure (ops.publications).
ops.restatements.table_name: The published table.
ops.restatements.key: Key of the row, as text.
ops.restatements.figure: The column.
ops.restatements.old_amount: What was published before; null for a row that is new.
ops.restatements.new_amount: What is published now; null for a row that is gone.
ops.restatements.restated_at: When it moved (UTC).
ops.runs.run_id: Number of the run, in the order of starting.
ops.runs.kind: build, rebuild, daily, as_of or fit.
ops.runs.trigger: What started it: c360, a DAG, a test.
ops.runs.state: running, succeeded, failed, blocked or idle.
ops.runs.as_of_on: Business date of its figures; null for a build.
ops.runs.started_at: When it started (UTC).
ops.runs.claimed_at: When it had taken its batches (UTC).
ops.runs.built_at: When its models were built (UTC).
ops.runs.checked_at: When the candidate gate had let it through (UTC).
ops.runs.published_at: When it had published (UTC).
ops.runs.finished_at: When it ended (UTC); null while it runs.
ops.runs.batch_count: Batches that it took.
ops.runs.dirty_count: Keys that it had to do again.
ops.runs.publication_id: Its publication (ops.publications); null if it made none.
ops.runs.error: Why it failed or was blocked; null otherwise.
ops.runs.next_step: What to do about it.
ops.runs.log_path: Where its log is.
ops.unknown_fields.feed: The feed.
ops.unknown_fields.field: Name of the field.
ops.unknown_fields.first_batch_id: The batch that brought it first (ops.batches).
ops.unknown_fields.first_seen_at: When that was (UTC).
ops.unpublished_batches.batch_id: Number of the batch (ops.batches).
ops.unpublished_batches.feed: Its feed.
ops.unpublished_batches.file_name: Name of its file.
ops.unpublished_batches.is_history: Whether it landed as history.
ops.unpublished_batches.is_claimed: Whether a build has taken it.
ops.unpublished_batches.loaded_rows: Rows that were loaded.
ops.unpublished_batches.landed_at: When it landed (UTC).
ops.unpublished_batches.loaded_at: When its rows were in raw (UTC).
ops.unpublished_batches.claimed_at: When a build took it (UTC); null while none has.
ops.unpublished_batches.claimed_by: The run that took it (ops.runs).
ops.visible_batches.batch_id: Number of the batch (ops.batches).
ops.visible_batches.feed: Its feed.
ops.visible_batches.file_name: Name of its file.
ops.visible_batches.is_history: Whether it landed as history.
ops.visible_batches.state: loaded or published.
ops.visible_batches.loaded_rows: Rows that were loaded.
ops.visible_batches.landed_at: When it landed (UTC).
ops.visible_batches.loaded_at: When its rows were in raw (UTC).
ops.visible_batches.claimed_at: When a build took it (UTC).
ops.visible_batches.claimed_by: The run that took it (ops.runs).
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.get_bind().exec_driver_sql(statement)
    for line in _DESCRIPTIONS.strip().splitlines():
        name, text = line.split(": ", 1)
        kind = "column" if name.count(".") == 2 else "table"
        quoted = text.replace("'", "''")
        op.get_bind().exec_driver_sql(f"comment on {kind} {name} is '{quoted}'")


def downgrade() -> None:
    raise NotImplementedError("Migrations of this project go forward only.")

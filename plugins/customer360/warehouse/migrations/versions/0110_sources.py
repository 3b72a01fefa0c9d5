"""Sources: which vendor's export a batch is, and what became of each of its records on the way to the feed."""

from alembic import op

revision = "0110"
down_revision = "0100"
branch_labels = None
depends_on = None

_TABLES = """
alter table ops.batches add column source text;
comment on column ops.batches.source is
    'Source that converts the file (and @namespace of its ids, where given); null for a file in the contract''s form.';

-- The same file means other records to another source, and other ids in another namespace.
drop index ops.batches_one_per_content;
create unique index batches_one_per_content on ops.batches (feed, is_history, content_hash, coalesce(source, ''))
    where state not in ('duplicate', 'refused', 'failed') and released_from is null;

create table ops.conversions (
    batch_id bigint primary key references ops.batches,
    source text not null,
    source_version integer not null,
    source_digest text not null,
    namespace text not null,
    input_rows bigint not null,
    record_rows bigint not null,
    continuation_rows bigint not null,
    aside_rows bigint not null,
    asides jsonb not null,
    defaults jsonb not null,
    unknown_columns jsonb not null,
    exported_at timestamptz not null,
    output_hash text not null,
    converted_at timestamptz not null default clock_timestamp(),
    constraint every_input_row_is_accounted_for
        check (input_rows = record_rows + continuation_rows + aside_rows)
);
comment on table ops.conversions is
    'One row per batch that a source converted: what became of each record of the vendor''s file.';
comment on column ops.conversions.source is 'Name of the source: sources/<name>.sql.';
comment on column ops.conversions.source_version is 'Version that the source''s header states.';
comment on column ops.conversions.source_digest is
    'First half of the SHA-256 of the source''s file: an edit without a new version is visible.';
comment on column ops.conversions.namespace is 'Namespace of the ids of the batch.';
comment on column ops.conversions.input_rows is 'Records of the file, counted apart from the conversion.';
comment on column ops.conversions.record_rows is
    'Input records that became a record of the feed: the rows that landed.';
comment on column ops.conversions.continuation_rows is
    'Input records that are part of another one''s record, such as the further lines of an order.';
comment on column ops.conversions.aside_rows is 'Input records that were set aside by the source.';
comment on column ops.conversions.asides is
    'Reason for setting aside: {"count": records, "first": numbers in the file of the first of them}.';
comment on column ops.conversions.defaults is
    'What the source could not know and stated as documented: {"field: value": number of records}.';
comment on column ops.conversions.unknown_columns is 'Columns of the file that the source does not read or know.';
comment on column ops.conversions.exported_at is 'When the file was exported: by its name, else its last change.';
comment on column ops.conversions.output_hash is
    'SHA-256 of the converted records: the same file, source and namespace give the same.';
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)

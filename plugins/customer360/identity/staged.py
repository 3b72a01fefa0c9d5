"""What identity reads of staging: for each record its time and the texts that may identify somebody."""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.csv as pacsv

from customer360.warehouse import Connection, query

RECORD_TYPES = ("order", "session", "ticket")
"""In the order of their numbers in arrays."""


@dataclass(frozen=True)
class _Source:
    record_type: str
    table: str
    record_id: str
    seen_at: str
    phone: str
    anonymous_id: str
    linked_order_id: str


SOURCES = (
    _Source("order", "stg_orders", "order_id", "ordered_at", "phone", "anonymous_id", "null"),
    _Source("session", "stg_web_sessions", "session_id", "started_at", "null", "anonymous_id", "order_id"),
    _Source("ticket", "stg_support_tickets", "ticket_id", "created_at", "phone", "null", "order_id"),
)

_COLUMNS = {
    "record_type": pa.int8(),
    "record_id": pa.string(),
    "seen_us": pa.int64(),
    "rank": pa.int64(),
    "customer_id": pa.string(),
    "email": pa.string(),
    "phone": pa.string(),
    "anonymous_id": pa.string(),
    "linked_order_id": pa.string(),
}


def select_staged(schema: str, where: str = "true") -> str:
    """SQL for the staged records; ``where`` may use the source's columns and ``{record_id}``, ``{record_type}``.

    ``seen_us`` is in microseconds since 1970, ``rank`` breaks ties of it alike in every run.
    """
    return " union all ".join(
        f"""
        select {number} as record_type, {s.record_id} as record_id,
            (extract(epoch from {s.seen_at}) * 1000000)::bigint as seen_us,
            hashtextextended({s.record_id}, {number}) as rank,
            customer_id, email, {s.phone}::text as phone, {s.anonymous_id}::text as anonymous_id,
            {s.linked_order_id}::text as linked_order_id
        from {schema}.{s.table} where {where.format(record_id=s.record_id, record_type=s.record_type)}
        """
        for number, s in enumerate(SOURCES)
    )


def read_all(connection: Connection, schema: str) -> pa.Table:
    """Every staged record, columns as in ``select_staged``."""
    return copy_out(connection, select_staged(schema), _COLUMNS)


def copy_out(connection: Connection, select: str, columns: dict[str, pa.DataType]) -> pa.Table:
    """The rows of a query as an Arrow table; COPY's CSV is read many times faster than rows one by one."""
    sink = pa.BufferOutputStream()
    with (
        connection.cursor() as cursor,
        cursor.copy(query(f"copy ({select}) to stdout (format csv)")) as copy,
    ):
        for chunk in copy:
            sink.write(chunk)
    buffer = sink.getvalue()
    if not buffer.size:
        return pa.table({name: pa.array([], kind) for name, kind in columns.items()})
    return pacsv.read_csv(
        pa.BufferReader(buffer),
        read_options=pacsv.ReadOptions(column_names=list(columns), block_size=16 << 20),
        parse_options=pacsv.ParseOptions(newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(
            column_types=columns,
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            true_values=["t"],
            false_values=["f"],
        ),
    )


def copy_in(connection: Connection, table: str, columns: list[str], content: pa.Table) -> None:
    """Load an Arrow table by COPY; nulls stay nulls and empty texts stay empty."""
    if not content.num_rows:
        return
    options = pacsv.WriteOptions(include_header=False, quoting_style="needed")
    with (
        connection.cursor() as cursor,
        cursor.copy(query(f"copy {table} ({', '.join(columns)}) from stdin (format csv)")) as copy,
    ):
        for batch in content.select(columns).to_batches(max_chunksize=200_000):
            sink = pa.BufferOutputStream()
            pacsv.write_csv(pa.Table.from_batches([batch]), sink, options)
            copy.write(sink.getvalue().to_pybytes())

"""What identity reads of staging: for each record its time and the texts that may identify somebody."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.csv as pacsv

from customer360.contract.feeds import RECORD_FEEDS, Feed
from customer360.warehouse import Connection, query

RECORD_TYPES = tuple(feed.scope for feed in RECORD_FEEDS.values())
"""In the order of their numbers in arrays."""
FOLLOWS_ITS_ORDER = "session"
"""Records that belong to their order's customer even where they show another: who paid was there. A ticket about an
order may be another person's, who got the goods."""

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

    ``record_id`` is the record key, and so is ``linked_order_id``; ``customer_id`` has the form of a record key too,
    because it counts in the namespace of its record's source. ``seen_us`` is in microseconds since 1970, ``rank``
    breaks ties of it alike in every run. A record that its source has deleted is no evidence of anything.
    """
    return " union all ".join(
        f"""
        select {number} as record_type, {feed.key} as record_id,
            (extract(epoch from {feed.seen_at}) * 1000000)::bigint as seen_us,
            hashtextextended({feed.key}, {number}) as rank,
            raw.record_key(source, {_shown(feed, "customer_id")}) as customer_id, {_shown(feed, "email")} as email,
            {_shown(feed, "phone")} as phone, {_shown(feed, "anonymous_id")} as anonymous_id,
            {"order_key" if feed.scope != "order" and "order_id" in feed.by_name else "null::text"} as linked_order_id
        from {schema}.{feed.staged}
        where is_deleted is not true and {where.format(record_id=feed.key, record_type=feed.scope)}
        """
        for number, feed in enumerate(RECORD_FEEDS.values())
    )


def _shown(feed: Feed, field: str) -> str:
    return field if field in feed.by_name else "null::text"


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

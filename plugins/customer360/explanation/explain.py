"""What stands behind one published figure, down to the lines of the landed files.

A figure is read, and worked out once more from what :mod:`customer360.explanation.declared` says of its column; both
are told, so that a figure that is older than its rows shows as such.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any

from psycopg import sql
from psycopg.rows import dict_row

from customer360 import warehouse
from customer360.errors import Customer360Error
from customer360.explanation.declared import (
    FACTS,
    NOT_FIGURES,
    OF_CUSTOMERS,
    Choice,
    Declared,
    FactTable,
    Pick,
    Rank,
    Ratio,
    Rule,
    Score,
    Signed,
    Sum,
)  # fmt: skip
from customer360.settings import Settings
from customer360.warehouse import Connection, query, scalar

# Log-odds are cut here before they become a probability (int_customers__scored).
_LARGEST_LOG_ODDS = 13
_FAMILIES = ("recency", "frequency", "value", "order_quality", "sessions", "tickets")


class ExplanationError(Customer360Error):
    """There is no such figure, or nothing is known of what it is made of."""


@dataclass(frozen=True)
class Row:
    """A row that counts: its key, its date, what it adds, and the line of the landed file that says so."""

    key: str
    on: date | None
    value: Any
    file: str | None = None
    line: int | None = None
    batch_id: int | None = None


@dataclass(frozen=True)
class Term:
    """A part of a figure: what it is, what it comes to, and the rows that sum to it, if it has any."""

    name: str
    value: Any
    rows: list[Row] = field(default_factory=list)


@dataclass
class Explanation:
    """A figure and what it is made of.

    ``recounted`` is what the terms give now; ``agrees`` says whether that is what is published.
    """

    table: str
    column: str
    key: str
    value: Any
    means: str
    how: str = ""
    """sum, ratio, pick, choice, rule, rank, score, or line: a value as it was landed."""
    recounted: Any = None
    agrees: bool = True
    as_of_on: date | None = None
    terms: list[Term] = field(default_factory=list)
    parameters: list[dict[str, Any]] = field(default_factory=list)
    population: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain values but for numbers and dates."""
        return asdict(self)


def covered() -> dict[str, tuple[str, ...]]:
    """Published table → its columns that are worked out from rows, parts, rules, ranks or reasons.

    Every other column of the facts is explained by the line that it was landed with.
    """
    found = {table: tuple(columns) for table, columns in OF_CUSTOMERS.items()}
    return found | {
        table: (*dict.fromkeys((*fact.terms, *fact.sums)),) for table, fact in FACTS.items() if fact.terms or fact.sums
    }


def explain(settings: Settings, table: str, column: str, key: str) -> Explanation:
    """Explain one figure of ``marts``.

    Args:
        table: with or without ``marts.``.
        key: of a table of customers the customer_key, also one that was merged away; of a fact its record key, with
            ``:`` and the number behind it where a line or refund has one.

    Raises:
        ExplanationError: no such table, column or row, or nothing is declared of the column.
    """
    name = table.removeprefix("marts.")
    if name not in OF_CUSTOMERS and name not in FACTS:
        raise ExplanationError(f"'{table}' is not explained.", f"Name one of {', '.join((*OF_CUSTOMERS, *FACTS))}.")
    with warehouse.connect("transformer", settings, application_name="customer360 explain") as connection:
        connection.execute("set transaction isolation level repeatable read, read only")
        means = _meaning(connection, name, column)
        if name in FACTS:
            return _of_fact(connection, name, column, key, means)
        return _of_customer(connection, name, column, key, means)


def _meaning(connection: Connection, table: str, column: str) -> str:
    found = connection.execute(
        """
        select col_description(attrelid, attnum) from pg_attribute
        where attrelid = to_regclass(%s) and attname = %s and attnum > 0 and not attisdropped
        """,
        [f"marts.{table}", column],
    ).fetchone()
    if found is None:
        there = scalar(connection, "select to_regclass(%s)", [f"marts.{table}"])
        raise ExplanationError(
            f"marts.{table} has no column '{column}'." if there else f"marts.{table} is not published yet.",
            f"See its columns in docs/tables.md#{table}." if there else "Run `c360 run`.",
        )
    return found[0] or ""


# ---- customers -------------------------------------------------------------------------------------------------------


def _of_customer(connection: Connection, table: str, column: str, key: str, means: str) -> Explanation:
    declared = OF_CUSTOMERS[table].get(column)
    if declared is None:
        because = NOT_FIGURES.get(column, "")
        raise ExplanationError(
            f"{table}.{column} is not explained{': ' + because if because else ''}. It is: {means}",
            f"Explained are: {', '.join(OF_CUSTOMERS[table])}.",
        )
    present = _present_key(connection, key)
    row = connection.execute(
        sql.SQL("select {}, as_of_on from {} where customer_key = %s").format(
            sql.Identifier(column), sql.Identifier("marts", table)
        ),
        [present],
    ).fetchone()
    if row is None:
        raise ExplanationError(f"No customer of marts.{table} has the key {key}.", "Look it up in marts.customer_360.")
    told = Explanation(f"marts.{table}", column, str(present), row[0], means, as_of_on=row[1])
    _tell(connection, told, declared, present)
    told.agrees = _same(told.value, told.recounted)
    return told


def _present_key(connection: Connection, key: str) -> int:
    if not key.strip().isdecimal():
        raise ExplanationError(f"'{key}' is no customer_key, which is a number.", "Look it up in marts.customer_360.")
    present = scalar(
        connection,
        "select present_customer_key from state.customer_key_crosswalk where customer_key = %s "
        "order by entry_id desc limit 1",
        [int(key)],
    )
    return present or int(key)


def _tell(connection: Connection, told: Explanation, declared: Declared, key: int) -> None:
    match declared:
        case Sum():
            told.how = "sum"
            term = _sum(connection, told.column, declared, key)
            told.terms, told.recounted = [term], term.value
        case Signed():
            told.how = "sum"
            for sign, name, part in declared.parts:
                term = _sum(connection, name, part, key, sign)
                told.terms.append(term)
            told.recounted = sum(term.value for term in told.terms)
        case Ratio():
            told.how = "ratio"
            above = _sum(connection, "numerator", declared.above, key)
            below = _sum(connection, "denominator", declared.below, key)
            told.terms = [above, below]
            told.recounted = _divide(above.value, below.value, declared)
        case Pick():
            told.how = "pick"
            rows = _rows(connection, declared.fact, declared.value, declared.where, key, order=declared.order)
            told.terms = [Term("the first of these", rows[0].value if rows else None, rows)]
            told.recounted = rows[0].value if rows else None
        case Choice():
            told.how = "choice"
            _choose(connection, told, declared, key)
        case Rule():
            told.how = "rule"
            _apply(connection, told, declared, key)
        case Rank():
            told.how = "rank"
            _rank(connection, told, declared, key)
        case Score():
            told.how = "score"
            _score(connection, told, key)


def _sum(connection: Connection, name: str, declared: Sum, key: int, sign: int = 1) -> Term:
    value = declared.value if sign > 0 else f"-({declared.value})"
    rows = _rows(connection, declared.fact, value, declared.where, key, distinct=declared.distinct)
    known = [row.value for row in rows if row.value is not None]
    return Term(name, None if declared.is_null_without_rows and not known else sum(known), rows)


def _rows(
    connection: Connection, fact: Any, value: str, where: str, key: int, *, distinct: str = "", order: str = "",
    owner: str = "f.customer_key = %(key)s",
) -> list[Row]:  # fmt: skip
    """The rows of a fact that count, with file and line. SQL comes from this package alone, keys are parameters."""
    origin, columns = "", "null::text, null::bigint, null::bigint"
    if fact.staged:
        columns = "b.file_name, s.row_number::bigint, s.batch_id::bigint"
        origin = (
            f"left join staging.{fact.staged} as s on s.{'order_key' if fact.joined == 'lot' else fact.joined} "
            f"= f.{fact.joined} left join ops.batches as b on b.batch_id = s.batch_id"
        )
    by = order or f"{fact.on}, {fact.key}"
    chosen = f"distinct on ({distinct}) " if distinct else ""
    found = connection.execute(
        query(
            f"select {chosen}{fact.key}, {fact.on}, {value}, {columns} from {fact.table} as f {origin} "
            f"where {owner} and {where} order by {distinct + ', ' if distinct else ''}{by}"
        ),
        {"key": key},
    ).fetchall()
    return [Row(*row) for row in found]


def _divide(above: Any, below: Any, declared: Ratio) -> Any:
    if not below:
        return None
    share = Decimal(above) / Decimal(below)
    share = 1 - share if declared.complement else share
    return round(share, declared.digits)


def _choose(connection: Connection, told: Explanation, declared: Choice, key: int) -> None:
    shown = ", ".join(f"{expression} as {name}" for name, expression in declared.shown.items())
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(
            query(
                f"select {declared.group} as name, {shown} from {declared.fact.table} as f "
                f"where f.customer_key = %(key)s and {declared.where} group by 1 order by {declared.order}"
            ),
            {"key": key},
        ).fetchall()
    told.terms = [Term(row["name"], {name: row[name] for name in declared.shown}) for row in found]
    told.recounted = found[0]["name"] if found else None


_DAY = """
    from marts.customer_360 as t
    left join marts.customer_loyalty as l using (customer_key)
    left join marts.customer_churn as c using (customer_key)
    where t.customer_key = %(key)s
"""


def _apply(connection: Connection, told: Explanation, declared: Rule, key: int) -> None:
    if told.as_of_on is None:
        told.means += " Not known before the customer's first daily pass."
        return
    told.population = {"rule": declared.says}
    told.parameters = _parameters(connection, declared.parameters, told.as_of_on)
    values = {one["parameter"]: str(one["value"]) for one in told.parameters}
    with connection.cursor(row_factory=dict_row) as cursor:
        figures = ", ".join(f"{expression} as {name}" for name, expression in declared.figures.items())
        row = cursor.execute(
            query(f"select {figures}, ({declared.result.format(**values)}) as result {_DAY}"), {"key": key}
        ).fetchone()
    assert row is not None  # noqa: S101 - the customer was found before
    told.recounted = row.pop("result")
    told.terms = [Term(name, value) for name, value in row.items()]


def _parameters(connection: Connection, names: tuple[str, ...], day: date) -> list[dict[str, Any]]:
    """The rows of loyalty_parameters that hold on a day, in the order asked for."""
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(
            """
            select distinct on (parameter) parameter, value, valid_from, source from staging.loyalty_parameters
            where parameter = any(%s) and valid_from <= %s order by parameter, valid_from desc
            """,
            [list(names), day],
        ).fetchall()
    return sorted(found, key=lambda row: names.index(row["parameter"]))


def _rank(connection: Connection, told: Explanation, declared: Rank, key: int) -> None:
    measure, table = sql.Identifier(declared.measure), sql.Identifier("marts", declared.table)
    row = connection.execute(
        sql.SQL(
            """
            select mine.{measure}, mine.recency_days is not null,
                count(*) filter (where others.{measure} is not null),
                count(*) filter (where others.{measure} > mine.{measure})
            from {table} as mine
            cross join {table} as others
            where mine.customer_key = %s and others.recency_days is not null
            group by 1, 2
            """
        ).format(measure=measure, table=table),
        [key],
    ).fetchone()
    value, has_ordered, count, above = row or (None, False, 0, 0)
    told.population = {"compared_by": declared.measure, "rule": declared.says, "customer_count": count}
    told.terms = [Term(declared.measure, value)]
    if not declared.has_cuts:
        told.population["customers_above"] = above
        told.recounted = None if told.value is None else above + 1
        return
    with connection.cursor(row_factory=dict_row) as cursor:
        cuts = cursor.execute(
            "select quintile, upper_bound from marts.rfm_cut_points where measure = %s order by quintile",
            [declared.measure],
        ).fetchall()
    told.population["cut_points"] = {f"up to quintile {cut['quintile']}": cut["upper_bound"] for cut in cuts}
    inner = [cut["upper_bound"] for cut in cuts if cut["quintile"] < 5]
    if has_ordered and len(inner) == 4:
        passed = sum(value > bound for bound in inner)
        told.recounted = 5 - passed if declared.measure == "recency_days" else 1 + passed


def _score(connection: Connection, told: Explanation, key: int) -> None:
    with connection.cursor(row_factory=dict_row) as cursor:
        churn = cursor.execute("select * from marts.customer_churn where customer_key = %s", [key]).fetchone()
    told.recounted = told.value
    if churn is None:
        return
    told.population = {
        name: churn[name]
        for name in ("model_status", "model_status_reason", "model_version", "horizon_days")
        if churn[name] is not None
    }
    if churn["baseline_log_odds"] is None:
        told.terms = [
            Term(name, churn[name])
            for name in ("purchase_day_count", "recency_days", "expected_gap_days", "probability_of_order")
            if churn[name] is not None
        ]
        return
    told.terms = [Term("baseline", churn["baseline_log_odds"])]
    told.terms += [Term(name, churn[f"{name}_contribution"]) for name in _FAMILIES]
    log_odds = math.fsum(term.value for term in told.terms)
    told.population["log_odds"] = log_odds
    told.recounted = 1 / (1 + math.exp(-max(-_LARGEST_LOG_ODDS, min(_LARGEST_LOG_ODDS, log_odds))))


# ---- facts -----------------------------------------------------------------------------------------------------------


def _of_fact(connection: Connection, table: str, column: str, key: str, means: str) -> Explanation:
    fact = FACTS[table]
    found = _row_of(connection, table, column, fact, key)
    told = Explanation(f"marts.{table}", column, key, found["value"], means, recounted=found["value"])
    line = Row(key, found["on"], found["value"], found["file"], found["line"], found["batch_id"])
    if column in fact.sums:
        told.how = "sum"
        of_order = "f.order_key = %(key)s"
        rows = _rows(
            connection, fact.sums[column].fact, fact.sums[column].value, "true", found["joined"], owner=of_order
        )
        told.terms = [Term(column, sum(row.value for row in rows if row.value is not None), rows)]
        told.recounted = None if told.value is None else told.terms[0].value
    elif column in fact.terms:
        told.how = "sum"
        told.terms = [Term(name, found[f"term_{n}"], [line]) for n, (name, _) in enumerate(fact.terms[column])]
        values = [term.value for term in told.terms]
        told.recounted = None if None in values else sum(values)
    else:
        told.how = "line"
        told.terms = [Term(column, found["value"], [line])]
    told.agrees = _same(told.value, told.recounted)
    return told


def _row_of(connection: Connection, table: str, column: str, fact: FactTable, key: str) -> dict[str, Any]:
    """The fact's row with its line, and the terms of the column."""
    parts = key.rsplit(":", 1) if len(fact.primary_key) > 1 else [key]
    if len(parts) != len(fact.primary_key) or (len(parts) > 1 and not parts[1].isdecimal()):
        raise ExplanationError(
            f"'{key}' is no key of {table}.", f"Name {':'.join(fact.primary_key)}, such as A-1001:1."
        )
    terms = "".join(f", {sql_} as term_{n}" for n, (_, sql_) in enumerate(fact.terms.get(column, ())))
    conditions = " and ".join(
        f"f.{name}::text = %s" if n else f"f.{name} = %s" for n, name in enumerate(fact.primary_key)
    )
    text = query(
        f"""
        select f.{{column}} as value, {fact.fact.on} as "on", f.{fact.fact.joined} as joined, b.file_name as file,
            s.row_number::bigint as line, s.batch_id::bigint as batch_id{terms}
        from {fact.fact.table} as f
        left join staging.{fact.fact.staged} as s on s.{fact.fact.joined} = f.{fact.fact.joined}
        left join ops.batches as b on b.batch_id = s.batch_id
        where {conditions}
        """
    )
    with connection.cursor(row_factory=dict_row) as cursor:
        found = cursor.execute(sql.SQL(text).format(column=sql.Identifier(column)), parts).fetchone()
    if found is None:
        raise ExplanationError(f"No row of marts.{table} has the key '{key}'.", "Look it up with `c360 sql`.")
    return found


def _same(published: Any, recounted: Any) -> bool:
    """Whether two figures are the same; fractions as far as the column holds them."""
    if isinstance(published, float) or isinstance(recounted, float):
        return None not in (published, recounted) and math.isclose(published, recounted, rel_tol=1e-9, abs_tol=1e-12)
    if isinstance(published, Decimal) and isinstance(recounted, Decimal):
        return abs(published - recounted) <= Decimal("1e-9")
    return bool(published == recounted)

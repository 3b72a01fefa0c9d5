"""The past before the first daily pass, worked out from the records: one state table per history."""

from alembic import op

revision = "0230"
down_revision = "0221"
branch_labels = None
depends_on = None

_MONTH_END = "The last day of the month that the row is about."
_KEY = "The customer, by the key of the reconstruction."
_AT = "When the row was worked out (UTC)."

# (table, what it holds, its columns with their descriptions)
_TABLES: tuple[tuple[str, str, dict[str, tuple[str, str]]], ...] = (
    (
        "loyalty_tier_reconstructed", "the tier",
        {
            "tier": ("text", "base, silver, gold or platinum."),
            "reached_on": ("date", "Business date on which the records say that this tier was reached."),
            "why": ("text", "The figure behind the tier."),
        },
    ),
    (
        "lifecycle_stage_reconstructed", "the lifecycle stage, by the purchase gap alone",
        {
            "lifecycle_stage": ("text", "Stage of four: exploration, formation, stable or decline."),
            "lifecycle_stage_5": ("text", "Stage of five: establishment, adaptation, growth, mature or decline."),
            "why": ("text", "The rule of the seed lifecycle_stages that was met."),
        },
    ),
    (
        "relationship_ladder_reconstructed", "the rung of the relationship ladder",
        {
            "ladder_rung": ("text", "prospect, purchaser, client, supporter, advocate or partner."),
            "why": ("text", "The figures behind the rung."),
        },
    ),
)  # fmt: skip


def upgrade() -> None:
    for name, what, columns in _TABLES:
        listed = ", ".join(f"{column} {kind} not null" for column, (kind, _) in columns.items())
        op.execute(
            f"create table state.{name} (month_end_on date, customer_key bigint, {listed}, "
            "reconstructed_at timestamptz not null default now(), primary key (month_end_on, customer_key))"
        )
        op.execute(f"create index {name}_by_customer on state.{name} (customer_key)")
        op.execute(
            f"comment on table state.{name} is 'One row per customer and month end before the first daily pass: "
            f"{what}, as the records that are known now give it for that day (docs/decisions/0011).'"
        )
        said = {
            "month_end_on": _MONTH_END, "customer_key": _KEY, "reconstructed_at": _AT,
            **{column: text for column, (_, text) in columns.items()},
        }  # fmt: skip
        for column, text in said.items():
            op.execute(f"comment on column state.{name}.{column} is '{text}'")
    op.execute(
        """
        create table state.reconstructions (
            history text primary key,
            first_pass_on date not null,
            month_count integer not null,
            row_count bigint not null,
            publication_id bigint not null,
            seconds double precision not null,
            reconstructed_at timestamptz not null default now()
        )
        """
    )
    op.execute(
        "comment on table state.reconstructions is 'One row per history that was reconstructed last, and of what.'"
    )
    for column, text in {
        "history": "The history: loyalty_tier, lifecycle_stage or relationship_ladder.",
        "first_pass_on": "Business date of the first daily pass: the journals hold what came from then on.",
        "month_count": "Month ends that were asked for (C360_HISTORY_MONTHS).",
        "row_count": "Rows that were worked out.",
        "publication_id": "The newest publication then (ops.publications).",
        "seconds": "Seconds that it took.",
        "reconstructed_at": "When it ended (UTC).",
    }.items():
        op.execute(f"comment on column state.reconstructions.{column} is '{text}'")

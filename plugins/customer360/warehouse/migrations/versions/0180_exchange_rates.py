"""Exchange rates by day: what was imported of the reference rates, and the rates that amounts are converted with."""

from alembic import op

revision = "0180"
down_revision = "0170"
branch_labels = None
depends_on = None

_TABLES = """
create table state.reference_rates (
    currency text not null check (currency ~ '^[A-Z]{3}$'),
    valid_on date not null,
    units_per_euro numeric not null check (units_per_euro > 0),
    source text not null,
    imported_at timestamptz not null default clock_timestamp(),
    primary key (currency, valid_on)
);
comment on table state.reference_rates is
    'One row per currency and day: reference rates of the European Central Bank that `c360 rates import` added to the '
    'history that the program ships.';
comment on column state.reference_rates.currency is 'ISO 4217 code.';
comment on column state.reference_rates.valid_on is 'Day on which the bank published the rate.';
comment on column state.reference_rates.units_per_euro is 'Units of the currency that one euro bought.';
comment on column state.reference_rates.source is 'Name of the imported file.';
comment on column state.reference_rates.imported_at is 'When the rate was imported (UTC).';
create table state.own_rates (
    from_currency text not null check (from_currency ~ '^[A-Z]{3}$'),
    to_currency text not null check (to_currency ~ '^[A-Z]{3}$'),
    valid_from_on date not null,
    rate numeric check (rate > 0),
    source text,
    imported_at timestamptz not null default clock_timestamp(),
    primary key (from_currency, to_currency, valid_from_on)
);
comment on table state.own_rates is
    'One row per pair of currencies and day from which a rate of the shop''s own holds, until the next row of the '
    'pair. They come before the reference rates.';
comment on column state.own_rates.from_currency is 'ISO 4217 code of the amount.';
comment on column state.own_rates.to_currency is 'ISO 4217 code that it is converted to.';
comment on column state.own_rates.valid_from_on is 'First business date of the rate.';
comment on column state.own_rates.rate is
    'Units of to_currency per unit of from_currency; null where the shop''s own rates of the pair end.';
comment on column state.own_rates.source is 'Where the rate comes from, as the file says.';
comment on column state.own_rates.imported_at is 'When the rate was imported (UTC).';
create table state.exchange_rates (
    from_currency text not null,
    to_currency text not null,
    valid_on date not null,
    rate numeric not null check (rate > 0),
    source text not null,
    primary key (from_currency, to_currency, valid_on)
);
comment on table state.exchange_rates is
    'One row per pair of currencies and day: the rate that amounts of that day are converted with. Worked out by a run '
    'for the currencies that the shop sells in.';
comment on column state.exchange_rates.from_currency is 'ISO 4217 code of the amount.';
comment on column state.exchange_rates.to_currency is 'ISO 4217 code that it is converted to.';
comment on column state.exchange_rates.valid_on is 'Business date of the amount.';
comment on column state.exchange_rates.rate is 'Units of to_currency per unit of from_currency.';
comment on column state.exchange_rates.source is
    'Where the rate comes from: the shop''s own file, or the European Central Bank and the day of its rate.';
"""


def upgrade() -> None:
    op.execute(_TABLES)


def downgrade() -> None:
    raise NotImplementedError("Migrations of this project go forward only.")

"""Churn: the versions of the model with everything that scoring needs, how each did, and the journal of scores."""

from alembic import op

revision = "0030"
down_revision = "0020"
branch_labels = None
depends_on = None

_TABLES = """
create table state.churn_horizons (
    valid_from_on date primary key,
    horizon_days integer not null check (horizon_days > 0),
    set_at timestamptz not null default now()
);
comment on table state.churn_horizons is
    'One row per day from which another horizon holds. A refit never changes it; without a row it is 91 days.';

create table state.churn_model_versions (
    model_version bigint generated always as identity primary key,
    run_id bigint references ops.runs,
    fitted_at timestamptz not null default now(),
    as_of_on date not null,
    requested_horizon_days integer not null check (requested_horizon_days > 0),
    horizon_days integer not null check (horizon_days > 0),
    snapshots date[] not null,
    status text not null,
    bgnbd_status text not null,
    gammagamma_status text not null,
    decision text not null,
    families text[] not null
);
comment on table state.churn_model_versions is 'One row per fit. Append-only: a version never changes.';
comment on column state.churn_model_versions.as_of_on is 'The day that the fit took for today.';
comment on column state.churn_model_versions.snapshots is
    'Days it learned on, oldest first; the last is the test. Empty: not judged.';
comment on column state.churn_model_versions.status is 'fitted, or why there is no regression.';
comment on column state.churn_model_versions.decision is 'promoted, or why not.';

create table state.churn_model_parameters (
    model_version bigint not null references state.churn_model_versions,
    model text not null check (model in ('bgnbd', 'gammagamma', 'hiatus', 'frequency', 'primary')),
    parameter text not null,
    value double precision not null,
    primary key (model_version, model, parameter)
);
comment on table state.churn_model_parameters is
    'One row per version, model and parameter. Times are in weeks. Append-only.';

create table state.churn_model_terms (
    model_version bigint not null references state.churn_model_versions,
    feature text not null,
    family text not null,
    column_name text not null,
    transform text not null check (transform in ('as_it_is', 'log1p', 'is_null')),
    mean double precision not null,
    scale double precision not null check (scale > 0),
    beta double precision not null,
    population_mean_z double precision not null,
    primary key (model_version, feature)
);
comment on table state.churn_model_terms is
    'One row per version and feature of its regression: log-odds = intercept + sum of beta z. Append-only.';
comment on column state.churn_model_terms.population_mean_z is
    'Mean z of the test population, from which contributions are told.';

create table state.churn_dropout_nodes (
    model_version bigint not null references state.churn_model_versions,
    node integer not null,
    dropout double precision not null,
    log_staying double precision not null,
    log_weight double precision not null,
    primary key (model_version, node)
);
comment on table state.churn_dropout_nodes is
    'One row per version and node of the sum that stands for Beta(a, b) in expected orders. Append-only.';

create table state.churn_model_evaluation (
    model_version bigint not null references state.churn_model_versions,
    model text not null,
    segment text not null,
    customer_count bigint not null,
    churn_rate double precision,
    mean_predicted double precision,
    auc double precision,
    auc_low double precision,
    auc_high double precision,
    brier double precision,
    brier_skill double precision,
    log_loss double precision,
    ece double precision,
    top_decile_lift double precision,
    top_decile_lift_ceiling double precision,
    auc_difference double precision,
    auc_difference_low double precision,
    auc_difference_high double precision,
    compared_with text,
    calibration_bins jsonb,
    primary key (model_version, model, segment)
);
comment on table state.churn_model_evaluation is
    'One row per version, model and segment of customers: how it did on the test snapshot. Append-only.';

create table state.customer_churn_history (
    customer_key bigint not null,
    as_of_on date not null,
    recorded_at timestamptz not null default now(),
    model_version bigint,
    model_status text not null,
    churn_probability double precision,
    churn_band text,
    is_late_vs_own_cadence boolean,
    expected_value_365_amount numeric(18, 4),
    primary key (customer_key, as_of_on)
);
comment on table state.customer_churn_history is
    'Journal: one row per customer and day on which the score moved by 0.02, or changed status, band or lateness.';

grant select, insert on state.churn_horizons, state.churn_model_versions, state.churn_model_parameters,
    state.churn_model_terms, state.churn_dropout_nodes, state.churn_model_evaluation, state.customer_churn_history
    to transformer;
grant update on state.churn_horizons to transformer;
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)

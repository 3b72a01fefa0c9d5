"""Churn: trees beside the regression, the SQL that scores, why a version serves, and a measured value of 365 days."""

from alembic import op

revision = "0100"
down_revision = "0090"
branch_labels = None
depends_on = None

_CHANGES = """
alter table state.churn_model_versions
    add column model text,
    add column fallback text,
    add column why text,
    add column auc_mean double precision,
    add column auc_spread double precision,
    add column brier_mean double precision,
    add column brier_spread double precision,
    add column test_day_count integer,
    add column value_status text,
    add column value_window_days integer,
    add column value_coverage double precision,
    add column value_r_squared double precision,
    add column value_r_squared_gammagamma double precision;
comment on column state.churn_model_versions.model is
    'The candidate chosen: logistic, trees, mean, bgnbd, hiatus, frequency; null without a model.';
comment on column state.churn_model_versions.fallback is
    'The best of hiatus, frequency and BG/NBD, which serves where no version was ever promoted.';
comment on column state.churn_model_versions.why is 'Why this model, and why it was promoted or not, in words.';

alter table state.churn_model_terms drop constraint churn_model_terms_transform_check;
alter table state.churn_model_terms add constraint churn_model_terms_transform_check
    check (transform in ('as_it_is', 'square_root', 'log1p', 'squared_log1p', 'is_null'));

create table state.churn_model_nodes (
    model_version bigint not null references state.churn_model_versions,
    tree integer not null,
    node integer not null,
    family text,
    column_name text,
    threshold double precision,
    left_node integer,
    right_node integer,
    value double precision not null,
    primary key (model_version, tree, node)
);
comment on table state.churn_model_nodes is
    'One row per version and node of its trees: up to and including the threshold goes left. Append-only.';
comment on column state.churn_model_nodes.column_name is 'The column that the node splits on; null: a leaf.';
comment on column state.churn_model_nodes.value is
    'Of a leaf what it adds to the log-odds, of an inner node the mean of its training rows.';

create table state.churn_model_split_means (
    model_version bigint not null references state.churn_model_versions,
    family text not null,
    column_name text not null,
    mean double precision not null,
    primary key (model_version, column_name, family)
);
comment on table state.churn_model_split_means is
    'One row per version and column: mean of what its splits add in the test population. Append-only.';

create table state.churn_model_expressions (
    model_version bigint not null references state.churn_model_versions,
    part text not null,
    expression text not null,
    split_columns text[] not null,
    primary key (model_version, part)
);
comment on table state.churn_model_expressions is
    'One row per version and part of its score, as SQL: a family, or a stage of the value. Append-only.';

create table state.churn_value_quantiles (
    model_version bigint not null references state.churn_model_versions,
    percent integer not null check (percent between 0 and 100),
    log_ratio double precision not null,
    primary key (model_version, percent)
);
comment on table state.churn_value_quantiles is
    'One row per version and percentile of ln(realised / predicted) among customers who bought. Append-only.';

insert into state.churn_model_expressions (model_version, part, expression, split_columns)
select
    model_version,
    family,
    string_agg(
        format(
            '''%s''::float8 * (greatest(-6, least(6, (%s - ''%s''::float8) / ''%s''::float8)) - ''%s''::float8)',
            beta,
            case transform
                when 'is_null' then format('(case when %I is null then 1 else 0 end)::float8', column_name)
                when 'log1p' then format('ln(1 + greatest(coalesce(%I::float8, 0), 0))', column_name)
                else format('coalesce(%I::float8, 0)', column_name)
            end,
            mean, scale, population_mean_z
        ),
        ' + ' order by feature
    ),
    '{}'
from state.churn_model_terms
group by model_version, family;

grant select, insert on state.churn_model_nodes, state.churn_model_split_means, state.churn_model_expressions,
    state.churn_value_quantiles to transformer;
alter table state.churn_model_parameters drop constraint churn_model_parameters_model_check;
alter table state.churn_model_parameters add constraint churn_model_parameters_model_check
    check (model in ('bgnbd', 'gammagamma', 'hiatus', 'frequency', 'primary', 'value'));
alter table state.churn_model_evaluation add column brier_difference double precision;
alter table state.churn_model_evaluation add column brier_difference_low double precision;
alter table state.churn_model_evaluation add column brier_difference_high double precision
"""


def upgrade() -> None:
    for statement in _CHANGES.split(";\n"):
        if statement.strip():
            op.execute(statement)

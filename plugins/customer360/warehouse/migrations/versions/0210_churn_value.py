"""Churn: MBG/NBD beside BG/NBD, and what buyers deviate from their predicted value by segment of customers."""

from alembic import op

revision = "0210"
down_revision = "0200"
branch_labels = None
depends_on = None

_CHANGES = """
alter table state.churn_value_quantiles
    add column segment text not null default 'all' check (segment in ('all', '1', '2-3', '4+')),
    drop constraint churn_value_quantiles_pkey,
    add primary key (model_version, segment, percent);
alter table state.churn_value_quantiles alter column segment drop default;
comment on table state.churn_value_quantiles is
    'One row per version, segment and percentile of ln(realised / predicted) among customers who bought. Append-only.';
comment on column state.churn_value_quantiles.segment is
    'Purchase days of the customers, as in churn_model_evaluation; all: everybody, and segments with few buyers.';
alter table state.churn_model_versions add column value_coverage_one_time double precision;
alter table state.churn_model_parameters drop constraint churn_model_parameters_model_check;
alter table state.churn_model_parameters add constraint churn_model_parameters_model_check
    check (model in ('bgnbd', 'mbgnbd', 'gammagamma', 'hiatus', 'frequency', 'primary', 'value'));
comment on column state.churn_model_versions.model is
    'The candidate chosen: logistic, trees, mean, bgnbd, mbgnbd, hiatus, frequency; null without a model.'
"""


def upgrade() -> None:
    for statement in _CHANGES.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    raise NotImplementedError("Migrations of this project go forward only.")

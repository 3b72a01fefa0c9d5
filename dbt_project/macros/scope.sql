{#
  What a run has to do again: the keys of `ops.dirty`.

  A model names its scope in `meta`:
    scope        order | session | ticket | event | stream | attribution | customer | day; without one the model is
                 always built whole
    marked_by    the macro that marks the keys of a scope that no other table has
    scope_key    the column that holds the scope's key
    touches      {scope: column}: keys that a change of this table makes dirty for the models that read it
    primary_key  the columns of its unique index
    indexes      further indexes, as SQL after "on <table>"
    cluster_by   the column by which a whole build sorts the rows (docs/decisions/0014)
    moves        true: a run over dirty keys moves the published totals by what changed (macro moved_rows)
#}

{# The dirty keys of a scope, in the type of the column they are compared with. #}
{% macro dirty(scope) -%}
    (select key::{{ var('key_types')[scope] }} from {{ source('ops', 'dirty') }} where scope = '{{ scope }}')
{%- endmacro %}

{# Whether this execution does the dirty keys alone: the table exists, and nobody asked for a full refresh. #}
{% macro is_scoped() -%}
    {%- if not execute or model.get('resource_type') != 'model' -%} {{ return(false) }} {%- endif -%}
    {%- set meta = config.get('meta', {}) -%}
    {{ return(meta.get('scope') is not none
              and not should_full_refresh() and load_cached_relation(this) is not none
              and (not meta.get('moves') or this.identifier in var('published_tables'))) }}
{%- endmacro %}

{# `and <column> in (dirty keys)` in a run over dirty keys, nothing in a full one. #}
{% macro only_dirty(scope, column) -%}
    {%- if is_scoped() %} and {{ column }} in {{ dirty(scope) }} {%- endif -%}
{%- endmacro %}

{# `and <column> in (sampled keys)` in a build of a sample of the customers, nothing otherwise. #}
{% macro only_sampled(scope, column) -%}
    {%- if var('sample_of') %} and {{ column }} in (select key from {{ var('sample_of') }} where scope = '{{ scope }}') {%- endif -%}
{%- endmacro %}

{# The published version of a table that the models build. #}
{% macro published(name) -%}
    {{ return(api.Relation.create(database=target.database, schema='marts', identifier=name)) }}
{%- endmacro %}

{#
  What a run changes in the totals over a table, as rows with a `sign`: +1 each row as it now is, -1 each row as it was
  published; a full build takes the former alone.

  So the totals of a day move by the dirty keys' rows, and nobody reads the rest of the day: 1,000 corrections spread
  over 500 days of 2 million orders would read a million of them. It is exact (numbers are decimals), and safe to do
  again, because marts and ops.dirty change together, in the publication: as long as a key is dirty, its published row
  is the one that the published totals hold. A distinct count is not a total: see the buyers of fct_daily_revenue.
#}
{% macro moved_rows(name, scope, key, columns, condition='true') -%}
    select 1 as sign, {{ columns | join(', ') }}
    from {{ ref(name) }}
    where {{ condition }}
        {{- only_dirty(scope, key) }}
    {%- if is_scoped() %}
    union all
    select -1, {{ columns | join(', ') }}
    from {{ published(name) }}
    where {{ condition }}
        {{- only_dirty(scope, key) }}
    {%- endif %}
{%- endmacro %}

{# The published totals of the dirty days, for the moved rows to be added to; nothing in a full build. #}
{% macro published_totals(columns) -%}
    {%- if is_scoped() %}
    union all
    select {{ columns | join(', ') }}
    from {{ published(this.identifier) }}
    where {{ config.get('meta').scope_key }} in {{ dirty(config.get('meta').scope) }}
    {%- endif %}
{%- endmacro %}

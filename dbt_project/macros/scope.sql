{#
  What a run has to do again: the keys of `ops.dirty`.

  A model names its scope in `meta`:
    scope        order | session | ticket | customer | day; without one the model is always built whole
    scope_key    the column that holds the scope's key
    touches      {scope: column}: keys that a change of this table makes dirty for the models that read it
    primary_key  the columns of its unique index
    indexes      further indexes, as SQL after "on <table>"
#}

{# The dirty keys of a scope, in the type of the column they are compared with. #}
{% macro dirty(scope) -%}
    (select key{{ {'customer': '::bigint', 'day': '::date'}.get(scope, '') }} from {{ source('ops', 'dirty') }} where scope = '{{ scope }}')
{%- endmacro %}

{# Whether this execution does the dirty keys alone: the table exists, and nobody asked for a full refresh. #}
{% macro is_scoped() -%}
    {%- if not execute or model.get('resource_type') != 'model' -%} {{ return(false) }} {%- endif -%}
    {{ return(config.get('meta', {}).get('scope') is not none
              and not should_full_refresh() and load_cached_relation(this) is not none) }}
{%- endmacro %}

{# `and <column> in (dirty keys)` in a run over dirty keys, nothing in a full one. #}
{% macro only_dirty(scope, column) -%}
    {%- if is_scoped() %} and {{ column }} in {{ dirty(scope) }} {%- endif -%}
{%- endmacro %}

{#
  The one way a table is written (architecture, principle 3): the rows of the dirty keys go, what the query gives for those
  keys comes. A merge by key would keep the items that an order has lost.

  Repeatable read makes the delete and the query see the same dirty keys, although a model beside this one may be
  adding some: a key seen only by the insert would collide with its own old row. Without merge joins: the planner takes
  one for few keys of a large table where its histogram ends before them, and it walks the whole index.

  `marked_by`: a macro that gives the keys of a scope which this table alone has, worked out from those of other scopes.
#}
{% macro replace_scope(target, columns, scope, scope_key, query, marked_by=none) -%}
    set transaction isolation level repeatable read;
    set local enable_mergejoin = off;
    {% if marked_by -%}
    insert into {{ source('ops', 'dirty') }} (scope, key)
    select '{{ scope }}', key from (
        {{ marked_by() }}
    ) as marked (key)
    order by key
    on conflict do nothing;
    {% endif -%}
    delete from {{ target }} where {{ scope_key }} in {{ dirty(scope) }};
    insert into {{ target }} ({{ columns }})
    select {{ columns }} from (
{{ query }}
    ) as replacement
{%- endmacro %}

{#
  The same for a table whose change makes other keys dirty: the old and the new values of the touched columns are
  marked in the transaction that changes them. One sorted insert per transaction, last but for the rows themselves,
  so that two such models running side by side cannot deadlock.
#}
{% macro replace_scope_and_touch(target, columns, scope, scope_key, query, touches) -%}
    set local enable_mergejoin = off;
    create temporary table replacement on commit drop as
{{ query }};
    insert into {{ source('ops', 'dirty') }} (scope, key)
    select scope, key from (
        {%- for touched_scope, column in touches %}
        select '{{ touched_scope }}' as scope, {{ column }}::text as key from {{ target }} where {{ scope_key }} in {{ dirty(scope) }}
        union
        select '{{ touched_scope }}', {{ column }}::text from replacement
        {{- ' union' if not loop.last }}
        {%- endfor %}
    ) as touched
    where key is not null
    order by scope, key
    on conflict do nothing;
    delete from {{ target }} where {{ scope_key }} in {{ dirty(scope) }};
    insert into {{ target }} ({{ columns }})
    select {{ columns }} from replacement
{%- endmacro %}

{#
  Materialization `replace_scope`. One round trip for the dirty keys; dbt's own incremental materialization needs
  about ten (a temporary table, four looks into the catalog, …), which was most of a small run's time.
  A whole build writes beside the old table and swaps, checks the contract, creates the indexes and analyses.
#}
{% materialization replace_scope, adapter='postgres' %}
    {%- set target = this.incorporate(type='table') -%}
    {%- set existing = load_cached_relation(this) -%}
    {%- set meta = config.get('meta', {}) -%}
    {%- set columns = model.columns.keys() | join(', ') -%}

    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {% if is_scoped() %}
        {%- set touches = (meta.get('touches') or {}).items() | list -%}
        {% call statement('main') -%}
            {% if touches -%}
                {{ replace_scope_and_touch(target, columns, meta.scope, meta.scope_key, sql, touches) }}
            {%- else -%}
                {{ replace_scope(target, columns, meta.scope, meta.scope_key, sql, context.get(meta.get('marked_by'))) }}
            {%- endif %}
        {%- endcall %}
    {% else %}
        {%- set fresh = make_intermediate_relation(target) -%}
        {% call statement('create') -%}
            {{ get_assert_columns_equivalent(sql) }}
            drop table if exists {{ fresh }};
            create table {{ fresh }} {{ get_table_columns_and_constraints() }};
            {% if not meta.get('scope') -%}
            {#- Made anew each time and analysed below: autovacuum would only take the processors from the next models. #}
            alter table {{ fresh }} set (autovacuum_enabled = false, toast.autovacuum_enabled = false);
            {%- endif %}
        {%- endcall %}
        {#- A whole build never gains by a loop over rows, but loses hours where the planner expects one row. #}
        {% call statement('plan') -%} set local enable_nestloop = off {%- endcall %}
        {% call statement('main') -%}
            insert into {{ fresh }} ({{ columns }})
            select {{ columns }} from (
{{ sql }}
            ) as whole
            {%- if meta.get('cluster_by') %}
            {#- An increment reads all rows of the customers it touches: together they are a page or two, not one each. #}
            order by {{ meta.cluster_by }}
            {%- endif %}
        {%- endcall %}
        {% call statement('swap') -%}
            {% if existing is not none -%}
            drop {{ existing.type }} {{ existing }};
            {%- endif %}
            alter table {{ fresh }} rename to {{ adapter.quote(target.identifier) }};
            {% if meta.get('primary_key') -%}
            create unique index on {{ target }} ({{ meta.primary_key | join(', ') }});
            {%- endif %}
            {% for index in meta.get('indexes', []) -%}
            create index on {{ target }} {{ index }};
            {% endfor -%}
            analyze {{ target }};
        {%- endcall %}
        {% do persist_docs(target, model) %}
    {% endif %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do adapter.commit() %}
    {{ return({'relations': [target]}) }}
{% endmaterialization %}

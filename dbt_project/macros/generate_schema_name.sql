{#
  Where a table goes. Ordinary runs: the schema that its folder names. With `schema_prefix` (asof_YYYYMMDD, or a
  scratch build) candidate tables go to `<prefix>` and all others to `<prefix>_<schema>`, so that nothing live is
  touched. Seeds are operator input, dated in their own rows, and are shared by all.
#}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {%- set schema = custom_schema_name or target.schema -%}
    {%- set prefix = var('schema_prefix', '') -%}
    {%- if not prefix or node.resource_type == 'seed' -%} {{ schema }}
    {%- elif schema == 'candidate' -%} {{ prefix }}
    {%- else -%} {{ prefix }}_{{ schema }}
    {%- endif -%}
{%- endmacro %}

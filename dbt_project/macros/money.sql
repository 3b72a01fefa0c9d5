{# Rates into the reporting currency: one row per currency and period [valid_from_on, valid_to_on). #}
{% macro exchange_rates() -%}
    select
        from_currency as currency,
        valid_from_on,
        lead(valid_from_on, 1, 'infinity'::date) over (partition by from_currency order by valid_from_on) as valid_to_on,
        rate
    from {{ ref('fx_rates') }}
    where to_currency = '{{ var("reporting_currency") }}' and from_currency <> to_currency
    union all
    select '{{ var("reporting_currency") }}', '-infinity'::date, 'infinity'::date, 1::numeric
{%- endmacro %}

{# Join condition of a row of `rates` for an amount in `currency` of the day `on_date`. #}
{% macro rate_of(currency, on_date) -%}
    rates.currency = {{ currency }} and {{ on_date }} >= rates.valid_from_on and {{ on_date }} < rates.valid_to_on
{%- endmacro %}

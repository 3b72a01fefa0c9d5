{# Rates into the reporting currency: one row per currency and day (customer360.exchange.rates); none from it to itself. #}
{% macro exchange_rates() -%}
    select
        from_currency as currency,
        valid_on,
        rate
    from {{ source('state', 'exchange_rates') }}
    where to_currency = '{{ var("reporting_currency") }}'
{%- endmacro %}

{#
  What an order brings before refunds. Gift cards and store credit can make the total smaller than tax and shipping
  together: nothing is left then, and fct_orders.is_net_floored says so. Without a rate there is no total, and no net:
  greatest() alone would leave the null out and make it 0.
#}
{% macro net_basis(total, tax, shipping) -%}
    case when {{ total }} is not null then greatest({{ total }} - {{ tax }} - {{ shipping }}, 0) end
{%- endmacro %}

{# Of a running sum that reaches `running` with this row's `amount`: how much of the amount lies within `limit`. #}
{% macro within_sum(amount, running, limit) -%}
    (least({{ running }}, {{ limit }}) - least({{ running }} - {{ amount }}, {{ limit }}))
{%- endmacro %}

{#
  The refunds of an order with a time for each: one that the shop gave none is dated by the version (`updated_at`) in
  which it was first seen. `record` is the version, in a query that joins frozen_behind.
#}
{% macro dated_refunds() -%}
    case
        when not jsonb_path_exists(record.refunds, '$[*] ? (!exists (@.refunded_at))') then record.refunds
        else (
            select
                jsonb_agg(
                    case
                        when refund ? 'refunded_at' then refund
                        else refund || jsonb_build_object('refunded_at', least(
                            (
                                select min(version.updated_at)
                                from {{ source('raw', 'orders') }} as version
                                inner join {{ source('ops', 'visible_batches') }} as batch using (batch_id)
                                where version.order_key = record.order_key
                                    and version.refunds @> jsonb_build_array(named.refund_as_named)
                                    {%- if is_as_of() %}
                                    and case when batch.is_history then version.updated_at else batch.loaded_at end
                                        <= {{ known_until() }}
                                    {%- endif %}
                            ),
                            (
                                select min((kept ->> 'refunded_at')::timestamptz)
                                from jsonb_array_elements(frozen.refunds) as kept
                                where kept @> named.refund_as_named
                            ),
                            record.updated_at
                        ))
                    end order by refund_number
                )
            from jsonb_array_elements(record.refunds) with ordinality as listed(refund, refund_number)
            cross join lateral (
                select case when refund ? 'refund_id' then jsonb_build_object('refund_id', refund -> 'refund_id')
                    else refund end as refund_as_named
            ) as named
        )
    end
{%- endmacro %}

{# Join condition of a row of `rates` for an amount in `currency` of the day `on_date`. #}
{% macro rate_of(currency, on_date) -%}
    rates.currency = {{ currency }} and rates.valid_on = {{ on_date }}
{%- endmacro %}

{# Reporting currency per unit of `currency`, in a query that joins `rates`; null where there is no rate. #}
{% macro rate_or_one(currency) -%}
    case when {{ currency }} = '{{ var("reporting_currency") }}' then 1 else rates.rate end
{%- endmacro %}

{#
  The orders whose touches may differ from those in `order_attribution`: those that changed themselves, those that a changed
  session was a touch of, and those that it may be a touch of now. Nothing else of their customers is read.
#}
{% macro reattributed_orders() -%}
    select key from {{ source('ops', 'dirty') }} where scope = 'order'
    union
    select order_key from {{ this }} where session_key in {{ dirty('session') }}
    union
    select order_key from {{ ref('fct_sessions') }} where order_key is not null and session_key in {{ dirty('session') }}
    union
    select orders.order_key
    from {{ ref('fct_sessions') }} as sessions
    inner join {{ ref('fct_orders') }} as orders
        on orders.customer_key = sessions.customer_key
        and orders.ordered_on >= sessions.started_on
        and orders.ordered_on <= sessions.started_on + (
            select ceil(max(value))::integer + 1 from {{ ref('attribution_parameters') }} where parameter = 'window_days'
        )
    where sessions.session_key in {{ dirty('session') }}
{%- endmacro %}

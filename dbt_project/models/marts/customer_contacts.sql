{{ config(
    tags=['live'],
    meta={
        'scope': 'customer', 'scope_key': 'customer_key',
        'primary_key': ['customer_key', 'identifier_type', 'identifier'],
        'published_in': 'marts_pii',
    }
) }}

select customer_key, identifier_type, identifier
from {{ source('identity', 'identifiers') }}
where customer_key is not null and identifier_type in ('email', 'phone')
    {{- only_dirty('customer', 'customer_key') }}

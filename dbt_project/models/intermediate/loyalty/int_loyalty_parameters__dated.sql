{{ config(tags=['daily'], pre_hook='{{ plan_for_whole_tables() }}', meta={'primary_key': ['parameter', 'valid_from_on']}) }}

{{ dated_parameters(ref('loyalty_parameters')) }}

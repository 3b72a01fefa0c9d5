"""dbt: which models there are, how they are run, and a fingerprint of what the tables come from."""

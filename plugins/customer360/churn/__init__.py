"""Churn: fit, evaluate, promote and explain the score that `customer_churn` publishes."""

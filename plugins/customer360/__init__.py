"""customer360: orders, web sessions and support tickets become customer-360, loyalty and churn tables."""

__version__ = "0.1.0"

"""The gates: Great Expectations suites, the rules for rows, and Data Docs."""

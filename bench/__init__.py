"""Speed, measured beside a peer in the same run. Numbers of a shared machine are ratios first, seconds second."""

"""The command line ``c360``: one module per group of commands."""

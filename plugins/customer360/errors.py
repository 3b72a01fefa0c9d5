"""Errors that a person reads: what went wrong, and what to do next."""

from __future__ import annotations


class Customer360Error(Exception):
    """Base of every error that is meant to be read by a person.

    ``next_step`` is a sentence or a command that can be pasted; the command line prints it under the message.
    """

    exit_code = 1

    def __init__(self, message: str, next_step: str = "") -> None:
        super().__init__(message)
        self.next_step = next_step


class ConfigurationError(Customer360Error):
    """A setting is missing or wrong."""

    exit_code = 2


class WarehouseUnavailableError(Customer360Error):
    """The warehouse does not answer; trying again later may help."""

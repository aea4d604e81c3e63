"""Errors that a person can act on: one line that names the cause and, where there is one, the way out.

The command line prints `MmkdError` without a traceback and exits with `exit_code`; everything else is a defect of ours.
"""

from __future__ import annotations


class MmkdError(Exception):
    """Base of every error that mmkd raises on purpose.

    Arguments:
        cause: what is wrong, naming the file, key, field or plugin.
        way_out: what the reader can do about it.
    """

    exit_code = 1

    def __init__(self, cause: str, way_out: str = "") -> None:
        super().__init__(cause, way_out)
        self.cause = cause
        self.way_out = way_out

    def __str__(self) -> str:
        return f"{self.cause}; {self.way_out}" if self.way_out else self.cause


class ConfigError(MmkdError):
    """A recipe, option or component setting that cannot be used."""

    exit_code = 2


class RegistryError(MmkdError):
    """An unknown, ambiguous or broken plugin component."""

    exit_code = 2


class DataError(MmkdError):
    """Data that is absent, corrupt or of another form than declared."""

    exit_code = 3


class BindingError(MmkdError):
    """A model asks for a field that it is not bound to, or that the data does not have."""

    exit_code = 2


class LayoutError(MmkdError):
    """Features whose layouts cannot be aligned, or cannot be told."""

    exit_code = 2


class StorageError(MmkdError):
    """A disk that is full or read-only, a file that does not verify, a directory in use by another process."""

    exit_code = 4


class TrainingError(MmkdError):
    """A run that cannot go on: a non-finite loss, a teacher that learnt nothing."""

    exit_code = 5

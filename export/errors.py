"""What can go wrong in an export that the user should read as one line."""

from __future__ import annotations


class UsageError(ValueError):
    """The command or the files it names must be mended; exit status 2."""


class ToleranceError(Exception):
    """An exported file differs from its source by more than is acceptable; no bundle was written; exit status 1."""

"""What SQLite is let do, and what its errors mean."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from amcl_serve.errors import StorageDamaged
from amcl_serve.vectors.budget import Budget

_STEPS = 10_000  # of SQLite's machine, a fraction of a millisecond, after which a statement's budget is looked at

_log = logging.getLogger(__name__)


@contextmanager
def limited(connection: sqlite3.Connection, budget: Budget) -> Iterator[None]:
    """Statements in the block end with DeadlineExceeded when the budget is spent; what SQLite says of a damaged file
    becomes StorageDamaged.
    """
    connection.set_progress_handler(lambda: budget.spent, _STEPS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
            raise budget.exceeded() from None
        raise
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise damaged() from error
        raise
    finally:
        connection.set_progress_handler(None, 0)


def damaged() -> StorageDamaged:
    """The error of a file that SQLite cannot make sense of."""
    _log.error("the file of the collections is damaged; `sqlite3 FILE 'PRAGMA integrity_check'` says where")
    return StorageDamaged(
        "the file of the collections is damaged: what it says cannot be trusted; restore the server's data_dir from a "
        "copy, or get out what can be read with sqlite3's .recover"
    )

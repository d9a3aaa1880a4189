"""The database of a data folder: its lock, its one writer, its readers."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from amcl_serve.errors import StorageError
from amcl_serve.vectors.sqlite.folder import Folder
from amcl_serve.vectors.sqlite.readers import Readers
from amcl_serve.vectors.sqlite.schema import prepare, version_of
from amcl_serve.vectors.sqlite.writer import Writer


class Database:
    """Opened by one process at a time."""

    def __init__(self, data_dir: Path) -> None:
        """Make the file or bring it up to date. Raises StorageError where the folder is in use or cannot be used."""
        self._folder = Folder(data_dir)
        self.path = self._folder.database
        try:
            prepare(self._folder.database)
            self.writer = Writer(self._folder)
            self.readers = Readers(self._folder.database)
        except sqlite3.Error as error:
            self._folder.close()
            raise StorageError(f"{self._folder.database} cannot be opened ({error})") from None
        except BaseException:
            self._folder.close()
            raise

    def close(self) -> None:
        """Write what waits, close the file and let the folder go; again is no error."""
        self.readers.close()
        self.writer.close()
        self._folder.close()


def check_data_dir(data_dir: Path) -> None:
    """StorageError where a Database of this folder would not open; it is made if there is none, and left as it is."""
    folder = Folder(data_dir)
    try:
        version_of(folder.database)
    except sqlite3.Error as error:
        raise StorageError(
            f"{folder.database} cannot be used as the collections' file ({error}); choose another data_dir"
        ) from None
    finally:
        folder.close()

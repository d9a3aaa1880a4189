"""Where images come from: a folder, a file of pairs, an archive."""

from __future__ import annotations

from amcl_serve.evaluation.datasets.archive import Limits, open_archive
from amcl_serve.evaluation.datasets.folder import Folder, open_folder
from amcl_serve.evaluation.datasets.pairs_file import open_pairs

__all__ = ["Folder", "Limits", "open_archive", "open_folder", "open_pairs"]

"""Where images come from: a folder, a file of pairs, an archive."""

from __future__ import annotations

from amcl_serve.evaluation.datasets.folder import Folder, open_folder

__all__ = ["Folder", "open_folder"]

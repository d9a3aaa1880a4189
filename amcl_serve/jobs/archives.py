"""An uploaded archive as a dataset."""

from __future__ import annotations

from amcl_serve.evaluation.dataset import Dataset
from amcl_serve.evaluation.datasets import open_archive
from amcl_serve.evaluation.protocols import Protocol, protocol_for
from amcl_serve.jobs.folder import Upload

FOLDERS = "folders"  # what `labels` says of an archive whose folders name them


def open_upload(upload: Upload, name: str, labels: bool, limit: int) -> Dataset:
    """Unpack it, `limit` bytes at most, and remove the archive, whose images are then all that lies on the disk."""
    dataset = open_archive(upload.archive, upload.images, limit, labels)
    upload.archive.unlink()
    dataset.name = name
    return dataset


def protocol_of(dataset: Dataset, name: str, *, seed: int, limit: int | None) -> Protocol:
    return protocol_for(dataset, seed=seed, limit=limit)

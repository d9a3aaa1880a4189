"""An uploaded archive as a dataset, and the protocol that is asked of one."""

from __future__ import annotations

import os
import re

from amcl_serve.errors import InvalidRequest, TooLarge
from amcl_serve.evaluation.dataset import Dataset
from amcl_serve.evaluation.datasets import Limits, open_archive
from amcl_serve.evaluation.protocols.choice import protocol_for
from amcl_serve.evaluation.protocols.label_free import LabelFree
from amcl_serve.evaluation.protocols.labelled import Labelled
from amcl_serve.evaluation.protocols.vectors import Vectors
from amcl_serve.evaluation.protocols.verification import Verification
from amcl_serve.evaluation.runner import Protocol
from amcl_serve.evaluation.stored import stored
from amcl_serve.hosting.files import full_disk_said
from amcl_serve.jobs.folder import Upload

_PATH = re.compile(r"(^|[\s'\"])/\S")  # of this machine, or what an archive calls so


def open_upload(upload: Upload, name: str, limit: int) -> Dataset:
    """Unpack it, `limit` bytes at most, and remove the archive: its images are then all that lies on the disk.

    `name` is what people call it. InvalidRequest or TooLarge for one that is damaged or hostile, StorageFull.
    """
    limits = Limits(total_bytes=limit, file_bytes=min(limit, Limits.file_bytes))
    try:
        with full_disk_said():
            dataset = open_archive(upload.archive, upload.images, limits, name=name)
    except (InvalidRequest, TooLarge) as error:
        raise type(error)(_told(error.detail, upload, name)) from None
    upload.archive.unlink()
    return dataset


def protocol_of(dataset: Dataset, name: str, *, seed: int, limit: int | None) -> Protocol:
    """The protocol of that name, or for "auto" the one that makes the most of the dataset.

    InvalidRequest where the dataset lacks what it needs.
    """
    if name != "verification" and stored(dataset) is not None:
        if name == "labelled" and dataset.labels is None:
            raise InvalidRequest("protocol: labelled needs labels: name the key of the payloads that has them")
        return Vectors(seed=seed, limit=limit or 0)
    if name == "auto":
        return protocol_for(dataset, seed=seed, limit=limit or 0)
    if name == "verification":
        if dataset.pairs is None:
            raise InvalidRequest("protocol: verification is of pairs, and there is no pairs.csv in an archive")
        return Verification(seed=seed)
    if name == "labelled":
        if dataset.labels is None:
            raise InvalidRequest(
                "protocol: labelled needs labels: those of a collection's payloads, or an archive with all images in "
                "folders, of which there are two at least"
            )
        return Labelled(seed=seed, limit=limit or 0)
    return LabelFree(seed=seed, limit=limit or 0)


def _told(detail: str, upload: Upload, name: str) -> str:
    """A sentence about an archive without this machine's paths."""
    for place in (os.path.realpath(upload.images), str(upload.images)):
        detail = detail.replace(place, name)
    return f"{name}: a member leads out of the archive's folder" if _PATH.search(detail) else detail

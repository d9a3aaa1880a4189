"""Images to judge a run by: labelled or not, and which of them it learns from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from training.augment import Augmentation
from training.data.cache import Cache
from training.data.reduced import reduced
from training.data.sample import prepared, sample
from training.data.sources import FolderImages, Images, Unlabelled
from training.data.specification import Labelled, Subset, open_labelled, open_queries
from training.data.tar import TarImages


@dataclass(frozen=True)
class HeldOut:
    """Images to judge a run by; of labelled ones the queries. `note` says why there are no labels, if so."""

    images: Subset
    labelled: Labelled | None
    note: str = ""

    def reduced(self, augmentation: Augmentation, cache: Cache | None) -> HeldOut:
        """The same images, read as training reads for crops by `augmentation`: reduced, and large ones kept in `cache`.

        A few are read to see whether any is large. ValueError for a cache that cannot be used.
        """
        if self.labelled is None:
            return replace(self, images=_reduced(self.images, augmentation, cache))
        bank, queries = (_reduced(part, augmentation, cache) for part in (self.labelled.bank, self.labelled.queries))
        return replace(self, images=queries, labelled=Labelled(bank, queries))


def _reduced(subset: Subset, augmentation: Augmentation, cache: Cache | None) -> Subset:
    source = reduced(subset.images, augmentation, cache)
    return subset if source is None else replace(subset, source=prepared(source, sample(subset.images, source)))


def open_held_out(spec: str, *, bank_limit: int) -> HeldOut:
    """The images that `spec` names, with labels where `open_labelled` finds them; ValueError where there are none."""
    try:
        labelled = open_labelled(spec, bank_limit=bank_limit)
    except Unlabelled as why:
        return HeldOut(open_queries(spec), None, str(why))
    return HeldOut(labelled.queries, labelled)


def shared(trained: Images, judged: Subset) -> int:
    """How many of the images `judged` are among those `trained` on: the same files, however links lead to them.

    Of tar shards, images of the same shard. Copies are not recognised, nor are images of two kinds of source.
    """
    if isinstance(trained, FolderImages) and isinstance(judged.images, FolderImages):
        asked = list(_files(judged.images, [judged.images.names[int(i)] for i in judged.indices]))
        known = set(asked) - {None}
        both = {file for file in _files(trained, trained.names) if file in known}
        return sum(file in both for file in asked)
    if isinstance(trained, TarImages) and isinstance(judged.images, TarImages):
        shards = {os.path.realpath(path) for path in trained.shards}
        inside = [os.path.realpath(path) in shards for path in judged.images.shards]
        return int(np.array(inside)[judged.images.shard_of(judged.indices)].sum())
    return 0


def _files(images: FolderImages, names: list[str]) -> Iterator[tuple[int, int] | None]:
    """Device and inode of each, None for one that is not there any more."""
    for name in names:
        try:
            found = (images.root / name).stat()
        except OSError:
            yield None
        else:
            yield found.st_dev, found.st_ino

"""Images by specification (`folder:PATH`, …), and the stream of augmented batches a run consumes."""

from training.data.cache import Cache, open_cache
from training.data.held_out import HeldOut, open_held_out, shared
from training.data.reading import Plain, leave_signals_to_the_parent, read
from training.data.resident import Resident
from training.data.sample import Sample
from training.data.sources import FolderImages, Images, Numbers, list_images
from training.data.specification import Labelled, Subset, open_images, open_labelled
from training.data.stream import Batch, Read, batches

__all__ = [
    "Batch",
    "Cache",
    "FolderImages",
    "HeldOut",
    "Images",
    "Labelled",
    "Numbers",
    "Plain",
    "Read",
    "Resident",
    "Sample",
    "Subset",
    "batches",
    "leave_signals_to_the_parent",
    "list_images",
    "open_cache",
    "open_held_out",
    "open_images",
    "open_labelled",
    "read",
    "shared",
]

"""Images by specification (`folder:PATH`, …), and the stream of augmented batches a run consumes."""

from training.data.cache import Cache, open_cache
from training.data.reading import Plain, leave_signals_to_the_parent
from training.data.resident import Resident
from training.data.sample import Sample
from training.data.sources import FolderImages, Images, list_images
from training.data.specification import Labelled, Subset, open_images, open_labelled
from training.data.stream import Batch, Read, batches

__all__ = [
    "Batch",
    "Cache",
    "FolderImages",
    "Images",
    "Labelled",
    "Plain",
    "Read",
    "Resident",
    "Sample",
    "Subset",
    "batches",
    "leave_signals_to_the_parent",
    "list_images",
    "open_cache",
    "open_images",
    "open_labelled",
]

"""Images by specification (`folder:PATH`, …), and the stream of augmented batches a run consumes."""

from training.data.reading import Plain, leave_signals_to_the_parent
from training.data.sources import FolderImages, Images, list_images
from training.data.specification import Labelled, Subset, open_images, open_labelled
from training.data.stream import Batch, batches

__all__ = [
    "Batch",
    "FolderImages",
    "Images",
    "Labelled",
    "Plain",
    "Subset",
    "batches",
    "leave_signals_to_the_parent",
    "list_images",
    "open_images",
    "open_labelled",
]

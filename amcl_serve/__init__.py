"""Serve and evaluate image embeddings from a bundle. Imports nothing eagerly, and never PyTorch."""

__version__ = "0.1.0"

"""Metrics in pure numpy: nearest neighbours, pair separation, calibration, geometry of embeddings.

The one room that training, export and serving share, so that no metric exists twice.
"""

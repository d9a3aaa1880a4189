"""Metrics in numpy (k-means by FAISS, the linear probe by SciPy): pairs, calibration, geometry, intervals.

The one room that training, export and serving share, so that no metric exists twice.
"""

"""The truth: one SQLite file, written by one thread, read by many, opened by one process at a time."""

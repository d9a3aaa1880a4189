"""Indexes over vectors; derived from the store, never the truth."""

"""A run: the loop over its steps, its optimiser, what it writes and what it says."""

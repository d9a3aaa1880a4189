"""Many files in one run: listed, embedded in order, resumed after any interruption."""

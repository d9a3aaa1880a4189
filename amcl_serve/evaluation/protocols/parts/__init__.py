"""The parts of a report, one a file: each measures one model and returns what is found, as data."""

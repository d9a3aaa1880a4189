"""Long work on what is served, beside the requests: evaluations, and the calibration to somebody's pairs."""

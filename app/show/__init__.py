"""HTML of what the page shows: pure functions of what the API answered."""

"""The client, written once, to be awaited; `make client` generates its blocking twin in `_blocking`."""

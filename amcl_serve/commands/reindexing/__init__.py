"""A collection's images embedded anew by another model, beside the searches, and how much that changes."""

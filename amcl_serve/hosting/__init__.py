"""Which models answer: found, opened, swapped and taken down."""

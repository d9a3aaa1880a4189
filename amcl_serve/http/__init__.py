"""The HTTP interface: one file per noun, each with a `router`; `app.create_app` puts them together."""

"""One file's bytes to an RGB image, format by format, in whatever process this is called: limits, variants, colours."""

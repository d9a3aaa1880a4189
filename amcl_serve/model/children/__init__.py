"""Decoding in child processes: a decoder's crash, hang or hunger costs one image, never the process that asked."""

"""What `amcl-serve evaluate` needs besides the runner: embedders, a collection's images, progress, a summary."""

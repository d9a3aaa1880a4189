"""One page a framework: how two views become a loss."""

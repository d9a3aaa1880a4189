"""The network of a run: backbone, projection heads and temperature, and the parts that some methods add to it."""

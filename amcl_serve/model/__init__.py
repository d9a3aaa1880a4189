"""What is served: the bundle, its graphs in onnxruntime, pixels in, embeddings and pair scores out."""

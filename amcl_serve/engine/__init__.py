"""From the bytes of many requests to embeddings, in batches."""

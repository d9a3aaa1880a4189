"""Collections of vectors with payloads: durable in SQLite, searched with FAISS; names and shapes are Qdrant's."""

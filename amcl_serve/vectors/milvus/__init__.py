"""Collections in Milvus: rows under the store's own keys, a catalogue beside them, the store's filters and ranking."""

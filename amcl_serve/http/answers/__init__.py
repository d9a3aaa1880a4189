"""What writes answers: JSON, arrays, envelopes, problems."""

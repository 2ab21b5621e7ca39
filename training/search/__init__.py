"""Embeddings of an archive, an index of them, and search by text, study, series or file."""

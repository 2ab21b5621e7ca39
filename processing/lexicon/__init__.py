"""Lexicon data (YAML): canonical terms, their words in each language, and the visibility table; read by `vocabulary.py`."""

"""Lexicon data (YAML): canonical terms, their words in each language, the visibility table; see `vocabulary.py`."""

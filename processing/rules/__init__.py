"""Rule structurer, with one reader of sentences per language."""

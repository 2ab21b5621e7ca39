"""A group's own gold: which reports to annotate, and the files in which findings of readers are kept."""

"""Result files as tables of text, for cards, pages and the command line."""

"""Pages to read, each in one HTML file, and the charts and pictures on them."""

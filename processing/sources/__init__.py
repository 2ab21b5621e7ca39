"""Sources: data as it lies on disk, or is simulated, becomes the studies table; from there Parquet for the Hub."""

"""Cards of models, structurers, data sets and benchmarks: facts, results, terms of the data, metadata of the Hub."""

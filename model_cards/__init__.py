"""Pages written from results: cards of models, structurers, data sets and benchmarks, the page of the demo and others.

This package reads JSON and images. It never computes a metric and never imports `selip.training`.

    tables/           result files as tables of text
    cards/            what a card says: facts, results, terms of data, metadata of the Hub
    pages/            pages to read, with charts and pictures
    leaderboard/      pages of a leaderboard and their tables
    leaderboard_app/  the same as an app, on this machine or as a Space
    publishing/       from a folder to the Hub: checks, staging, push
"""

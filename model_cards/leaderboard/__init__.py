"""A leaderboard as pages, and the tables that its app shows too."""

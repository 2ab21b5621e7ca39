"""Publishing on the Hub: what goes is copied into a folder, verified as a user would find it, shown, and pushed."""

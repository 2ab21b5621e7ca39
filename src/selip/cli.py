"""The `selip` command."""


def main() -> int:
    raise SystemExit("selip: being written")

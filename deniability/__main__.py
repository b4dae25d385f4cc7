"""`python -m deniability` is `deny`."""

from deniability.cli import main

if __name__ == "__main__":
    main()

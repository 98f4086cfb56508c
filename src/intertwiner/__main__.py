"""``python -m intertwiner`` is the command line."""

from intertwiner.cli import main

if __name__ == "__main__":
    main()

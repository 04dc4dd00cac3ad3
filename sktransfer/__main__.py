"""The command `sktransfer` as `python -m sktransfer`, without the folder of scripts."""

from .cli import main

if __name__ == "__main__":
    main()

"""`python -m nucleipel` is the `nucleipel` command."""

from nucleipel.cli import main

if __name__ == "__main__":
    main()

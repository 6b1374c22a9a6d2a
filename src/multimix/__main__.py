"""`python -m multimix`, where the command is not on the path."""

from multimix.cli import main

if __name__ == "__main__":
    main()

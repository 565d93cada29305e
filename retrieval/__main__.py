"""`python -m retrieval`: the same as the command `retrieve`."""

from retrieval.cli.app import main

if __name__ == "__main__":
    main()

"""`python -m tenancy`, which is also the installed command `tenancy`."""

import sys
from pathlib import Path

from tenancy.commands.completion import PROGRAM, VARIABLE
from tenancy.commands.tree import cli
from tenancy.exits import exit_codes

__all__ = ["cli", "main"]


def main() -> None:
    """Run the command line."""
    called = Path(sys.argv[0]).name
    with exit_codes():
        cli(
            prog_name=PROGRAM if called == PROGRAM else "python -m tenancy",
            complete_var=VARIABLE,
        )


if __name__ == "__main__":
    main()

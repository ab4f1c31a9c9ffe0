"""`python -m wattlane`: the command line."""

from wattlane.cli import main

main()

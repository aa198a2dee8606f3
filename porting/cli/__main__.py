"""`python -m porting.cli`, where the command itself is not on the path."""

from porting.cli.app import main

main()

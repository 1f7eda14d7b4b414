"""`python -m proctor.cli`: the command where no program of that name is on the path."""

from proctor.cli import main

main()

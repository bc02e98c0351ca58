"""`python -m workbench`: the command line, for `accelerate launch -m workbench`."""

from workbench.cli.app import app

app()

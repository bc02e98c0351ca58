"""Define the commands of `workbench`, one module per group; app.py puts them together."""

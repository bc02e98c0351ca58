"""Hold the command line, one file per group of commands: `workbench --help`."""

"""The one error that a user's input can cause."""


class InputError(Exception):
    """Input that cannot be used: one line that names the file, the row, the field and the mend.

    The command line prints the message and exits with code 2; a notebook shows it as the last line of the traceback.
    """

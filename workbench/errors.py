"""The error that a user's input can cause, and one-line messages."""


class InputError(Exception):
    """Input that cannot be used: one line that names the file, the row, the field and the fix.

    The command line prints the message and exits with code 2; a notebook shows it as the last line of the traceback.
    """


def first_line(error: Exception) -> str:
    """Return the first line of an error, at most 200 characters, for messages of one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

"""The one exception that means "the input is at fault, and here is what to do"."""


class UserError(Exception):
    """Bad input or use, said in one plain sentence: what, expected, got, what to do.

    The command line prints the sentence and exits with 1; a traceback is shown only with `--debug`.
    """

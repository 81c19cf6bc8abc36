"""What a command of the command line says when it did not do what it was asked for."""


class CommandFailed(Exception):
    """Its text says why, to whoever asked; it is no bug."""

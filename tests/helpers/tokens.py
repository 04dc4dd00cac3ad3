"""Names of temporary files of processes that are dead, or that run on another machine."""

from sktransfer._support.processes import token


def dead_token():
    """Return the token of a process that had the ID of this one, and has ended."""
    return f"{token().rpartition('-')[0]}-1"


def foreign_token():
    """Return the token of a process on another machine."""
    return f"{'0' * 8}-{token().partition('-')[2]}"


def temporary(token, suffix=".tmp", number=0):
    """Return the name of a temporary file or folder that the process of ``token`` made."""
    return f"sktransfer-{token}-{number:08x}{suffix}"

"""Helpers for tests of the command line."""

# A small network and small images, for fast tests.
SMALL = ("--weights", "none", "--image-size", 32, "--max-epochs", 1, "--random-state", 0)


def rows(out):
    return [line.split("\t") for line in out.splitlines()]


def csv(path, frame):
    frame.to_csv(path, index=False)
    return path

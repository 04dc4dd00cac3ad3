"""Backbones that come with the package, found by entry point like anyone's."""

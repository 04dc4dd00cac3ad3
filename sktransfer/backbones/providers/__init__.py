"""The providers of this package, which are found by entry point like those of any package."""

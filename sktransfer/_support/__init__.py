"""Helpers that know nothing of networks; import them by module."""

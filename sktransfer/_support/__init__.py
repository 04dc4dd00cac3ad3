"""Small helpers without knowledge of networks; each is imported by its module."""

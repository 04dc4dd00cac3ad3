"""How Sphinx builds these pages; `make docs` calls it."""

import sktransfer

project = "sktransfer"
author = copyright = "sktransfer developers"
release = version = sktransfer.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
myst_heading_anchors = 2
autosummary_generate = True
templates_path = ["_templates"]  # a class is shown with what its methods do
numpydoc_show_class_members = False
html_theme = "alabaster"
html_theme_options = {"page_width": "1100px"}

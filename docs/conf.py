"""How Sphinx builds these pages; `make docs` calls it."""

import warnings
from typing import Any

import sktransfer

project = "sktransfer"
author = copyright = "sktransfer developers"
release = version = sktransfer.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["build", "**/README.*"]
templates_path = ["_templates"]  # a class is shown with what its methods do

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
autosummary_generate = True
numpydoc_show_class_members = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = "sktransfer"
html_static_path = ["_static"]
html_css_files = ["sktransfer.css"]
html_show_sourcelink = False
toc_object_entries_show_parents = "hide"
html_sidebars = {page: [] for page in ("index", "getting_started", "coming_from", "changelog")}
html_theme_options = {
    "header_links_before_dropdown": 6,
    "navbar_align": "left",
    "navbar_persistent": ["search-button"],
    "navigation_with_keys": False,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
}


class ExampleOrder:
    """Sort key of the examples: from the first steps to the special topics."""

    FIRST = ("fine_tune.py", "photos.py", "tutorial.py", "linear_probe.py", "embeddings.py")

    def __init__(self, folder: str) -> None:
        """Take the folder of the gallery, as Sphinx-Gallery passes it."""

    def __call__(self, name: str) -> tuple[int, str]:
        """Return a key that sorts the examples of a gallery."""
        known = name in self.FIRST
        return self.FIRST.index(name) if known else len(self.FIRST), name


FILTERS = list(warnings.filters)


def fail_on_warnings(_config: object, _example: str, when: str) -> None:
    """Turn warnings into errors while an example runs, as the tests do."""
    if when == "before":
        warnings.simplefilter("error")
        # most examples train for a few steps, of which one cycle needs more
        warnings.filterwarnings("ignore", "The .* phase has only")
        # without a screen, matplotlib warns of each plt.show()
        warnings.filterwarnings("ignore", "FigureCanvasAgg is non-interactive")
    else:
        warnings.filters[:] = FILTERS


suppress_warnings = ["config.cache"]  # classes and functions in the configuration are not cached

# Each example runs when the pages are built; one that fails ends the build.
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": "/",
    "within_subsection_order": ExampleOrder,
    "backreferences_dir": "generated/backreferences",
    "doc_module": ("sktransfer",),
    "reference_url": {"sktransfer": None},
    "abort_on_example_error": True,
    "reset_modules": ("matplotlib", fail_on_warnings),
    "reset_modules_order": "both",
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,  # they depend on the machine
}

# A parameter without a group of its own belongs to that of the parameter before it.
PARAMETER_GROUPS = {
    "backbone": "Network",
    "unfreeze": "Trainable stages and head",
    "layer": "Features",
    "batch_norm": "Network",
    "augment": "Augmentation",
    "freeze_epochs": "Epochs, learning rates and optimizer",
    "label_smoothing": "Loss",
    "loss": "Loss",
    "batch_size": "Batches",
    "early_stopping": "Early stopping",
    "image_size": "Images",
    "cache": "Files",
    "precision": "Computation",
    "device": "Computation",
    "decode_error": "Errors, callbacks and output",
}
GROUPED = ("FineTuneClassifier", "FineTuneRegressor", "PretrainedFeatureExtractor")


def group_parameters(
    _app: Any, _what: str, name: str, _obj: object, _options: object, lines: list[str]
) -> None:
    """Divide the long list of parameters of an estimator, after numpydoc has made a field of it."""
    if name.rpartition(".")[2] not in GROUPED or ":Parameters:" not in lines:
        return
    start = lines.index(":Parameters:")
    end = next((i for i in range(start + 1, len(lines)) if lines[i].startswith(":")), len(lines))
    groups: dict[str, list[str]] = {}
    title = ""
    for line in lines[start + 2 : end]:
        parameter = line.strip().partition("**")[2].partition("**")[0]
        title = PARAMETER_GROUPS.get(parameter, title)
        groups.setdefault(title, [f":{title}:", ""]).append(line)
    lines[start:end] = [line for group in groups.values() for line in [*group, ""]]


def setup(app: Any) -> None:
    """Connect the hook."""
    app.connect("autodoc-process-docstring", group_parameters, priority=900)

"""The tree: modules import downwards only, and each fits in the head."""

import ast
from pathlib import Path

import pytest

import sktransfer

ROOT = Path(sktransfer.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in ROOT.rglob("*.py")
}
MOST_LINES = 400

# Layer -> its modules.  A module imports only from layers with a lower number.
LAYERS = {
    0: "_check _describe _random _tracing decode digests schedule shards variants",
    1: "_callbacks axes backbone checkpoint cycles device download fold heads history "
    "image_sizes items mixing model_file photo_axes store targets tensor_files trace",
    2: "choice_display faster optim presets schedules tables tail weights",
    3: "audit augment averaging batches cache display loss_display prefix registry testing",
    4: "_plain callbacks extract fetch net",
    5: "datasets feature_extractor inspection recipe training",
    6: "photo_display range_test served shared sources",
    7: "fitting tuned",
    8: "fine_tune",
    9: "demo lr_finder persistence",
    10: "cli_models",
    11: "cli",
}
LAYER = {module: layer for layer, modules in LAYERS.items() for module in modules.split()}
# Providers stand beside the tree: they are found by entry point, as a stranger's are.  They import
# from the layers below 3, and the private modules beside them.
PROVIDERS = 3


def imports(path, module):
    """Modules of the package that ``path`` imports, function bodies included."""
    package = ["sktransfer", *module.split(".")[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*origin, *filter(None, [node.module])])
            # `from . import heads` names a module; `from .heads import pool` a name in one;
            # __version__ is there before any module is
            yield from (
                f"{base}.{alias.name}" if is_module(f"{base}.{alias.name}") else base
                for alias in node.names
                if alias.name != "__version__"
            )
        elif is_dynamic_import(node):
            raise AssertionError(f"{module}, line {node.lineno}: a computed import has no layer.")


def is_module(name):
    return name.removeprefix("sktransfer.") in MODULES and name.startswith("sktransfer.")


def is_dynamic_import(node):
    """Whether ``node`` is a call of import_module on something relative."""
    return (
        isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", None)) == "import_module"
        and len(node.args) > 1
    )


def is_provider(module):
    return module.startswith("providers")


def is_allowed(name, module):
    """Whether ``module`` may import the module ``name``."""
    if name.startswith("providers._"):
        return is_provider(module) and not module.startswith("providers._")
    return LAYER.get(name, 99) < LAYER.get(module, PROVIDERS)


@pytest.fixture(params=sorted(set(MODULES) - {"__init__"}))
def module(request):
    return request.param


def test_every_module_has_a_layer(module):
    assert is_provider(module) or module in LAYER, f"give {module} a layer in {__file__}"


def test_every_module_that_has_a_layer_exists():
    assert set(LAYER) <= set(MODULES)


def test_a_module_imports_only_from_lower_layers(module):
    ours = [name for name in imports(MODULES[module], module) if name.startswith("sktransfer")]
    names = [name.removeprefix("sktransfer.") for name in ours]
    upward = [name for name in names if not is_allowed(name, module)]
    assert not upward, f"{module} must not import {upward}"


@pytest.mark.parametrize(
    ("name", "module", "allowed"),
    [
        ("heads", "presets", True),
        ("presets", "heads", False),  # upward
        ("heads", "cycles", False),  # sideways
        ("presets", "providers.timm", True),
        ("registry", "providers.timm", False),
        ("providers._stages", "providers.timm", True),
        ("providers.torchvision", "providers.timm", False),
        ("providers.timm", "registry", False),
        ("providers._stages", "registry", False),
        ("unknown", "cli", False),
    ],
)
def test_layers_decide_who_imports_whom(name, module, allowed):
    assert is_allowed(name, module) == allowed


@pytest.mark.parametrize("path", MODULES.values(), ids=MODULES)
def test_a_file_fits_in_the_head(path):
    assert len(path.read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from .b import x", ["sktransfer.b"]),
        ("from . import heads", ["sktransfer.heads"]),
        ("from sktransfer import heads", ["sktransfer.heads"]),
        ("from sktransfer.heads import pool", ["sktransfer.heads"]),
        ("import sktransfer.heads as h", ["sktransfer.heads"]),
        ("def f():\n    from .heads import pool", ["sktransfer.heads"]),
        ("if TYPE_CHECKING:\n    from .heads import pool", ["sktransfer.heads"]),
    ],
)
def test_an_import_is_found_wherever_it_stands(tmp_path, source, expected):
    path = tmp_path / "a.py"
    path.write_text(source)
    assert list(imports(path, "a")) == expected

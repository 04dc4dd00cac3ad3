"""The packages: layers, an order inside each, faces between them, fences around libraries."""

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

import sktransfer

ROOT = Path(sktransfer.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in ROOT.rglob("*.py")
    if path != ROOT / "__init__.py"
}
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}
MOST_LINES = 400

# A module imports from packages of a lower layer, or from its own package.
LAYERS = [
    ["_support", "exceptions", "_version"],
    ["schedules", "data", "tasks", "engines"],
    ["backbones", "cache", "callbacks", "display"],
    ["extraction", "testing"],
    ["training"],
    ["estimators"],
    ["persistence"],
    ["cli"],
    ["__main__"],
]
LAYER = {package: number for number, packages in enumerate(LAYERS) for package in packages}

# Inside a package, a module imports only from modules that stand before it.
ORDER = {
    "_support": "text warn plain validation processes files paths progress hashing locks random "
    "forks threads memory device tensors geometry",
    "schedules": "base cycles named",
    "data": "depths naming pictures decoding tables advice words tokenizers "
    "word_tokenizer tokenizer_limits tokenizer_files walk items texts lengths image_sizes resizing "
    "masks presets text_preset adaptation variants augmentation digests labelled "
    "csv_files folders problems image_check text_folders text_check textures docstrings",
    "tasks": "targets base heads labels classification multi_label columns language_model "
    "regression points map_heads segmentation label_sets tables mixed",
    "engines": "base openvino onnxruntime compile choice",
    "backbones": "meta summary masks attention language_head backbone cut pooling network_lock "
    "maps download tensor_files weights filling registry patching depthwise fusion batch_norm "
    "pyramid tracing export original",
    "cache": "columns shard index joining rows blobs folder table digest_memo activations",
    "callbacks": "averaging mixing scheduled",
    "display": "_axes _text_table lr_finder unfreeze_depth training_curves top_losses augmentation "
    "points masks domain_shift ranking",
    "extraction": "ragged batch_sizes stages taps graphs prefix sinks run statistics",
    "training": "user_callbacks optim tail standardisation parameters tuned_weights settings "
    "sources batches frozen data validation_split scorable net early_stopping states checkpoint "
    "records phase lr_range head_cache head_init predictor interpolation phases plan token_rows "
    "language dense_tail dense dense_predictor fit",
    "estimators": "_callbacks _columns _pretrained _docstrings _domains _base _extraction "
    "feature_extractor classifier regressor segmenter multi_task language_tuner snapshots "
    "lr_finder "
    "self_training _transferability ranking shift",
    "persistence": "rules codec base schema file_format structure description rebuild "
    "save_load graph exporting",
    "cli": "output messages sources pieces parts options plots reports kind column_kinds "
    "image_kinds kinds models predictions domains features demo app",
}
# Providers are found by entry point, as a stranger's are.  They import from their package and the
# private modules beside them; nothing imports them.
PROVIDERS = "backbones.providers"

# library -> the only packages or modules that import it
FENCES = {
    "PIL": ["data"],
    "skorch": ["callbacks", "training"],
    "matplotlib": ["display", "cli.demo"],
    "typer": ["cli"],
    "rich": ["cli"],
    "tqdm": ["_support.progress"],
    "timm": ["backbones.providers.timm"],
    "tokenizers": ["data.tokenizers"],
    "openvino": ["engines.openvino"],
    "onnxruntime": ["engines.onnxruntime", "persistence.exporting"],
    "huggingface_hub": ["backbones.providers.timm", "backbones.providers._hub"],
}


@cache
def parsed(path):
    return ast.parse(path.read_text())


def imports(path, module):
    """Yield the imports of ``path``, also those in functions: an origin, and a name or ""."""
    package = ["sktransfer", *module.split(".")]
    if path.name != "__init__.py":
        package.pop()
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = package[: len(package) + 1 - node.level] if node.level else []
            base = ".".join([*origin, *filter(None, [node.module])])
            # `from .backbones import pooling` names a module; `from .pooling import pool` a name
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield (full, "") if is_module(full) else (base, alias.name)
        elif is_dynamic_import(node):
            raise AssertionError(f"{module}, line {node.lineno}: a computed import has no layer.")


def is_module(name):
    return name.startswith("sktransfer.") and name.removeprefix("sktransfer.") in MODULES


def is_dynamic_import(node):
    """Return True if ``node`` is a call of import_module with a relative name."""
    return (
        isinstance(node, ast.Call)
        and getattr(node.func, "id", getattr(node.func, "attr", None)) == "import_module"
        and len(node.args) > 1
    )


def package_of(module):
    return module.partition(".")[0]


def is_provider(module):
    return module.startswith(f"{PROVIDERS}.")


def place(module):
    """Return the position of a module in its package, whose ``__init__`` comes last."""
    package, _, name = module.partition(".")
    order = ORDER[package].split()
    return order.index(name) if name in order else len(order)


def is_allowed(name, module):
    """Return True if ``module`` may import ``name``; both lack "sktransfer."."""
    package = package_of(name)
    if name.startswith(PROVIDERS):
        return name.startswith(f"{PROVIDERS}._") and is_provider(module) and "._" not in module
    if package == package_of(module):
        return name in MODULES and name not in PACKAGES and place(name) < place(module)
    if LAYER.get(package, 99) >= LAYER[package_of(module)]:
        return False
    # across packages through the face; _support is imported by module, and is no face itself
    return ("." in name) == (package == "_support")


def ours(module):
    """Yield the imports of ``module`` from this package: a module or package, and a name."""
    for origin, name in imports(MODULES[module], module):
        if package_of(origin) == "sktransfer":
            yield origin.removeprefix("sktransfer").removeprefix("."), name


def test_every_module_has_a_layer_and_a_place():
    for module in MODULES:
        package, _, name = module.partition(".")
        assert package in LAYER, f"give {package} a layer in {__file__}"
        if name and not module.startswith(PROVIDERS):
            assert name in ORDER[package].split(), f"give {module} a place in {__file__}"


def test_every_module_that_has_a_place_exists():
    assert set(LAYER) <= set(MODULES)
    listed = {f"{package}.{name}" for package, names in ORDER.items() for name in names.split()}
    assert listed <= set(MODULES)


def test_a_module_imports_only_what_stands_below_it():
    wrong = [
        f"{module} must not import {name}"
        for module in MODULES
        for name, _ in ours(module)
        if not is_allowed(name, module)
    ]
    assert wrong == []


def test_no_function_below_the_estimators_takes_an_estimator():
    wrong = [
        f"{module}.{node.name}"
        for module, path in MODULES.items()
        # displays read the public attributes of an estimator
        if LAYER[package_of(module)] < LAYER["estimators"] and package_of(module) != "display"
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.FunctionDef)
        for argument in [*node.args.args, *node.args.kwonlyargs]
        if argument.arg in {"params", "estimator"}
    ]
    assert wrong == []


def test_underscored_names_never_leave_their_package():
    leaving = [
        f"{module} imports {origin}.{name}"
        for module in MODULES
        for origin, name in ours(module)
        if package_of(origin) != package_of(module) and name.startswith("_") and name[1] != "_"
    ]
    assert leaving == []


def test_names_are_offered_again_in_faces_only():
    offering = {
        module
        for module, path in MODULES.items()
        for node in parsed(path).body
        if isinstance(node, ast.Assign)
        if any(getattr(target, "id", "") == "__all__" for target in node.targets)
    }
    assert offering <= set(PACKAGES)


def test_a_library_is_used_behind_its_fence_only():
    strangers = [
        f"{module} must not import {library}"
        for module, path in MODULES.items()
        for library in {origin.partition(".")[0] for origin, _ in imports(path, module)}
        if library in FENCES
        if not any(f"{module}.".startswith(f"{inside}.") for inside in FENCES[library])
    ]
    assert strangers == []


def test_warnings_are_issued_in_one_place():
    wrong = [
        f"{module} must use _support.warn, not {called}"
        for module, path in MODULES.items()
        # Pillow's modules get a stand-in for the module `warnings`, which passes calls on
        if module not in ("_support.warn", "data.naming")
        for called in {
            ast.unparse(node.func) for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)
        }
        if called in {"warnings.warn", "warnings.warn_explicit", "warn"}
    ]
    assert wrong == []


@pytest.mark.parametrize(
    "name",
    [
        "sktransfer",
        "sktransfer.exceptions",
        "sktransfer.schedules",
        "sktransfer._support.files",
        "sktransfer._support.paths",
        "sktransfer._support.processes",
        "sktransfer._support.progress",
        "sktransfer._support.text",
        "sktransfer._support.validation",
    ],
)
def test_what_needs_no_torch_loads_none(name):
    code = f"import sys, {name}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("name", "module", "allowed"),
    [
        ("data", "cache.activations", True),
        ("data.digests", "cache.activations", False),  # past the face
        ("cache", "data.digests", False),  # upward
        ("callbacks", "cache.table", False),  # sideways
        ("_support.files", "cache.shard", True),
        ("_support", "cache.shard", False),  # which of its modules is not said
        ("exceptions", "data.decoding", True),
        ("data.decoding", "data.items", True),
        ("data.items", "data.decoding", False),  # against the order of the package
        ("data", "data.items", False),  # its own face
        ("data.items", "data", True),
        ("data", "backbones.providers.timm", True),
        ("backbones.weights", "backbones.providers.timm", True),
        ("backbones.providers.timm", "backbones.registry", False),
        ("backbones.providers._mini", "backbones.providers.builtin", True),
        ("backbones.providers.torchvision", "backbones.providers.timm", False),
        ("cli", "persistence.save_load", False),
        ("", "cli.app", False),  # the root
        ("unknown", "cli.app", False),
    ],
)
def test_layers_orders_and_faces_decide_who_imports_whom(name, module, allowed):
    assert is_allowed(name, module) == allowed


def n_lines(path, module):
    """Lines of a file; those of the docstrings of estimators do not count."""
    n = len(path.read_text().splitlines())
    if package_of(module) == "estimators":
        for node in parsed(path).body:
            if isinstance(node, ast.ClassDef) and ast.get_docstring(node):
                n -= node.body[0].end_lineno - node.body[0].lineno
    return n


def test_a_test_file_has_at_most_400_lines():
    lines = {
        str(path): len(path.read_text().splitlines())
        for path in Path(__file__).parent.rglob("*.py")
    }
    assert {name: n for name, n in lines.items() if n > MOST_LINES} == {}


def test_a_file_has_at_most_400_lines():
    lines = {module: n_lines(path, module) for module, path in MODULES.items()}
    assert {module: n for module, n in lines.items() if n > MOST_LINES} == {}


@pytest.mark.parametrize("folder", ["sktransfer", "tests", "benchmarks", "pretraining"])
def test_every_lint_exception_states_its_reason(folder):
    exception = re.compile(r"# (noqa|type: ignore)")
    reasoned = re.compile(
        r"# (noqa: [A-Z0-9, ]+ - |type: ignore\[[a-z, -]+\]  # )(?!as above)\w\S* \w"
    )
    wrong = [
        f"{path.name}: {line.strip()}"
        for path in (Path(__file__).parents[1] / folder).rglob("*.py")
        for line in path.read_text().splitlines()
        if exception.search(line) and not reasoned.search(line)
    ]
    assert not wrong


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("from .b import x", ("sktransfer.b", "x")),
        ("from . import cache", ("sktransfer.cache", "")),
        ("from sktransfer import cache", ("sktransfer.cache", "")),
        ("from sktransfer.cache import Table", ("sktransfer.cache", "Table")),
        ("from sktransfer.cache import table", ("sktransfer.cache.table", "")),
        ("import sktransfer.cache as c", ("sktransfer.cache", "")),
        ("def f():\n    from .cache import Table", ("sktransfer.cache", "Table")),
        ("if TYPE_CHECKING:\n    from .cache import Table", ("sktransfer.cache", "Table")),
        ("from PIL import Image", ("PIL", "Image")),
    ],
)
def test_an_import_is_found_wherever_it_stands(tmp_path, source, expected):
    path = tmp_path / "a.py"
    path.write_text(source)
    assert list(imports(path, "a")) == [expected]

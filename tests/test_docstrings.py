"""Docstrings describe the parameters that the signatures have."""

import inspect
import re
import sys
from ast import literal_eval

import pytest

import sktransfer
from sktransfer import callbacks, display, schedules, testing

SECTION = re.compile(r"^(\w[\w ]+)\n-+$", re.MULTILINE)
ENTRY = re.compile(r"^(?P<names>[*\w, ]+?) : (?P<type>.+)$", re.MULTILINE)


def classes_of(module):
    """The public classes that a module offers, by their names."""
    offered = getattr(module, "__all__", None) or [
        name
        for name, thing in vars(module).items()
        if inspect.isclass(thing) and thing.__module__ == module.__name__ and name[0] != "_"
    ]
    return {
        f"{module.__name__.removeprefix('sktransfer.')}.{name}": getattr(module, name)
        for name in offered
    }


def public():
    """Each public function, class and method, by its name."""
    objects = {name: getattr(sktransfer, name) for name in sktransfer.__all__}
    objects["testing.check_backbone"] = testing.check_backbone
    for module in (callbacks, display, schedules):
        objects |= classes_of(module)
    for name, thing in list(objects.items()):
        if inspect.isclass(thing):
            ours = [kind for kind in thing.__mro__ if kind.__module__.startswith("sktransfer")]
            known = {k: v for kind in reversed(ours) for k, v in vars(kind).items()}
            methods = {k: v for k, v in known.items() if inspect.isfunction(v)}
            objects |= {f"{name}.{k}": v for k, v in methods.items() if not k.startswith("_")}
    return {name: thing for name, thing in objects.items() if callable(thing)}


def is_method(name):
    """Return True if the name is that of a class, a dot and another name."""
    return name.rpartition(".")[0] in PUBLIC


PUBLIC = public()
# a class or a function in its own right; methods may say it in a sentence
WITH_SECTIONS = {
    name: thing
    for name, thing in PUBLIC.items()
    if name in sktransfer.__all__ or not is_method(name)
}
RETURNING = {
    name: thing
    for name, thing in WITH_SECTIONS.items()
    if inspect.isfunction(thing) and thing.__annotations__.get("return") not in ("None", None)
}


def section(thing, title):
    """The text of one section of a docstring, or None."""
    parts = SECTION.split(inspect.getdoc(thing))
    return dict(zip(parts[1::2], parts[2::2], strict=True)).get(title)


def documented(thing):
    """parameter -> what its docstring says of its type and default."""
    found = {}
    for entry in ENTRY.finditer(section(thing, "Parameters") or ""):
        for name in entry["names"].split(","):
            found[name.strip(" *")] = entry["type"]
    return found


def signature(thing):
    """parameter -> its default, or inspect's mark of none."""
    parameters = inspect.signature(thing).parameters.values()
    return {p.name: p.default for p in parameters if p.name != "self"}


def said_default(kind):
    """The default that an entry such as ``int, default=3`` states, as a value."""
    _, stated, text = kind.partition("default=")
    if not stated:
        return inspect.Parameter.empty
    try:
        return literal_eval(text)
    except (ValueError, SyntaxError):
        return text


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_says_what_it_gives(name):
    first = (inspect.getdoc(PUBLIC[name]) or "").partition("\n\n")[0]
    assert first.endswith((".", ":")), f"{name} needs a first sentence"


@pytest.mark.parametrize("name", PUBLIC)
def test_a_first_sentence_cites_nothing(name):
    # the list of all names shows it without the references
    assert "]_" not in (inspect.getdoc(PUBLIC[name]) or "").partition("\n\n")[0]


@pytest.mark.parametrize("name", WITH_SECTIONS)
def test_every_public_name_has_an_example(name):
    assert ">>> " in (section(WITH_SECTIONS[name], "Examples") or "")


@pytest.mark.parametrize("name", WITH_SECTIONS)
def test_every_parameter_is_documented_in_order(name):
    thing = WITH_SECTIONS[name]
    assert list(documented(thing)) == list(signature(thing))


@pytest.mark.parametrize("name", PUBLIC)
def test_a_method_documents_its_parameters_all_or_none(name):
    told = list(documented(PUBLIC[name]))
    assert told in ([], list(signature(PUBLIC[name])))


@pytest.mark.parametrize("name", PUBLIC)
def test_a_stated_default_is_the_default(name):
    defaults = signature(PUBLIC[name])
    for parameter, kind in documented(PUBLIC[name]).items():
        if kind == "ignored":
            continue
        default = defaults[parameter]
        module = sys.modules[PUBLIC[name].__module__]
        named = {constant for constant in vars(module) if vars(module)[constant] is default}
        forms = (default, repr(default), f"{type(default).__name__}()", *named)
        assert said_default(kind) in forms, f"{parameter} is {default!r}, not {kind}"


@pytest.mark.parametrize("name", RETURNING)
def test_what_comes_back_is_documented(name):
    assert section(RETURNING[name], "Returns")


def test_a_wrong_default_is_noticed():
    def half(x, n=2):
        """Half.

        Parameters
        ----------
        x : float
        n : int, default=3
        """

    assert said_default(documented(half)["n"]) == 3 != signature(half)["n"]
    assert said_default(documented(half)["x"]) is signature(half)["x"]

"""The code on the pages runs, their links lead to files, and headings name what users seek."""

import re
import runpy
from inspect import signature

import pytest
from helpers.pages import EXAMPLES, PAGES, ROOT, blocks, run_page

import sktransfer
from sktransfer import load_textures

# Its blocks continue the code of the user, or are parts of a package.
# That of many_machines.md runs in tests/interoperability.
NOT_RUN = ("README.md", "providers.md", "architecture.md", "many_machines.md")

RUNNABLE = [
    name
    for name, path in PAGES.items()
    if name not in NOT_RUN and blocks(path.read_text(), "python")
]

API = re.findall(r"^   ([A-Za-z][\w.]*)$", PAGES["api.md"].read_text(), re.MULTILINE)

HEADINGS = [
    heading.lower()
    for path in (*PAGES.values(), *EXAMPLES.values())
    for heading in re.findall(
        r"^#+ (.+)$|^(?:# )?(\S.*)\n(?:# )?[=-]{4,}$", path.read_text(), re.MULTILINE
    )
    for heading in heading
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with the photos that the pages use."""
    for subset in ("train", "test"):
        load_textures(subset, folder=tmp_path / "textures" / subset)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", RUNNABLE)
def test_the_code_of_a_page_runs(folder, page, capsys):
    run_page(PAGES[page], capsys)


def test_most_pages_have_code():
    assert len(RUNNABLE) > 10


@pytest.mark.parametrize("page", PAGES)
def test_a_relative_link_leads_to_a_file(page):
    path = PAGES[page]
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text())
    # The pages and pictures of the examples are made when the documentation is built.
    made = re.compile(r"auto_examples/(?:images/sphx_glr_)?(\w+?)(?:_\d{3}\.png|\.rst)")
    known = [made.fullmatch(link) for link in links]
    assert all(f"{match[1]}.py" in EXAMPLES for match in known if match)
    others = [link for link, match in zip(links, known, strict=True) if not match]
    assert [x for x in others if "://" not in x and not (path.parent / x).exists()] == []


@pytest.mark.parametrize(
    "phrase", ["learning rate", "embeddings", "confusion matrix", "linear probe", "class imbalance"]
)
def test_a_heading_names_what_users_seek(phrase):
    assert any(phrase in heading for heading in HEADINGS)


def test_the_api_page_lists_every_public_name():
    assert set(sktransfer.__all__[1:]) <= set(API)


@pytest.mark.parametrize("name", API)
def test_tab_completion_finds_what_the_api_page_lists(name):
    assert name.partition(".")[0] in dir(sktransfer)
    home, _, last = name.rpartition(".")
    assert last in dir(getattr(sktransfer, home) if home else sktransfer)


def test_the_groups_of_parameters_begin_with_parameters():
    page = runpy.run_path(str(ROOT / "docs" / "conf.py"))
    known = {
        name for kind in page["GROUPED"] for name in signature(getattr(sktransfer, kind)).parameters
    }
    assert set(page["PARAMETER_GROUPS"]) <= known


def test_the_parameters_of_an_estimator_are_divided_into_groups():
    page = runpy.run_path(str(ROOT / "docs" / "conf.py"))
    names = ["backbone", "weights", "precision", "batch_size", "device"]
    lines = [":Parameters:", "", *[f"    **{name}** : str" for name in names], ":Returns:"]
    page["group_parameters"](None, "class", "sktransfer.FineTuneClassifier", None, None, lines)
    assert [line.split()[0] for line in lines if line] == [
        ":Network:",
        "**backbone**",
        "**weights**",
        ":Computation:",
        "**precision**",
        "**device**",
        ":Batches:",
        "**batch_size**",
        ":Returns:",
    ]

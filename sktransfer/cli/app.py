"""The command ``sktransfer``, which calls the public functions and prints their results.

Commands import heavy packages when they run, so that ``sktransfer --help`` is fast.  Tables are
drawn on a terminal and tab-separated in a pipe.  The exit status is 0, 1 with a message on stderr
if the input is wrong or ``check`` finds problems, or 2 if the command line is wrong.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

from .._support.files import check_folder
from .._support.paths import check_existing_folder, check_source
from .._support.validation import require
from .._version import __version__

try:
    require("typer", "cli")
except ModuleNotFoundError as missing:  # the installed script imports this module first
    raise SystemExit(f"sktransfer: {missing}") from None

from typer import Argument, Exit, Option, Typer

from . import domains, features, models, predictions
from .messages import WRONG_INPUT, Command, InputError
from .options import Backbone, TextColumn, Weights, columns_of, weights_of
from .output import check_output, print_line, print_table, printable_lines

PICTURE = "sktransfer-demo.png"

app = Typer(
    help="Fine-tune pretrained networks for images and texts with the scikit-learn API.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
cache_app = Typer(help="Show or shrink a cache of activations.")
app.add_typer(cache_app, name="cache", no_args_is_help=True)
for command in (
    models.fit,
    predictions.predict,
    predictions.evaluate,
    predictions.adapt,
    predictions.export,
    models.find_lr,
    domains.rank,
    domains.shift,
    features.extract,
):
    app.command(cls=Command)(command)

CacheDir = Annotated[Path, Argument(metavar="DIR", help="The folder that was passed as cache=.")]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; None stands for the arguments of the process."""
    try:
        app(arguments, prog_name="sktransfer")
    except (InputError, *WRONG_INPUT) as error:
        raise SystemExit(f"sktransfer: {printable_lines(error)}") from None


def _version(asked: bool) -> None:
    if asked:
        print(f"sktransfer {__version__}")
        raise Exit


@app.callback()
def options(
    version: Annotated[
        bool, Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Fine-tune pretrained networks for images and texts with the scikit-learn API."""


@app.command(cls=Command)
def demo(
    images: Annotated[
        Path | None, Option(help="Folder with a subfolder for each class, or with train/ and val/.")
    ] = None,
    out: Annotated[Path, Option(help="File or folder for the plot; a file is replaced.")] = Path(
        PICTURE
    ),
    backbone: Backbone = "builtin/mini",
    weights: Weights = "default",
) -> None:
    """Compare raw pixels, pretrained features and fine-tuning, on textures or your own images.

    Without --images, also compare words and pretrained features on texts.
    """
    if images is not None:
        check_existing_folder(images)
    picture = out if out.suffix and not out.is_dir() else out / PICTURE
    check_folder("out", picture.parent)
    picture.parent.mkdir(parents=True, exist_ok=True)
    check_output("out", picture)
    from .demo import draw_demo, run_demo, run_text_demo

    comparison = run_demo(images, backbone=backbone, weights=weights_of(weights))
    _print_results(comparison.split, "images", comparison.results)
    if images is None:
        print_line("")
        split, results = run_text_demo()
        _print_results(split, "texts", results)
    try:
        draw_demo(comparison, picture)
    except ModuleNotFoundError as error:
        print_line(f"no picture: {error}", error=True)
    else:
        print_line(f"picture: {picture}")


def _print_results(split: Any, things: str, results: Any) -> None:
    """Print the table of a comparison."""
    counts = f"{len(split.y_train)} training {things}, {len(split.y_test)} test {things}"
    print_line(f"{split.title}: {counts}")
    rows = [(r.name, f"{r.accuracy:.3f}", f"{r.seconds:.1f}") for r in results]
    print_table(("method", "accuracy", "seconds"), rows)


@app.command(cls=Command)
def backbones(
    pattern: Annotated[
        str | None, Argument(help="Shell pattern of the whole address, such as '*resnet*'.")
    ] = None,
    provider: Annotated[str | None, Option(help="builtin, torchvision, timm, ...")] = None,
) -> None:
    """List the addresses of all backbones."""
    from ..backbones import list_backbones

    addresses = list_backbones(provider, pattern)
    if not addresses:
        raise ValueError(
            f"pattern must match an address; got {pattern!r}, which matches none. Try "
            f"'*{pattern}*'."
        )
    print(*addresses, sep="\n")


@app.command(cls=Command)
def fetch(
    address: Annotated[
        str,
        Argument(
            help="provider/model, as listed by `sktransfer backbones`, or transformers/OWNER/NAME."
        ),
    ],
    to: Annotated[
        Path, Option(metavar="DIR", help="Folder for the file, which is replaced if it exists.")
    ],
    weights: Annotated[str, Option(help="default or a tag.")] = "default",
) -> None:
    """Download the weights of a backbone, for a machine without internet access."""
    from ..backbones import fetch as fetch_weights

    print_line(fetch_weights(address, to, weights))


@app.command(cls=Command)
def check(
    folders: Annotated[
        list[Path],
        Argument(help="Folders of images or texts, or CSV files, checked together."),
    ],
    min_side: Annotated[int, Option(help="Images with a shorter side, in pixels, are tiny.")] = 32,
    text_column: TextColumn = None,
) -> None:
    """List unreadable, tiny and duplicated images, and those with odd colours; or odd texts.

    The exit status is 1 if there is a problem.
    """
    for folder in folders:
        check_source(folder)
    pd = require("pandas", "cli")
    from ..data import check_images, check_texts

    is_text = text_column is not None
    columns = columns_of("path", text_column)
    images = pd.concat(map(columns.read, folders), ignore_index=True)
    kind = images.columns[0]  # path or text
    labelled = "label" in images and images["label"].notna().all()
    labels = images["label"] if labelled else None
    items = images[kind]
    report = (
        check_texts(items, labels) if is_text else check_images(items, labels, min_side=min_side)
    )
    # the name of an item: its path, or its row and the beginning of the text
    names = (
        [f"{row + 1}: {text[:40]}" for row, text in enumerate(items)] if is_text else list(items)
    )
    if len(report):
        others = ["" if pd.isna(index) else names[index] for index in report["same_as"]]
        own = [names[index] for index in report["index"]]
        rows = zip(own, report["problem"], report["detail"], others, strict=True)
        print_table((kind, "problem", "detail", "same as"), list(rows))
    counts = report["problem"].value_counts()
    summary = ", ".join(f"{n} {problem}" for problem, n in counts.items())
    things = "texts" if is_text else "images"
    print(f"{len(images)} {things}: {summary or 'no problem'}", file=sys.stderr)
    if len(report):
        raise Exit(1)


@cache_app.command(cls=Command)
def info(folder: CacheDir) -> None:
    """Show what a cache contains: networks, layers and sizes, with rows, bytes and files."""
    from ..cache import ActivationCache

    tables = ActivationCache(folder).info()
    names = ("network", "weights", "layer", "image size", "max length")
    counts = ("rows", "bytes", "shards")
    rows = []
    for content, stored in tables.items():
        about = stored.get("about", {})
        described = [about.get(name, "") for name in names]
        # A fingerprint is long, and its beginning distinguishes it from others.
        shown = content[:8] if about else content
        rows.append((*described, *(str(stored[name]) for name in counts), shown))
    print_table((*names, *counts, "content"), sorted(rows))
    n_bytes = sum(stored["bytes"] for stored in tables.values())
    print(f"{len(tables)} kinds of content, {n_bytes} bytes", file=sys.stderr)


@cache_app.command(cls=Command)
def prune(
    folder: CacheDir,
    max_bytes: Annotated[
        int | None,
        Option(min=0, help="Maximum size; the least recently used rows are removed first."),
    ] = None,
) -> None:
    """Remove duplicate rows, then the least recently used rows."""
    from ..cache import ActivationCache

    print(f"{ActivationCache(folder).prune(max_bytes)} bytes freed")

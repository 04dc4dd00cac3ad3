"""The command ``sktransfer``: the public names, called and printed, and no logic beside them.

Everything heavy is imported within a command, so that ``sktransfer --help`` answers at once.
Tables are drawn on a terminal and tab-separated in a pipe.  The exit status is 0, 1 with one
message on stderr where the input is at fault, or 2 where the command line is.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from .._support.validation import require
from .._version import __version__

try:
    require("typer", "cli")
except ModuleNotFoundError as missing:  # the installed script imports before it calls anything
    raise SystemExit(f"sktransfer: {missing}") from None

from typer import Argument, Exit, Option, Typer

from . import models
from .models import Backbone, Weights, print_table, weights_of

PICTURE = "sktransfer-demo.png"
OUTPUTS = (".parquet", ".npz")

app = Typer(
    help="Transfer learning for people who know scikit-learn.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
cache_app = Typer(help="Look into a folder of cached activations, or shrink it.")
app.add_typer(cache_app, name="cache", no_args_is_help=True)
for command in (models.fit, models.predict, models.evaluate, models.find_lr):
    app.command()(command)

CacheDir = Annotated[Path, Argument(metavar="DIR", help="Folder that was passed as cache=.")]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; None takes that of the process."""
    try:
        app(arguments, prog_name="sktransfer")
    except (ValueError, OSError, ModuleNotFoundError) as error:  # what wrong input raises
        raise SystemExit(f"sktransfer: {error}") from None


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
    """Transfer learning for people who know scikit-learn."""


@app.command()
def demo(
    images: Annotated[
        Path | None, Option(help="Folder of class folders, or of train/ and val/ with such.")
    ] = None,
    out: Annotated[Path, Option(help="The picture: a file, or a folder for it.")] = Path(PICTURE),
    backbone: Backbone = "builtin/mini",
    weights: Weights = "default",
) -> None:
    """Compare raw pixels, pretrained features and fine-tuning, on digits or on your photos."""
    from .demo import draw_demo, run_demo

    picture = out if out.suffix and not out.is_dir() else out / PICTURE
    picture.parent.mkdir(parents=True, exist_ok=True)
    found = run_demo(images, backbone=backbone, weights=weights_of(weights))
    n_train, n_test = len(found.split.y_train), len(found.split.y_test)
    print(f"{found.split.title}: {n_train} images to learn from, {n_test} to test")
    rows = [(r.name, f"{r.accuracy:.3f}", f"{r.seconds:.1f}") for r in found.rungs]
    print_table(("features", "accuracy", "seconds"), rows)
    try:
        draw_demo(found, picture)
    except ModuleNotFoundError as error:
        print(f"no picture: {error}", file=sys.stderr)
    else:
        print(f"picture: {picture}")


@app.command()
def backbones(
    pattern: Annotated[
        str | None, Argument(help="As in a shell, for the whole address: '*resnet*'.")
    ] = None,
    provider: Annotated[str | None, Option(help="builtin, torchvision, timm, ...")] = None,
) -> None:
    """List the addresses of all backbones."""
    from ..backbones import list_backbones

    addresses = list_backbones(provider, pattern)
    if not addresses:
        raise ValueError(
            f"pattern must match an address; none matches {pattern!r}. Try '*{pattern}*'."
        )
    print(*addresses, sep="\n")


@app.command()
def fetch(
    address: Annotated[str, Argument(help="provider/model, as `sktransfer backbones` lists.")],
    to: Annotated[Path, Option(metavar="DIR", help="Folder where the file is kept.")],
    weights: Annotated[str, Option(help="default, or a tag.")] = "default",
) -> None:
    """Download the weights of a backbone, for a machine without a network."""
    from ..backbones import fetch as fetch_weights

    print(fetch_weights(address, to, weights))


@app.command()
def extract(
    source: Annotated[
        Path,
        Argument(metavar="FOLDER_OR_CSV", help="Images, in class folders or not, or their paths."),
    ],
    *,
    output: Annotated[Path, Option("--output", "-o", help="A .parquet or .npz file.")],
    path_column: Annotated[str, Option(help="Column of the paths in a CSV file.")] = "path",
    backbone: Backbone = "builtin/mini",
    weights: Weights = "default",
    layer: Annotated[
        list[str] | None, Option(help="A stage, last, logits or probabilities; may be repeated.")
    ] = None,
    pooling: Annotated[str, Option(help="avg, max, avgmax, flatten or cls.")] = "avg",
    image_size: Annotated[int | None, Option(help="In pixels; what the weights ask for.")] = None,
    cache: Annotated[Path | None, Option(help="Folder where features are kept.")] = None,
    precision: Annotated[str, Option(help="float32, bfloat16 or auto.")] = "float32",
    batch_size: Annotated[int | None, Option(help="Images at a time; chosen if not given.")] = None,
    device: Annotated[str, Option(help="auto, cpu, cuda, cuda:1 or mps.")] = "auto",
    n_jobs: Annotated[int | None, Option(help="Threads that decode.")] = None,
    decode_error: Annotated[
        str, Option(help="raise, or warn or ignore: a row of NaN for an unreadable image.")
    ] = "raise",
) -> None:
    """Write the features of images, with their paths and labels, to a file."""
    if output.suffix not in OUTPUTS or not output.parent.is_dir():
        raise ValueError(
            f"output must be a {' or '.join(OUTPUTS)} file in a folder that is there; "
            f"got {str(output)!r}."
        )
    require("pandas", "cli")
    require("pyarrow", "cli")
    from ..data import image_table
    from ..estimators import PretrainedFeatureExtractor

    table = image_table(source, path_column)
    extractor = PretrainedFeatureExtractor(  # type: ignore[no-untyped-call]
        backbone,
        weights=weights_of(weights),
        layer=layer or "last",
        pooling=pooling,
        image_size=image_size,
        cache=cache,
        precision=precision,
        batch_size="auto" if batch_size is None else batch_size,
        device=device,
        n_jobs=n_jobs,
        decode_error=decode_error,
    )
    names = extractor.fit(table["path"]).get_feature_names_out()
    _check_columns(output, table, names)
    features = extractor.transform(table["path"])  # type: ignore[no-untyped-call]
    _write(output, table, features, names)
    print(f"{output}: {len(features)} rows of {features.shape[1]} features")


@app.command()
def check(
    folders: Annotated[
        list[Path],
        Argument(help="Folders as for `extract`, or CSV files; several are checked together."),
    ],
    min_side: Annotated[int, Option(help="A shorter side, in pixels, is tiny.")] = 32,
) -> None:
    """List unreadable, truncated, oddly coloured, tiny and duplicated images."""
    pd = require("pandas", "cli")
    from ..data import check_images, image_table

    images = pd.concat([image_table(folder) for folder in folders], ignore_index=True)
    labelled = "label" in images and images["label"].notna().all()
    labels = images["label"] if labelled else None
    report = check_images(images["path"], labels, min_side=min_side)
    report["same as"] = report["same_as"].map(images["path"]).fillna("")
    columns = ["path", "problem", "detail", "same as"]
    if len(report):
        print_table(columns, report[columns].to_numpy())
    counts = report["problem"].value_counts()
    summary = ", ".join(f"{n} {problem}" for problem, n in counts.items())
    print(f"{len(images)} images: {summary or 'no problem'}", file=sys.stderr)


@cache_app.command()
def info(folder: CacheDir) -> None:
    """Show what a cache holds: for each fingerprint its rows, bytes and files."""
    from ..cache import ActivationCache

    told = ActivationCache(folder).info()
    rows = [(name, *map(str, stored.values())) for name, stored in told.items()]
    print_table(("fingerprint", "rows", "bytes", "shards"), rows)
    n_bytes = sum(stored["bytes"] for stored in told.values())
    print(f"{len(told)} fingerprints, {n_bytes} bytes", file=sys.stderr)


@cache_app.command()
def prune(
    folder: CacheDir,
    max_bytes: Annotated[
        int | None, Option(min=0, help="What it may hold; the least recently used rows go first.")
    ] = None,
) -> None:
    """Remove rows stored twice, then the least recently used."""
    from ..cache import ActivationCache

    print(f"{ActivationCache(folder).prune(max_bytes)} bytes freed")


def _check_columns(output: Path, table: Any, names: Sequence[str]) -> None:
    """Refuse columns whose names the output needs, before anything is computed."""
    taken = ("features", "feature_names", "file") if output.suffix == ".npz" else names
    for column in table:
        if column in taken:
            raise ValueError(
                f"a column must not be called {column!r}, which {output.name} needs; rename it."
            )


def _write(output: Path, table: Any, features: Any, names: Sequence[str]) -> None:
    import numpy as np
    import pandas as pd

    if output.suffix == ".npz":
        # Text as text, never as objects: such a file loads without running code.
        columns = {name: table[name].to_numpy() for name in table}
        columns = {k: v.astype(str) if v.dtype == object else v for k, v in columns.items()}
        np.savez(output, features=features, feature_names=np.array(names, str), **columns)
    else:
        frame = pd.DataFrame(features, columns=list(names))
        pd.concat([table, frame], axis=1).to_parquet(output)

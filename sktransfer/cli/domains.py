"""The commands about new domains: rank backbones, and compare two folders."""

from pathlib import Path
from typing import Annotated, Any

from typer import Argument, Option

from .._support.paths import check_source
from .._support.validation import first_ten, require
from .options import (
    Backbone,
    Cache,
    DecodeError,
    ImageSize,
    Jobs,
    LabelColumn,
    MaxLength,
    PathColumn,
    RandomState,
    Source,
    TextColumn,
    Weights,
    columns_of,
    weights_of,
)
from .output import check_output, print_line, print_table, safe_path, write_csv
from .reports import shown

Folder = Annotated[
    Path, Argument(metavar="FOLDER_OR_CSV", help="A folder of images or texts, or a CSV file.")
]
Output = Annotated[
    Path | None, Option("--output", "-o", help="A .csv file, replaced if it exists.")
]


def rank(
    source: Source,
    candidates: Annotated[
        list[str],
        Argument(
            metavar="ADDRESSES...",
            help="At least two addresses of `sktransfer backbones`. ADDRESS@WEIGHTS names a tag or "
            "a file of weights.",
        ),
    ],
    *,
    scorer: Annotated[str, Option(help="logme, knn or probe.")] = "logme",
    n_per_class: Annotated[int, Option(help="Number of items drawn of each class.")] = 20,
    baseline: Annotated[bool, Option(help="Rank random weights, too.")] = True,
    image_size: ImageSize = None,
    max_length: MaxLength = None,
    label_column: LabelColumn = "label",
    path_column: PathColumn = "path",
    text_column: TextColumn = None,
    output: Output = None,
    cache: Cache = None,
    n_jobs: Jobs = None,
    decode_error: DecodeError = "raise",
    random_state: RandomState = 0,
) -> None:
    """Rank backbones for labelled images or texts, without training them."""
    check_source(source)
    _check_csv(output)
    require("pandas", "cli")
    from ..estimators import rank_backbones

    table = columns_of(path_column, text_column).read(source)
    if label_column not in table or table[label_column].isna().any():
        raise ValueError(
            "source must have a label for each item, the name of a subfolder or the column "
            f"{label_column!r}; got {str(source)!r}."
        )
    how = (image_size, max_length, n_jobs, decode_error)
    pairs = [candidate.partition("@")[::2] for candidate in candidates]
    ranking = rank_backbones(
        list(table[table.columns[0]]),
        table[label_column].to_numpy(),
        [_extractor(address, weights or "default", *how) for address, weights in pairs],
        scorer=scorer,
        n_per_class=n_per_class,
        baseline=baseline,
        cache=cache,
        random_state=random_state,
    )
    given = [row for row in ranking if not row["is_baseline"]]
    failed = [f"{row['backbone']}: {row['error']}" for row in given if row["error"]]
    if len(failed) == len(given):
        raise ValueError(f"candidates must hold a backbone that has a score:\n{first_ten(failed)}")
    if output is not None:
        write_csv(ranking.to_frame(), output)
    names = ("backbone", "weights", "image_size", "score", "seconds_per_item", "error")
    print_table(
        ("backbone", "weights", "image size", "score", "seconds", "error"),
        [[shown(row[name]) for name in names] for row in ranking],
    )


def shift(
    source: Folder,
    target: Folder,
    *,
    backbone: Backbone = "builtin/mini",
    weights: Weights = "default",
    image_size: ImageSize = None,
    max_length: MaxLength = None,
    listed: Annotated[int, Option(min=0, help="Number of items to list at each end.")] = 5,
    path_column: PathColumn = "path",
    text_column: TextColumn = None,
    output: Output = None,
    cache: Cache = None,
    n_jobs: Jobs = None,
    decode_error: DecodeError = "raise",
    random_state: RandomState = 0,
) -> None:
    """Test if images or texts of two folders come from different domains.

    This detects a shift. It does not tell how many points of accuracy the shift costs.
    """
    for each in (source, target):
        check_source(each)
    _check_csv(output)
    pd = require("pandas", "cli")
    from ..estimators import domain_shift

    columns = columns_of(path_column, text_column)
    tables = [columns.read(each) for each in (source, target)]
    items = [list(table[table.columns[0]]) for table in tables]
    extractor = _extractor(backbone, weights, image_size, max_length, n_jobs, decode_error)
    found = domain_shift(extractor.set_params(cache=cache), *items, random_state=random_state)
    kind = "path" if text_column is None else "text"
    if output is not None:
        names = [safe_path(item) if text_column is None else item for item in items[1]]
        write_csv(pd.DataFrame({kind: names, "score": found.target_scores}), output)
    ends = (("most", found.most_like_source(listed)), ("least", found.least_like_source(listed)))
    rows = [
        (end, str(items[1][at])[:60] if text_column else str(items[1][at]), score)
        for end, positions in ends
        for at, score in zip(positions, map(shown, found.target_scores[positions]), strict=True)
    ]
    if rows:
        print_table(("like the source", kind, "score"), rows)
    print_line(f"AUC {found.auc:.3f}, p = {found.p_value:.3g}")


def _extractor(
    address: str,
    weights: str,
    image_size: int | None,
    max_length: int | None,
    n_jobs: int | None,
    decode_error: str,
) -> Any:
    from ..estimators import PretrainedFeatureExtractor

    return PretrainedFeatureExtractor(
        address,
        weights=weights_of(weights),
        image_size=image_size,
        max_length=max_length,
        n_jobs=n_jobs,
        decode_error=decode_error,
    )


def _check_csv(output: Path | None) -> None:
    """Raise an error if a table cannot be written to ``output``."""
    if output is None:
        return
    if output.suffix.lower() != ".csv" or not output.parent.is_dir():
        raise ValueError(f"output must be a .csv file in an existing folder; got {str(output)!r}.")
    check_output("output", output)

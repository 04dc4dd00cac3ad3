"""CSV files that cannot be read are errors with the name of the file and a remedy."""

import re
import warnings

import numpy as np
import pandas as pd
import pytest

from sktransfer.data import image_table, text_table

WRONG = {
    "empty": ("", "must begin with the names of its columns; it has no line."),
    "header only": ("path,text\n", "must have a row below the names of its columns."),
    "semicolons": (
        "path;text\na.png;good\n",
        "must have commas between its columns. Its first line has semicolons: pandas.read_csv(",
    ),
    "semicolons and commas": (
        "path;text\na.png;good, bad\nb.png;a,b,c\n",
        (
            "must be a CSV file, with commas between its columns and quotes around cells that hold "
            "commas; Expected 2 fields in line 3, saw 3. Its first line has semicolons: "
        ),
    ),
    "tabs": ("path\ttext\na.png\tb\n", r"sep='\t').to_csv("),
    "an open quote": ('path,text\na.png,"b\n', "EOF inside string starting at row 1."),
    "more cells in each row": (
        "path,text\na.png,good,old\nb.png,bad\n",
        (
            "must have at most as many cells in a row as names of columns, which are 2; it has "
            "more. Put cells that hold commas in quotes."
        ),
    ),
}


@pytest.mark.parametrize("read", [image_table, text_table])
@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_a_file_is_told_with_its_name(tmp_path, name, read):
    text, message = WRONG[name]
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        read(path)
    assert str(error.value).startswith(repr(str(path)))


def test_the_advice_on_other_separators_works(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("path;text\na.png;good, bad\nb.png;a,b,c\n")
    with pytest.raises(ValueError, match="semicolons: ") as error:
        image_table(path)
    code = re.search(r"semicolons: (.*) writes commas\.$", str(error.value))[1]
    pd.read_csv(path, sep=";").to_csv(path, index=False)
    assert code == f"pandas.read_csv({str(path)!r}, sep=';').to_csv({str(path)!r}, index=False)"
    assert text_table(path)["text"].tolist() == ["good, bad", "a,b,c"]


def test_a_missing_column_is_told_with_the_first_twenty(tmp_path):
    names = [f"x{number}" for number in range(140)]
    pd.DataFrame(np.zeros((2, 140)), columns=names).to_csv(tmp_path / "wide.csv", index=False)
    with pytest.raises(
        ValueError, match=r"'x19' and 120 more\. If its items are texts, pass text_"
    ):
        image_table(tmp_path / "wide.csv")


@pytest.mark.parametrize("read", [image_table, text_table])
def test_a_table_of_many_columns_is_read_without_a_warning(tmp_path, read):
    columns = {"path": ["a", "b"], "text": ["c", "d"]} | {f"x{n}": [n, "x"] for n in range(140)}
    pd.DataFrame(columns).to_csv(tmp_path / "wide.csv", index=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = read(tmp_path / "wide.csv")
    assert table.columns[0] == ("path" if read is image_table else "text")
    assert table.shape == (2, 142)

"""Each example has printed what its page describes; `make docs` runs this after the examples."""

import re
from textwrap import dedent

import pytest
from helpers.pages import EXAMPLES, ROOT

PRINTED = {
    "adapt_domains.py": r"no adaptation +0\.[0-4]\d+\n(.|\n)*self-training +0\.[89]\d+",
    "columns.py": r"numbers +R2 -?\d\.\d\d\n(.|\n)*images and numbers +R2 0\.[89]\d",
    "detection.py": r"(.|\n)*\n0 of \d\d frozen tensors moved\n(2[5-9]|3\d) of \d\d boxes found",
    "displays.py": r"$",
    "embeddings.py": r"\(150, 1024\) float32\n.*same material: (0\.9|1)",
    "few_labels.py": r"linear probe +0\.\d{3}(.|\n)*all the way +0\.\d{3}",
    "fine_tune.py": r"(.|\n)*raw pixels +0\.[2-6]\d+\n.* +0\.9\d+\nfine-tuned network +0\.9\d+",
    "grad_cam.py": r"accuracy: (0\.9\d|1\.00)\n(\w+ +0\.[6-9]\d of the heat in its quarter\n?){4}$",
    "imbalance.py": r"(.|\n)*None +0\.\d{3}\nbalanced +0\.9\d+",
    "linear_probe.py": r"stem +0\.\d{3}(.|\n)*layer4 +(0\.9|1)",
    "photos.py": r"100 photos of brick(.|\n)*test/brick/0000\.png -> brick",
    "prune.py": r"(.|\n)*PRUNED +0\.\d\d(.|\n)*best learning rate 0\.\d{5}, score (0\.[89]|1)",
    "segmentation.py": r"linear: mean IoU 0\.[789]\d+\nfpn: mean IoU 0\.[89]\d+",
    "transfer_or_scratch.py": r"200 photos\n(.|\n)*from scratch +0\.\d{3} 0\.\d{3} 0\.\d{3}",
    "ulmfit.py": r"100 texts with labels, \d{3} for .*\nperplexity .* 1\d{3}\n(.|\n)*tuned, then",
    "tutorial.py": r"1\. from scratch +0\.\d{3}\n(.|\n)*best depth: \d",
}

# A block of output on a page of Sphinx-Gallery, with its indented lines
OUTPUT = re.compile(r"sphx-glr-script-out\n\n \.\. code-block:: none\n((?:\n|    .*\n)+)")


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_prints_what_its_page_describes(name):
    page = (ROOT / "docs" / "auto_examples" / name).with_suffix(".rst").read_text()
    printed = "\n".join(dedent(block).strip() for block in OUTPUT.findall(page))
    assert re.match(PRINTED[name], printed)

"""Find the layer with the best features, by a grid search that runs the network once.

    python examples/which_layer.py

The images are 200 of scikit-learn's handwritten digits, so the search takes only seconds.
"""

from tempfile import TemporaryDirectory

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import PretrainedFeatureExtractor, get_backbone

digits = load_digits()
X, y = digits.data[:200] / 16, digits.target[:200]

with TemporaryDirectory() as cache:
    features = PretrainedFeatureExtractor("builtin/mini", image_size=32, cache=cache)
    grid = GridSearchCV(
        make_pipeline(features, StandardScaler(), LogisticRegression(max_iter=1000)),
        {"pretrainedfeatureextractor__layer": get_backbone("builtin/mini").names},
        cv=3,
    ).fit(X, y)

for parameters, score in zip(
    grid.cv_results_["params"], grid.cv_results_["mean_test_score"], strict=True
):
    print(f"{parameters['pretrainedfeatureextractor__layer']:8} {score:.3f}")

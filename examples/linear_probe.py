"""
Linear probe: find the layer with the best features
===================================================

A linear probe is a linear model on the features of a frozen network.  Later layers know more about
whole objects, earlier ones about textures and colours.  A grid search finds the layer that suits
the images; with a cache, each photo passes the network once in the whole search.
"""

from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import PretrainedFeatureExtractor, get_backbone, load_textures

photos = load_textures("train")
layers = get_backbone("builtin/mini").names

with TemporaryDirectory() as cache:
    features = PretrainedFeatureExtractor("builtin/mini", cache=cache)
    search = GridSearchCV(
        make_pipeline(features, StandardScaler(), LogisticRegression(C=0.01, max_iter=1000)),
        {"pretrainedfeatureextractor__layer": layers},
        cv=5,
    )
    search.fit(photos.data, photos.labels)

results = search.cv_results_
for layer, score in zip(layers, results["mean_test_score"], strict=True):
    print(f"{layer:8} {score:.3f}")

# %%
# Several layers can be used together, with ``layer=["layer2", "layer4"]``.

figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
axis.errorbar(
    layers, results["mean_test_score"], yerr=results["std_test_score"], marker="o", capsize=3
)
axis.set(ylabel="accuracy of the linear probe", xlabel="layer")
plt.show()

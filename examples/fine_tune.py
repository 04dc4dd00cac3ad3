"""
Fine-tune a pretrained network
==============================

A hundred small photos of ten materials are enough to train a classifier, if a network that knows
photos already is adapted to them.  This page compares it with raw pixels and with the features of
the frozen network, and shows its confusion matrix.
"""

# %%
# The photos
# ----------
#
# ``load_textures`` cuts windows from pictures: from their left halves for training, from their
# right halves for the test.  ``X`` may also be a list of paths, PIL images or bytes.

import matplotlib.pyplot as plt

from sktransfer import load_textures

train, test = load_textures("train"), load_textures("test")
print(train.data.shape, train.labels[:3])

figure, axes = plt.subplots(2, 5, figsize=(8, 3.6), layout="constrained")
for axis, index in zip(axes.flat, range(0, 100, 10), strict=True):
    axis.imshow(train.data[index])
    axis.set_title(train.labels[index], fontsize=10)
    axis.axis("off")

# %%
# Raw pixels
# ----------
#
# A linear model on pixels is the baseline.

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

pixels = LogisticRegression(max_iter=1000)
pixels.fit(train.data.reshape(100, -1)[:, ::16] / 255, train.labels)
accuracies = {"raw pixels": pixels.score(test.data.reshape(100, -1)[:, ::16] / 255, test.labels)}

# %%
# Features of a frozen network
# ----------------------------
#
# The network was pretrained on other photos.  Each photo passes it once, and a linear model reads
# the output.

from sktransfer import PretrainedFeatureExtractor

probe = make_pipeline(PretrainedFeatureExtractor(), StandardScaler(), LogisticRegression(C=0.01))
probe.fit(train.data, train.labels)
accuracies["frozen features"] = probe.score(test.data, test.labels)

# %%
# Fine-tuning
# -----------
#
# ``fit`` starts from the same linear model, and then trains the whole network with a low learning
# rate.

from sktransfer import FineTuneClassifier

model = FineTuneClassifier(random_state=0)
model.fit(train.data, train.labels)
accuracies["fine-tuned network"] = model.score(test.data, test.labels)

for name, accuracy in accuracies.items():
    print(f"{name:20} {accuracy:.3f}")

# %%
# Confusion matrix
# ----------------
#
# The classifier is one of scikit-learn's, so its metrics and displays work.

from sklearn.metrics import ConfusionMatrixDisplay

ConfusionMatrixDisplay.from_estimator(
    model, test.data, test.labels, xticks_rotation=45, cmap="Greens", colorbar=False
)
plt.tight_layout()
plt.show()

"""Classify your own photos: features of a pretrained network, then a linear model.

    python examples/photos.py TRAIN TEST [WEIGHTS]

TRAIN and TEST are folders with a subfolder of photos for each class.  WEIGHTS is a file of weights
for torchvision's mobilenet_v2; by default they are downloaded.
"""

import sys

from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from sktransfer import PretrainedFeatureExtractor, load_image_folder

train = load_image_folder(sys.argv[1])
test = load_image_folder(sys.argv[2], classes=train.target_names)
weights = sys.argv[3] if len(sys.argv) > 3 else "default"
model = Pipeline(
    [
        ("feat", PretrainedFeatureExtractor("torchvision/mobilenet_v2", weights=weights)),
        ("clf", LogisticRegression(max_iter=1000)),
    ]
).fit(train.data, train.labels)
print(f"accuracy on {len(test.data)} photos: {model.score(test.data, test.labels):.3f}")

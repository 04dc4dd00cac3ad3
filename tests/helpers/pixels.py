"""The smallest estimator that uses a preset."""

from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from sktransfer import ImagePreset
from sktransfer.estimators._columns import check_items


class Pixels(TransformerMixin, BaseEstimator):
    """Return the pixels that a preset sees, as one row for each image."""

    def __init__(self, size=4, image_shape=None):
        self.size = size
        self.image_shape = image_shape

    def fit(self, X, y=None):
        check_items(self, ImagePreset(image_shape=self.image_shape), X, reset=True)
        self.fitted_ = True
        return self

    def transform(self, X):
        check_is_fitted(self)
        preset = ImagePreset(size=self.size, crop=1.0, image_shape=self.image_shape)
        items = check_items(self, preset, X)
        batch = preset.collate([preset(item) for item in items], len(items))
        return batch.flatten(1).numpy()

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

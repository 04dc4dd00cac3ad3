"""Grid searches over a fine-tuning, the same for both sides."""

from _recipe import BATCH_SIZE
from sklearn.model_selection import GridSearchCV, StratifiedKFold

from sktransfer import FineTuneClassifier


def candidate(weights, cache, **parameters):
    """A fine-tuning of MobileNetV2 without augmentation, whose frozen stages run once a photo."""
    return FineTuneClassifier(
        "torchvision/mobilenet_v2",
        weights=weights,
        augment=None,
        batch_size=BATCH_SIZE,
        cache=cache,
        random_state=0,
        verbose=0,
        **parameters,
    )


def folds_of(photos, labels, n_folds):
    """Stratified folds, as pairs of positions."""
    folds = StratifiedKFold(n_folds, shuffle=True, random_state=0)
    return list(folds.split(photos, labels))


def searched(model, grid, X, y, folds, n_jobs=None):
    """A fitted search; nothing is refitted, and no fit may fail."""
    search = GridSearchCV(model, grid, cv=folds, refit=False, n_jobs=n_jobs, error_score="raise")
    return search.fit(X, y)


def scores_of(search):
    """The mean test score of each candidate, by its parameters; and those of a search."""
    results = search.cv_results_
    of_candidates = zip(results["params"], results["mean_test_score"], strict=True)
    named = {
        ", ".join(f"{name.rpartition('__')[2]}={value}" for name, value in params.items()): score
        for params, score in of_candidates
    }
    means = results["mean_test_score"]
    rounded = {name: round(float(score), 4) for name, score in named.items()}
    return {"best": round(float(means.max()), 4), "mean": round(float(means.mean()), 4)} | rounded

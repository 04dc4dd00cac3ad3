"""Claim: statistics of each domain and self-training move labels to new domains; LogME ranks well.

    python benchmarks/domains.py [--quick] [--data DIR] [--weights FILE] [--cache DIR] [--fine-tune]

MobileNetV2 at 224 pixels on the six pairs of domains of PACS: the source has labels, the target has
none, and is what is judged.  The ranking is measured on four sets.  ``--fine-tune`` also compares
it with the accuracy after fine-tuning, which takes an hour.
"""

import json
import tempfile
import warnings
from itertools import permutations
from pathlib import Path
from time import process_time

import numpy as np
from _common import QUICK, at_least, at_most, generated_set, photo_options, photo_set
from scipy.stats import kendalltau
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sktransfer import (
    DomainSelfTrainingClassifier,
    FineTuneClassifier,
    PretrainedFeatureExtractor,
    domain_shift,
    rank_backbones,
)

NET = "builtin/mini" if QUICK else "torchvision/mobilenet_v2"
DOMAINS = ("photo", "cartoon", "sketch")
SETS = ("hymenoptera", "flowers5", "dtd10", "dogs_vs_cats")


def probe():
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))


def load(name, given, folder):
    """Paths and classes of a set, or generated photos."""
    found = None if QUICK else photo_set(name, given.data, folder)
    return found or generated_set(name, folder, 24)


def extractor(given, **how):
    weights = {} if QUICK else {"weights": given.weights}
    size = {"image_size": 32} if QUICK else {}
    how = weights | size | {"cache": given.cache, "verbose": 0} | how
    return PretrainedFeatureExtractor(NET, **how)


def classifier(given, unfreeze, **how):
    weights = {"image_size": 32} if QUICK else {"weights": given.weights}
    start = {"max_epochs": 0, "freeze_bn": "own", "head_init": LogisticRegression(C=0.01)}
    how = weights | start | {"cache": given.cache, "random_state": 0, "verbose": 0} | how
    return FineTuneClassifier(NET, unfreeze=unfreeze, **how)


def adapted(given, stages):
    """A function that fits a network to the source, adapts it, and returns its accuracy."""
    unfreeze = 1 if stages == "tail" else "all"

    def score(source, target):
        (X, y), (X_target, y_target) = source["data"], target["data"]
        cache = given.cache if stages == "tail" else None  # a network without frozen stages
        model = classifier(given, unfreeze, cache=cache).fit(X, y)
        return model.adapt(X_target, stages=stages).score(X_target, y_target)

    return score


def on_features(kind):
    def score(source, target):
        model = probe().fit(source[kind], source["data"][1])
        return model.score(target[kind], target["data"][1])

    return score


def self_trained(kind, max_iter=10):
    def score(source, target):
        y = np.array([*source["data"][1], *[-1] * len(target[kind])], dtype=object)
        model = DomainSelfTrainingClassifier(max_iter=max_iter, max_share_distance=1)
        model.fit(np.concatenate([source[kind], target[kind]]), y)
        return model.score(target[kind], target["data"][1])

    return score


def with_skada(kind, name, *arguments):
    """A function that fits an adapter of skada to the features; None if skada is missing."""
    try:
        import skada
    except ImportError:
        return None

    def score(source, target):
        labels, y = np.unique(source["data"][1], return_inverse=True)
        scaled = [StandardScaler().fit(source[kind]).transform(p[kind]) for p in (source, target)]
        adapter = getattr(skada, name)(*arguments)
        model = skada.make_da_pipeline(adapter, LogisticRegression(C=0.01, max_iter=2000))
        domains = np.repeat([1, -2], [len(y), len(scaled[1])])
        model.fit(np.concatenate(scaled), np.r_[y, [-1] * len(scaled[1])], sample_domain=domains)
        return (labels[model.predict(scaled[1])] == target["data"][1]).mean()

    return score


def from_few(given, n):
    """A function that estimates the statistics of the target from ``n`` of its photos."""

    def score(source, target):
        X, y = target["data"]
        order = np.random.default_rng(0).permutation(len(X))
        own = extractor(given, batch_norm="data").fit(X[order[:n]])
        model = probe().fit(source["data statistics"], source["data"][1])
        return model.score(own.transform(X[order[n:]]), y[order[n:]])

    return score


def measure_pairs(given, domains):
    """Rows with the mean accuracy of each method over the pairs of domains."""
    stored, own = "stored statistics", "data statistics"
    methods = {
        "source only": (on_features(stored), None),
        "each domain standardised": (self_trained(stored, 0), None),
        "standardised, self-trained": (self_trained(stored), None),
        "own statistics behind the cut": (adapted(given, "tail"), 0.52),
        "own statistics, adapt(stages='all')": (adapted(given, "all"), 0.59),
        "own statistics, batch_norm='data'": (on_features(own), 0.59),
        "own statistics of 32 photos of the target": (from_few(given, 8 if QUICK else 32), None),
        "own, standardised": (self_trained(own, 0), None),
        "own, standardised, self-trained": (self_trained(own), 0.70),
        "skada CORAL": (with_skada(stored, "CORALAdapter"), None),
        "skada SubspaceAlignment(50)": (
            with_skada(stored, "SubspaceAlignmentAdapter", 5 if QUICK else 50),
            None,
        ),
        "own, skada SubspaceAlignment(50)": (
            with_skada(own, "SubspaceAlignmentAdapter", 5 if QUICK else 50),
            0.61,
        ),
    }
    rows = []
    for name, (method, bar) in methods.items():
        if method is None:
            rows.append(at_least(name, "skipped: skada is not installed", None))
            continue
        start = process_time()
        scores = [method(domains[s], domains[t]) for s, t in permutations(domains, 2)]
        listed = " ".join(f"{score:.3f}" for score in scores)
        details = f"{listed}; {process_time() - start:.1f} s"
        rows.append(at_least(name, np.mean(scores), bar, details))
        print(rows[-1], flush=True)
    return rows


def measure_cost(given, paths):
    """The processor time of the pass that estimates statistics, over that of a transform."""
    stored = extractor(given, cache=None).fit(paths[:2])
    stored.transform(paths[:32])
    own, ratios = extractor(given, cache=None, batch_norm="data"), []
    for _ in range(3):
        times = []
        for job in (
            lambda: stored.transform(paths),
            lambda: extractor(given, cache=None).fit(paths[:2]),
            lambda: own.fit(paths),
        ):
            start = process_time()
            job()
            times.append(process_time() - start)
        ratios.append((times[2] - times[1]) / times[0])  # without the time to load the network
    return at_most("the pass for statistics over a transform", np.median(ratios), 1.6, " x")


def measure_in_domain(given, sets):
    """The accuracy of each kind of statistics in cross-validation within one set."""
    cv = StratifiedKFold(2 if QUICK else 5, shuffle=True, random_state=0)
    rows = []
    for name, (paths, labels) in sets.items():
        both = extractor(given, batch_norm="both").fit_transform(paths)
        half = both.shape[1] // 2
        parts = {"stored": both[:, :half], "data": both[:, half:], "both": both}
        scores = {k: cross_val_score(probe(), F, labels, cv=cv).mean() for k, F in parts.items()}
        details = ", ".join(f"{kind} {score:.3f}" for kind, score in scores.items())
        bar = -0.015 if name == "photo" else None
        rows.append(
            at_least(f"{name}: data over stored", scores["data"] - scores["stored"], bar, details)
        )
        print(rows[-1], flush=True)
    return rows


def measure_few_classes(given, domains):
    """Measure the gain of adaptation, and count its warnings, with few classes in the target."""
    rng, rows = np.random.default_rng(0), []
    classes = np.unique(domains[DOMAINS[0]]["data"][1])
    for n in (len(classes),) if QUICK else (2, 3, 5, len(classes)):
        gains, warned = [], 0
        for s, t in permutations(domains, 2):
            (X, y), held = domains[t]["data"], rng.permutation(classes)[:n]
            kept = np.isin(y, held)
            source, target = domains[s], {"data": (X[kept], y[kept])}
            target["stored statistics"] = domains[t]["stored statistics"][kept]
            own = extractor(given, batch_norm="data").fit_transform(X[kept])
            model = DomainSelfTrainingClassifier()
            labels = np.array([*source["data"][1], *[-1] * kept.sum()], dtype=object)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                model.fit(np.concatenate([source["data statistics"], own]), labels)
            warned += len(caught)
            without = on_features("stored statistics")(source, target)
            gains.append(model.score(own, y[kept]) - without)
        details = f"{warned} of {len(gains)} warn"
        rows.append(at_least(f"target of {n} classes: gain", np.mean(gains), None, details))
        print(rows[-1], flush=True)
    return rows


def candidates(given):
    mini = {"cache": given.cache, "verbose": 0}
    if QUICK:
        return {"32": extractor(given), "stem": extractor(given, layer="stem")}
    sizes = {str(size): extractor(given, image_size=size) for size in (224, 128, 96, 64)}
    return sizes | {
        "layer2 at 96": extractor(given, image_size=96, layer="layer2"),
        "mini": PretrainedFeatureExtractor("builtin/mini", **mini),
        "random at 96": extractor(given, weights=None, image_size=96),
        "random mini": PretrainedFeatureExtractor("builtin/mini", weights=None, **mini),
    }


def fine_tuned(given, made, X, y, test):
    """The accuracy after fine-tuning the last stage on 20 photos of each class."""
    model = FineTuneClassifier(
        made.backbone,
        weights=made.weights,
        image_size=made.image_size,
        unfreeze=1,
        augment=None,
        cache=given.cache,
        random_state=0,
        verbose=0,
    )
    return model.fit(X, y).score(*test)


def measure_ranking(given, sets):
    """Kendall's tau of each score with the accuracy, and what its choice loses."""
    made, results = candidates(given), {}
    for name, (X, y) in sets.items():
        train, test = train_test_split(np.arange(len(y)), test_size=0.3, stratify=y, random_state=0)
        truths = {"probe": {}, "fine-tuned": {}}
        for key, each in made.items():
            F = each.fit_transform(X)
            truths["probe"][key] = probe().fit(F[train], y[train]).score(F[test], y[test])
        few = np.concatenate(
            [train[y[train] == label][: 4 if QUICK else 20] for label in np.unique(y)]
        )
        if given.fine_tune:
            for key, each in made.items():
                if each.layer == "last":
                    data = (X[few], y[few], (X[test], y[test]))
                    truths["fine-tuned"][key] = fine_tuned(given, each, *data)
            print(name, truths["fine-tuned"], flush=True)
        for scorer in ("logme", "knn", "probe"):
            start = process_time()
            scores = {}
            ranking = rank_backbones(
                X[few], y[few], made.values(), scorer=scorer, n_per_class=None, baseline=False
            )
            for row in ranking:
                key = next(k for k, each in made.items() if _is_row(each, row))
                scores[key] = row["score"]
            spent = process_time() - start
            for truth, values in truths.items():
                if values:
                    _add(results, (scorer, truth), scores, values, spent)
    return _rows_of(results)


def _is_row(made, row):
    weights = "random" if made.weights is None else str(made.weights)
    place = made.backbone, weights, made.layer
    size = made.image_size in (None, row["image_size"])
    return size and place == (row["backbone"], row["weights"], row["layer"])


def _add(results, key, scores, truth, spent):
    names = list(truth)
    tau = kendalltau([scores[k] for k in names], [truth[k] for k in names]).statistic
    tau = 0.0 if np.isnan(tau) else tau  # all scores are equal
    regret = max(truth.values()) - truth[max(names, key=scores.get)]
    results.setdefault(key, []).append((tau, regret, spent))


def _rows_of(results):
    rows = []
    for (scorer, truth), values in results.items():
        tau, regret, spent = np.mean(values, axis=0)
        is_claimed = scorer == "logme" and truth == "probe"
        listed = " ".join(f"{each[0]:.2f}" for each in values)
        details = f"{listed}; regret {100 * regret:.1f} points; {spent:.1f} s"
        name = f"{scorer}: tau with the {truth}"
        rows.append(at_least(name, tau, 0.75 if is_claimed else None, details))
        if is_claimed:
            rows.append(at_least("logme: minus regret", -regret, -0.01))
    return rows


def measure_shift(domains):
    """The area between domains, and between halves of one."""
    kind, rows = "stored statistics", []
    for s, t in (("photo", "cartoon"), ("cartoon", "sketch"), ("photo", "sketch")):
        found = domain_shift(None, domains[s][kind], domains[t][kind], random_state=0)
        rows.append(at_least(f"{s}, {t}: area", found.auc, None, f"p {found.p_value:.3f}"))
    for name in domains:
        order = np.random.default_rng(0).permutation(len(domains[name][kind]))
        halves = (domains[name][kind][part] for part in np.array_split(order, 2))
        found = domain_shift(None, *halves, random_state=0)
        rows.append(at_least(f"halves of {name}: area", found.auc, None, f"p {found.p_value:.3f}"))
    return rows


parser = photo_options()
parser.add_argument("--cache", type=Path, default=None)
parser.add_argument("--fine-tune", action="store_true")
given = parser.parse_args()
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    given.cache = given.cache or folder / "cache"
    absent = not QUICK and not (given.weights.exists() and (given.data / "pacs.zip").exists())
    assert not absent, "the photos of PACS and the weights must be there"
    pacs = None if QUICK else photo_set("pacs", given.data, folder)
    domains = {}
    for domain in DOMAINS:
        if QUICK:
            paths, labels = load(domain, given, folder)
        else:
            at = np.array([Path(path).parts[-3] == domain for path in pacs[0]])
            paths, labels = pacs[0][at], pacs[1][at]
        domains[domain] = {"data": (paths, labels)}
        for kind in ("stored", "data"):
            made = extractor(given, batch_norm=kind)
            domains[domain][f"{kind} statistics"] = made.fit_transform(paths)
    sets = {name: load(name, given, folder) for name in (SETS[:1] if QUICK else SETS)}
    rows = measure_pairs(given, domains)
    rows.append(measure_cost(given, domains["photo"]["data"][0]))
    in_domain = {name: part["data"] for name, part in domains.items()} | sets
    rows += measure_in_domain(given, in_domain)
    rows += measure_few_classes(given, domains) + measure_shift(domains)
    rows += measure_ranking(given, sets)

print(json.dumps({"rows": rows}, indent=2))
assert QUICK or all(row["holds"] is not False for row in rows), "each part of the claim must hold"

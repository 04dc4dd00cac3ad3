"""Search a learning rate with Optuna, which ends poor candidates after a few epochs.

    python examples/prune.py

It needs the packages optuna and optuna-integration.  The study is in memory.  The images are 240 of
scikit-learn's handwritten digits, so the search takes only seconds.
"""

import optuna
from optuna_integration import SkorchPruningCallback
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from sktransfer import FineTuneClassifier

X, y = load_digits(return_X_y=True)
X, X_val, y, y_val = train_test_split(X[:240], y[:240], test_size=80, random_state=0)
# The head starts from the class priors, so that the candidates differ.
model = FineTuneClassifier(
    image_size=32,
    augment=None,
    head_init="prior",
    freeze_epochs=0,
    max_epochs=4,
    verbose=0,
    random_state=0,
)


def score(trial):
    candidate = clone(model).set_params(
        fine_tune_lr=trial.suggest_float("fine_tune_lr", 1e-5, 1e-1, log=True),
        skorch_callbacks=[SkorchPruningCallback(trial, monitor="valid_score")],
    )
    candidate.fit(X, y, X_val=X_val, y_val=y_val)
    return candidate.score(X_val, y_val)


optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(
    direction="maximize",
    sampler=optuna.samplers.RandomSampler(seed=0),
    pruner=optuna.pruners.MedianPruner(n_startup_trials=2),
)
study.optimize(score, n_trials=6)

for trial in study.trials:
    scores = " ".join(f"{value:.2f}" for value in trial.intermediate_values.values())
    print(f"{trial.params['fine_tune_lr']:.5f} {trial.state.name:9} {scores}")
print(f"best learning rate {study.best_params['fine_tune_lr']:.5f}, score {study.best_value:.2f}")

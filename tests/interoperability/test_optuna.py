"""Optuna searches the unfreeze depth."""

import pytest
from sklearn.model_selection import cross_val_score

optuna = pytest.importorskip("optuna", reason="optuna is not installed")


@pytest.fixture(autouse=True)
def _quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_a_study_searches_the_unfreeze_depth(classifier, paths):
    def objective(trial):
        unfreeze = trial.suggest_categorical("unfreeze", [0, 1, "all"])
        rate = trial.suggest_float("fine_tune_lr", 1e-4, 1e-2, log=True)
        model = classifier(unfreeze=unfreeze, fine_tune_lr=rate)
        return cross_val_score(model, *paths, cv=2, error_score="raise").mean()

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    study.optimize(objective, n_trials=3)
    assert study.best_value > 0.7


def test_threads_of_a_study_give_the_scores_of_one(classifier, paths):
    def run(n_jobs):
        study = optuna.create_study(
            direction="maximize", sampler=optuna.samplers.GridSampler({"unfreeze": [0, 1]})
        )
        study.optimize(objective, n_jobs=n_jobs)
        return {trial.params["unfreeze"]: trial.value for trial in study.trials}

    def objective(trial):
        model = classifier(unfreeze=trial.suggest_int("unfreeze", 0, 1))
        return cross_val_score(model, *paths, cv=2, error_score="raise").mean()

    assert run(2) == run(1)


def test_a_search_of_optuna_accepts_paths(classifier, paths):
    integration = pytest.importorskip(
        "optuna_integration", reason="optuna-integration is not installed"
    )
    search = integration.OptunaSearchCV(
        classifier(),
        {"unfreeze": optuna.distributions.IntDistribution(0, 2)},
        n_trials=2, cv=2, random_state=0, error_score="raise",
    )  # fmt: skip
    assert search.fit(*paths).score(*paths) > 0.7

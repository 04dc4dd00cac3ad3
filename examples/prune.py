"""
Search a learning rate with Optuna
==================================

An Optuna study draws learning rates.  A callback reports the score of each epoch, and ends
candidates that are worse than the others.  It needs the packages optuna and optuna-integration.
The study is in memory.
"""

import matplotlib.pyplot as plt
import optuna
from optuna_integration import SkorchPruningCallback
from sklearn.base import clone

from sktransfer import FineTuneClassifier, load_textures

train = load_textures("train")
valid = load_textures("test", n_per_class=5)
# The head starts from the class priors, so that the candidates differ.
model = FineTuneClassifier(
    image_size=48, head_init="prior", freeze_epochs=0, max_epochs=5, random_state=0
)


def score(trial):
    candidate = clone(model).set_params(
        fine_tune_lr=trial.suggest_float("fine_tune_lr", 1e-5, 1e-1, log=True),
        skorch_callbacks=[SkorchPruningCallback(trial, monitor="valid_score")],
    )
    candidate.fit(train.data, train.labels, X_val=valid.data, y_val=valid.labels)
    return candidate.score(valid.data, valid.labels)


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

figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
for trial in sorted(study.trials, key=lambda trial: trial.params["fine_tune_lr"]):
    rate, state = trial.params["fine_tune_lr"], trial.state.name.lower()
    axis.plot(
        trial.intermediate_values.values(), marker="o", label=f"learning rate {rate:.5f}, {state}"
    )
axis.set(xlabel="epoch", ylabel="accuracy", xticks=range(5))
axis.legend(fontsize=8)
plt.show()

# %%
# ``SkorchPruningCallback`` raises an exception to end a candidate, so ``cross_val_score`` needs
# ``error_score="raise"`` with it.

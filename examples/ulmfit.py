"""
Tune a language model, then classify one layer at a time
========================================================

The three steps of ULMFiT: a language model is pretrained, tuned to the texts of the task, which
needs no labels, and fine-tuned to the labels, one layer at a time.  The texts are first sentences
of SciPy's docstrings: ten of each module have labels, and others of the training half do not.
"""

import matplotlib.pyplot as plt
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sktransfer import FineTuneClassifier, LanguageModelTuner, load_docstrings
from sktransfer.display import TrainingCurvesDisplay

train, test = load_docstrings("train"), load_docstrings("test")
unlabelled = load_docstrings("train", n_per_class=40).data
print(f"{len(train.data)} texts with labels, {len(unlabelled)} for the language model")

# %%
# Step 1: a pretrained language model
# -----------------------------------
#
# ``builtin/lm`` has learned to predict the next token of old books and of definitions.  The
# perplexity is the number of tokens among which it hesitates.  Without an epoch, the tuner only
# measures it.

pretrained = LanguageModelTuner("builtin/lm", max_epochs=0).fit(unlabelled)
print(f"perplexity of the test texts: {pretrained.perplexity(test.data):.0f}")

# %%
# Step 2: tuned to the texts of the task
# --------------------------------------
#
# The learning rate falls by a factor of 2.6 from each layer to the one before it, and follows a
# slanted triangle: a short rise and a long fall.  A part of the texts is held out, to see whether
# the tuning helps with texts that it has not seen.

tuner = LanguageModelTuner("builtin/lm", max_epochs=4, early_stopping=True, random_state=0)
tuner.fit(unlabelled)
tuner.save_weights("tuned.safetensors")
print(f"perplexity of the test texts: {tuner.perplexity(test.data):.0f}")

TrainingCurvesDisplay.from_estimator(tuner)
plt.show()

# %%
# Step 3: a classifier, one layer at a time
# -----------------------------------------
#
# A new head starts on the last token, the maximum and the mean of all tokens
# (``pooling="concat"``).  Then the layers train, from the last one to the first; each epoch
# unfreezes one more.


def classifier(weights):
    return FineTuneClassifier(
        "builtin/lm",
        weights=weights,
        pooling="concat",
        unfreeze="all",
        unfreeze_every=1,
        layer_decay=1 / 2.6,
        fine_tune_lr=0.003,
        lr_schedule="slanted_triangular",
        max_epochs=5,
        random_state=0,
    )


models = {
    "pretrained, then classified": classifier("default"),
    "tuned, then classified": classifier("tuned.safetensors"),
    "words alone": make_pipeline(
        TfidfVectorizer(sublinear_tf=True), LogisticRegression(C=10, max_iter=1000)
    ),
    "builtin/text": FineTuneClassifier("builtin/text", unfreeze=1, random_state=0),
}
for name, model in models.items():
    model.fit(train.data, train.labels)
    print(f"{name:30} {model.score(test.data, test.labels):.3f}")

# %%
# Each layer trained from another epoch on.

print(models["tuned, then classified"].report_.to_frame().to_string(index=False))

# %%
# The perplexity fell a lot, and the accuracy did not rise: which module a sentence is from is in
# its words, and a language model this small learns most about their order.  ``builtin/text``, which
# was trained for features, and words alone are better here.  The same lines take a larger network,
# such as ``transformers/distilgpt2``; see :doc:`/language_models`.
#
# In cross-validation, pass the tuner itself, ``weights=LanguageModelTuner(max_epochs=5)``, instead
# of a file: it is then tuned to the training texts of each fold, so no test text reaches it.

"""
Small data: how many labels are needed?
=======================================

With few labels, the features of a frozen network are hard to beat.  With more labels, fine-tuning
gains.  This page draws the curves for 2 to 10 photos of each class.
"""

import matplotlib.pyplot as plt

from sktransfer import FineTuneClassifier, load_textures

test = load_textures("test")
methods = {
    "linear probe": FineTuneClassifier(unfreeze=0, max_epochs=0, random_state=0),
    "fine-tuned, default": FineTuneClassifier(random_state=0),
    "fine-tuned, all the way": FineTuneClassifier(
        fine_tune_lr=1e-3, max_epochs=20, weight_interpolation=1, random_state=0
    ),
}
counts = [2, 5, 10]
accuracies = {name: [] for name in methods}
for n_per_class in counts:
    train = load_textures("train", n_per_class=n_per_class)
    for name, model in methods.items():
        model.fit(train.data, train.labels)
        accuracies[name].append(model.score(test.data, test.labels))

for name, values in accuracies.items():
    print(f"{name:30}", " ".join(f"{value:.3f}" for value in values))

# %%
# A few photos say little about the whole network, so the default ends half the way between the
# linear probe and the tuned weights.  These test photos show the surfaces of the training photos:
# then more epochs, a higher learning rate and the whole way may be better.

figure, axis = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
for name, values in accuracies.items():
    axis.plot(counts, values, marker="o", label=name)
axis.set(xscale="log", xlabel="photos of each class", ylabel="accuracy", xticks=counts)
axis.set_xticks(counts, labels=[str(count) for count in counts])
axis.minorticks_off()
axis.legend()
plt.show()

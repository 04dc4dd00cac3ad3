"""
Embeddings: find similar photos
===============================

The features of a pretrained network are embeddings: photos that look alike have similar vectors.
No labels are needed to compute them.
"""

# %%
# One vector for each photo
# -------------------------

from sktransfer import PretrainedFeatureExtractor, load_textures

photos = load_textures("train", n_per_class=15)
extractor = PretrainedFeatureExtractor()
embeddings = extractor.fit_transform(photos.data)
print(embeddings.shape, embeddings.dtype)

# %%
# Nearest photos
# --------------
#
# The cosine of the angle between two embeddings measures how similar two photos are.  The first
# photo of each row is the query, and the others are its nearest neighbours.

import matplotlib.pyplot as plt
from sklearn.neighbors import NearestNeighbors

neighbors = NearestNeighbors(n_neighbors=6, metric="cosine").fit(embeddings)
queries = [20, 50, 125]
nearest = neighbors.kneighbors(embeddings[queries], return_distance=False)

figure, axes = plt.subplots(3, 6, figsize=(8, 4.4), layout="constrained")
for axis, index in zip(axes.flat, nearest.flat, strict=True):
    axis.imshow(photos.data[index])
    axis.set_title(photos.labels[index], fontsize=9)
    axis.axis("off")

same = photos.labels[nearest[:, 1:]] == photos.labels[nearest[:, :1]]
print(f"neighbours of the same material: {same.mean():.2f}")

# %%
# A map of the photos
# -------------------
#
# t-SNE places similar embeddings close together.

from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler

scaled = StandardScaler().fit_transform(embeddings)
places = TSNE(perplexity=15, random_state=0).fit_transform(scaled)

figure, axis = plt.subplots(figsize=(6, 4.5), layout="constrained")
for number, name in enumerate(photos.target_names):
    axis.scatter(*places[photos.target == number].T, s=18, label=name, color=f"C{number}")
axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
axis.set(xticks=[], yticks=[])
plt.show()

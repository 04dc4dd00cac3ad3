"""Claim: points of faces are found with a frozen stage, and better after fine-tuning.

    python benchmarks/keypoints.py [--quick] [--data DIR] [--weights FILE]

MobileNetV2 up to ``layer2``, 96 pixels, all positions kept.  400 faces for training and 200 faces
of other people for testing.  The error is the mean distance of a point, divided by the mean
distance of the eyes.  With --quick, drawn faces take the place of photos, and no bar is compared.
"""

import json
import sys
import tempfile
from time import process_time

import numpy as np
from _common import QUICK, at_most, photo_options
from _faces import divide, read_faces
from PIL import Image

from sktransfer import FineTuneRegressor, get_backbone

N_TRAIN, N_TEST, N_EPOCHS = (24, 12, 1) if QUICK else (400, 200, 6)
SIZE, STAGE = (32, "layer1") if QUICK else (96, "layer2")
ERROR_BAR = 0.235

# The points of the usual 68 that a horizontal flip exchanges
PAIRS_68 = [
    *((at, 16 - at) for at in range(8)),  # the jaw
    *((17 + at, 26 - at) for at in range(5)),  # the brows
    *((31, 35), (32, 34)),  # the nose
    *((36, 45), (37, 44), (38, 43), (39, 42), (40, 47), (41, 46)),  # the eyes
    *((48, 54), (49, 53), (50, 52), (59, 55), (58, 56), (60, 64), (61, 63), (67, 65)),  # the mouth
]


def draw_faces(n, seed):
    """Discs with two eyes and a mouth, their three points, and the person of each."""
    rng = np.random.default_rng(seed)
    faces, points = [], []
    down, right = np.mgrid[:64, :64]
    for _ in range(n):
        x, y, size = *rng.integers(24, 40, 2), rng.integers(14, 20)
        face = np.full((64, 64, 3), 90, np.uint8)
        face[np.hypot(right - x, down - y) < size] = (230, 190, 160)
        places = [(x - size // 2, y - 4), (x + size // 2, y - 4), (x, y + size // 2)]
        for at, (px, py) in enumerate(places):
            face[py - 2 : py + 3, px - 2 : px + 3] = (30, 30, 200) if at < 2 else (200, 30, 30)
        faces.append(face)
        points.append(places)
    return faces, np.array(points, float), np.arange(n)


def eye_distance(points):
    left, right = ((0, 1), (1, 2)) if points.shape[1] == 3 else ((36, 42), (42, 48))
    centres = [points[:, slice(*eye)].mean(1) for eye in (left, right)]
    return np.linalg.norm(centres[0] - centres[1], axis=1)


def error(found, true):
    distance = np.linalg.norm(found - true, axis=2)
    return float(distance.mean() / eye_distance(true).mean())


def sizes_of(faces):
    return np.array(
        [f.shape[1::-1] if isinstance(f, np.ndarray) else Image.open(f).size for f in faces]
    )


def mean_shape(faces, points, train, test):
    """The error of the mean positions, as shares of the sides of a photo."""
    sides = sizes_of(faces)[:, None]
    shape = (points / sides)[train].mean(0)
    return error(shape * sides[test], points[test])


def measure(backbone, faces, points, train, test, **how):
    """The error of a fit on the test faces, and its processor time."""
    start = process_time()
    model = FineTuneRegressor(
        backbone,
        points=True,
        pooling="flatten",
        image_size=SIZE,
        random_state=0,
        verbose=0,
        **how,
    ).fit([faces[at] for at in train], points[train])
    found = model.predict([faces[at] for at in test])
    return error(found, points[test]), process_time() - start


parser = photo_options()
parser.add_argument("--only", action="append", help="a way to measure, such as 'frozen'")
given = parser.parse_args()
archive = given.data / "facial_keypoints.zip"
with tempfile.TemporaryDirectory() as name:
    if QUICK or not archive.exists():
        faces, points, people = draw_faces(N_TRAIN + N_TEST, 0)
        pairs = [(0, 1)]
    else:
        faces, points, people = read_faces(archive, name)
        pairs = PAIRS_68

    def backbone():
        network = "builtin/mini" if QUICK else "torchvision/mobilenet_v2"
        chain = get_backbone(network, "default" if QUICK else str(given.weights))
        return chain.truncate(chain.names.index(STAGE) + 1)

    train, test = divide(people, N_TRAIN, N_TEST)
    about = {"faces": len(train), "test faces": len(test), "mean shape": None}
    about["mean shape"] = mean_shape(faces, points, train, test)
    ways = {
        "frozen": {"max_epochs": 0},
        "tuned": {"max_epochs": N_EPOCHS, "unfreeze": "all"},
        "tuned, light": {"max_epochs": N_EPOCHS, "unfreeze": "all", "augment": "light"},
        "tuned, light, flips": {
            "max_epochs": N_EPOCHS,
            "unfreeze": "all",
            "augment": "light",
            "flip_pairs": pairs,
        },
    }
    found = {}
    for way, how in ways.items():
        if not given.only or way in given.only:
            found[way] = measure(backbone, faces, points, train, test, **how)
            print(f"{way}: error {found[way][0]:.4f}, {found[way][1]:.0f} s", file=sys.stderr)

about["seconds"] = {way: round(seconds) for way, (_, seconds) in found.items()}
about["errors"] = {way: round(value, 4) for way, (value, _) in found.items()}
rows = []
if not QUICK and len(found) == len(ways):
    frozen, tuned, light, flips = (value for value, _ in found.values())
    rows = [
        at_most("error of a frozen stage", frozen, ERROR_BAR),
        at_most("fine-tuned error over that of the frozen stage", tuned / frozen, 1),
        at_most("error with augmentation over that without", min(light, flips) / tuned, 1),
    ]
print(json.dumps({"rows": rows, "task": about}, indent=2))
assert all(row["holds"] for row in rows), "each part of the claim must hold"

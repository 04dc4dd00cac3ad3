"""Read and change the files of saved models."""

import json

from safetensors import safe_open
from safetensors.torch import save as to_bytes

from sktransfer.persistence import file_format


def parts(path):
    """Return the description of a model, as a dict, and its tensors."""
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - no dict
        return json.loads(file.metadata()["sktransfer"]), tensors


def write(path, description, tensors):
    """Write a file whose text has the right digest."""
    text = description if isinstance(description, str) else json.dumps(description)
    path.write_bytes(
        to_bytes(tensors, {"sktransfer": text, "digest": file_format._digest_of_text(text)})
    )

"""Random weights in the cache of torchvision, under a name that contains their hash."""

from hashlib import sha256

import torch
from torchvision.models import SqueezeNet1_1_Weights


def keep_squeezenet(monkeypatch, folder, net, host="https://a.b"):
    """Save a network as the default weights of torchvision/squeezenet1_1; return the file."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder))
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    path = folder / "checkpoints" / "net.pth"
    torch.save(net.state_dict(), path)
    name = f"net-{sha256(path.read_bytes()).hexdigest()[:8]}.pth"
    monkeypatch.setattr(SqueezeNet1_1_Weights, "url", f"{host}/{name}")
    return path.rename(path.with_name(name))


def flip_a_bit(path, position=-1000):
    """Change one bit in the tensors of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)

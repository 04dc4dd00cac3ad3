"""``sktransfer fetch transformers/OWNER/NAME`` brings the folder of a network from the hub."""

import pytest
from helpers.hub_server import COMMIT, serving_hub
from helpers.text_folders import (
    classifier_of,
    config_of,
    write_folder,
    write_json,
    write_sentence_folder,
)

from sktransfer import get_backbone
from sktransfer.backbones import fetch

constants = pytest.importorskip("huggingface_hub.constants", reason="needs the extra 'text'")

OTHERS = ("pytorch_model.bin", "modeling_evil.py", "onnx/model.onnx")


def contents(folder):
    """The files of a folder by name, with others that nobody needs."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    return files | dict.fromkeys(OTHERS, b"open('owned', 'w')")


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SKTRANSFER_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serving_hub({}) as server:
        use(server.url, monkeypatch)
        yield server


def use(url, monkeypatch):
    """Make the package take another hub."""
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def offer(server, folder, name="maker/tiny"):
    server.repositories[name] = contents(folder)
    return f"transformers/{name}"


def test_a_fetched_folder_gives_the_same_network(server, tmp_path, monkeypatch):
    original = write_sentence_folder(tmp_path / "original")
    (original / "README.md").write_text("---\nlicense: mit\n---\n")
    path = fetch(offer(server, original), tmp_path / "models")
    assert path == tmp_path / "models" / "maker" / "tiny"
    expected = get_backbone(f"transformers/{original}")
    monkeypatch.setenv("SKTRANSFER_MODELS", str(tmp_path / "models"))
    found = get_backbone("transformers/maker/tiny")
    assert found.fingerprint() == expected.fingerprint()
    assert found.weights_info == expected.weights_info | {"source": "tiny"}
    assert found.weights_info["licence"] == "mit"


def test_only_known_files_are_downloaded_and_only_once(server, tmp_path):
    path = fetch(offer(server, write_sentence_folder(tmp_path / "a")), tmp_path / "to")
    assert not {name for _, _, name in server.asked} & set(OTHERS)
    written = {file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()}
    assert written == {
        "1_Pooling/config.json",
        "config.json",
        "model.safetensors",
        "modules.json",
        "sentence_bert_config.json",
        "tokenizer.json",
    }
    assert [entry.name for entry in (tmp_path / "to").iterdir()] == ["maker"]


def test_all_files_are_those_of_one_commit(server, tmp_path):
    fetch(offer(server, write_folder(tmp_path / "a")), tmp_path / "to")
    revisions = [revision for _, revision, name in server.asked if name == "model.safetensors"]
    assert set(revisions) == {COMMIT}


def test_shards_are_downloaded(server, tmp_path):
    folder = write_folder(tmp_path / "a")
    shard = "model-00001-of-00001.safetensors"
    (folder / "model.safetensors").rename(folder / shard)
    write_json(folder / "model.safetensors.index.json", {"weight_map": {"a": shard}})
    path = fetch(offer(server, folder), tmp_path / "to")
    expected = get_backbone(f"transformers/{folder}").fingerprint()
    assert get_backbone(f"transformers/{path}").fingerprint() == expected


def test_a_network_that_cannot_be_used_is_refused_before_its_weights_are_downloaded(
    server, tmp_path
):
    folder = write_folder(tmp_path / "a")
    write_json(folder / "config.json", config_of("bert", model_type="albert"))
    with pytest.raises(ValueError, match="transformers/maker/tiny must be of one of the types"):
        fetch(offer(server, folder), tmp_path / "to")
    assert "model.safetensors" not in {name for _, _, name in server.asked}
    assert not list((tmp_path / "to" / "maker").iterdir())


def test_a_network_with_pickles_alone_is_refused(server, tmp_path):
    folder = write_folder(tmp_path / "a", classifier_of("bert"))
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"maker/tiny must contain model.safetensors"):
        fetch(offer(server, folder), tmp_path / "to")
    assert not list((tmp_path / "to" / "maker").iterdir())


def test_shards_outside_the_folder_are_not_downloaded(server, tmp_path):
    folder = write_folder(tmp_path / "a")
    (folder / "model.safetensors").unlink()
    index = {"weight_map": {"a": "../../evil.safetensors"}}
    write_json(folder / "model.safetensors.index.json", index)
    with pytest.raises(ValueError, match="must be in its folder; it names"):
        fetch(offer(server, folder), tmp_path / "to")


def test_an_unknown_repository_is_an_error(server, tmp_path):
    with pytest.raises(ValueError, match="transformers/maker/none must have the name of a repo"):
        fetch("transformers/maker/none", tmp_path / "to")


@pytest.mark.parametrize("name", ["../tiny", "a/b/c", "/tmp/tiny", "~/tiny", "a//b", "a/.."])
def test_a_name_that_is_a_path_is_refused(server, tmp_path, name):
    with pytest.raises(ValueError, match="must be 'transformers/OWNER/NAME'"):
        fetch(f"transformers/{name}", tmp_path / "to")
    assert not server.asked


def test_a_folder_that_exists_is_not_replaced(server, tmp_path):
    address = offer(server, write_folder(tmp_path / "a"))
    fetch(address, tmp_path / "to")
    with pytest.raises(FileExistsError, match=r"must not exist yet; .* does. Remove it"):
        fetch(address, tmp_path / "to")


def test_weights_of_a_folder_must_be_its_own(server, tmp_path):
    with pytest.raises(ValueError, match="weights must be 'default' for 'transformers/maker/tiny'"):
        fetch("transformers/maker/tiny", tmp_path / "to", "other")


def test_forbidden_downloads_are_an_error_with_the_way_out(server, tmp_path, monkeypatch):
    monkeypatch.setenv("SKTRANSFER_OFFLINE", "1")
    with pytest.raises(ConnectionError, match=r"downloads are forbidden .* copy the folder"):
        fetch("transformers/maker/tiny", tmp_path / "to")
    assert not server.asked


def test_a_hub_that_cannot_be_reached_is_an_error_with_the_way_out(server, tmp_path, monkeypatch):
    use("http://127.0.0.1:9", monkeypatch)
    with pytest.raises(ConnectionError, match=r"maker/tiny could not be downloaded: .* Run this"):
        fetch("transformers/maker/tiny", tmp_path / "to")

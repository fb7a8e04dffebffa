"""The command `quantize`: its output, and the models that it does not overwrite."""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from worker.commands import check
from worker.commands.training.quantize import build_table, quantize
from worker.errors import BadModel
from worker.model.encoder import quantization as calibration
from worker.model.encoder.quantization import Difference

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FOUND = Difference(
    num_texts=50, min_cosine=0.99123, p01_cosine=0.9961, mean_cosine=0.9987, label_agreement=0.9917, entity_f1=0.9662
)


@pytest.fixture
def calibrated(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str], str, bool]]:
    """Replace the calibration, and return the list of its calls."""
    calls = []

    def stand_in(reference: str, texts: Sequence[str], output: Path, *, is_forced: bool) -> Difference:
        calls.append((reference, list(texts), output.name, is_forced))
        return FOUND

    monkeypatch.setattr(calibration, "quantize", stand_in)
    return calls


def test_a_file_of_texts_is_calibrated_on_and_the_report_is_printed(
    tmp_path: Path, calibrated: list[tuple[str, list[str], str, bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    """Each line is a text; the last line of the output shows how to serve the model."""
    (tmp_path / "texts.txt").write_bytes("Café\n\nok\r\nok\n".encode())
    (tmp_path / "new").mkdir()
    quantize(tmp_path / "new", model="m", texts=tmp_path / "texts.txt", count=9, cache=tmp_path)
    assert calibrated == [("m", ["Café", "ok"], "new", False)]
    shown = capsys.readouterr().out
    assert "0.9912" in shown
    assert shown.splitlines()[-1].endswith("GIST_DTYPE=int8")


def test_an_existing_checkpoint_stays_unless_forced(
    tmp_path: Path, calibrated: list[tuple[str, list[str], str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrong path must not overwrite the heads of a model."""
    monkeypatch.setattr("worker.training.data.corpora.rated_sentences", lambda _cache: [])
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(BadModel, match="something already; --force"):
        quantize(tmp_path, model="m", count=9, cache=tmp_path)
    assert not calibrated
    quantize(tmp_path, model="m", count=9, cache=tmp_path, force=True)
    assert calibrated == [("m", [], tmp_path.name, True)]


def test_the_report_is_small() -> None:
    """The report has each figure of the comparison."""
    console = Console(width=100)
    with console.capture() as capture:
        console.print(build_table(FOUND))
    shown = capture.get()
    for number in ("50", "0.9912", "0.9961", "0.9987", "99.2%", "0.966"):
        assert number in shown


@pytest.mark.parametrize(("arithmetic", "is_said"), [("int8", True), ("float32", False)])
def test_the_check_of_a_model_says_what_8_bits_cost(arithmetic: str, is_said: bool) -> None:  # noqa: FBT001  a parameter
    """`check` shows the difference for the int8 backend only."""
    described = f"cpu {arithmetic} compiled (amx)"
    engine: Any = SimpleNamespace(name="m@1", description=described, tasks={"embed"}, because="as asked", difference=asdict(FOUND))
    assert check._describe_engine(engine).startswith(f"m@1 on {described}: embed; as asked")
    assert ("cosine to fp32 at the calibration: min 0.9912, mean 0.9987" in check._describe_engine(engine)) == is_said

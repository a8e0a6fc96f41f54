"""What a dataset module has to offer, and how its options are checked and described."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from layouts import LAYOUTS

from t2vdata import datasets
from t2vdata.build.run import BuildSpec
from t2vdata.errors import RequestError, UnknownNameError

OWN = """
from dataclasses import dataclass
from t2vdata.datasets import Dataset

@dataclass(frozen=True)
class DropsOptions:
    n: int = 1

class Drops(Dataset):
    '''Drops of rain.'''
    VERSION, SPLITS, LICENCE, CITATION = 1, ("train",), "CC0", "none"
    Options = DropsOptions

    def clips(self, split):
        return []

    def render(self, clip):
        raise NotImplementedError

DATASET = Drops
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path, for modules of the test's own."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_mnist_motion_comes_with_the_package() -> None:
    assert "mnist-motion" in datasets.names()
    assert not any(name.startswith(("_", "-")) for name in datasets.names())


def test_every_dataset_that_is_named_can_be_loaded_and_described() -> None:
    for name in datasets.names():
        dataset = datasets.load(name)
        assert issubclass(dataset, datasets.Dataset)
        assert dataset.description()
        fields = set(vars(datasets.make_options(name, {})))
        assert set(datasets.option_help(dataset)) == fields


def test_an_unknown_dataset_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="no dataset 'mnist-moton'; did you mean 'mnist-motion'"):
        datasets.load("mnist-moton")


def test_private_modules_are_no_datasets() -> None:
    with pytest.raises(UnknownNameError, match="no dataset '_mnist'"):
        datasets.load("_mnist")


def test_a_dotted_path_names_your_own_module(own: Path) -> None:
    (own / "ours_a").mkdir()
    (own / "ours_a" / "drops.py").write_text(OWN)
    assert datasets.load("ours_a.drops").SPLITS == ("train",)
    assert datasets.short_name("ours_a.drops_of_rain") == "drops-of-rain"


def test_what_a_dataset_does_not_define_is_none_or_empty(own: Path) -> None:
    (own / "ours_b").mkdir()
    (own / "ours_b" / "drops.py").write_text(OWN)
    dataset = datasets.open("ours_b.drops", options={"n": 2}, seed=3)
    assert (dataset.root, dataset.options.n, dataset.seed) == (None, 2, 3)
    assert (dataset.clip_filters(), dataset.frame_filters(), dataset.archives()) == ((), (), ())
    assert (dataset.missing(), dataset.frame_size(), dataset.source()) == (None, None, {})
    assert (dataset.ENCODING, dataset.PACKAGED, dataset.description()) == ("lossless", (), "Drops of rain.")


def test_an_open_dataset_is_pickled_as_its_request(tmp_path: Path) -> None:
    dataset = datasets.open("moments", str(LAYOUTS["moments"](tmp_path).root))
    before = pickle.dumps(dataset)
    assert len(dataset.clips("train")) == 2
    assert pickle.dumps(dataset) == before
    assert list(pickle.loads(before).clips("train")) == list(dataset.clips("train"))


def test_each_open_dataset_has_its_own_listing(tmp_path: Path) -> None:
    root = LAYOUTS["kinetics"](tmp_path).root
    first = datasets.open("kinetics", str(root))
    names = [clip.key for clip in first.clips("train")]
    (tmp_path / "annotations" / "train.csv").write_text(
        "label,youtube_id,time_start,time_end,split\nx,newnewnewne,1,11,train\n"
    )
    assert [clip.key for clip in first.clips("train")] == names
    assert [clip.key for clip in datasets.open("kinetics", str(root)).clips("train")] == ["newnewnewne_000001_000011"]


@pytest.mark.parametrize("name", ["nowhere_at_all.drops", "t2vdata.nowhere"])
def test_a_missing_module_is_reported_with_the_path(name: str) -> None:
    with pytest.raises(RequestError, match=f"no module '{name}'; add the folder that holds it to PYTHONPATH"):
        datasets.load(name)


def test_an_incomplete_dataset_is_refused_with_what_it_lacks(own: Path) -> None:
    (own / "ours_c").mkdir()
    (own / "ours_c" / "half.py").write_text(
        "from t2vdata.datasets import Dataset\nclass Half(Dataset):\n    VERSION = 1\n    SPLITS = ('train',)\nDATASET = Half\n"
    )
    with pytest.raises(
        RequestError, match=r"ours_c\.half is not a dataset: Half has no LICENCE, CITATION, Options, clips, render; see docs/"
    ):
        datasets.load("ours_c.half")


def test_a_module_without_a_dataset_is_refused() -> None:
    with pytest.raises(RequestError, match=r"json\.decoder is not a dataset: it has no DATASET"):
        datasets.load("json.decoder")


def test_a_missing_import_inside_a_module_is_not_taken_for_a_missing_module(own: Path) -> None:
    (own / "ours_d").mkdir()
    (own / "ours_d" / "needy.py").write_text("import something_not_installed\n")
    with pytest.raises(ModuleNotFoundError, match="something_not_installed"):
        datasets.load("ours_d.needy")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"n": "many"}, "--n: expected int, got 'many'"),
        ({"n": 2.0}, r"--n: expected int, got 2\.0"),
        ({"n": True}, "--n: expected int, got True"),
        ({"n": None}, "--n: expected int, got None"),
        ({"val": "x"}, "--val: expected int or nothing, got 'x'"),
        ({"fps": "30"}, "--fps: expected float, got '30'"),
        ({"fps": False}, "--fps: expected float, got False"),
        ({"mnist": "/data"}, "--mnist: expected Path or nothing, got '/data'"),
        ({"digit_size": [28]}, r"--digit-size: expected int, got \[28\]"),
        ({"digits": 3}, "--digits: expected one of 1, 2, got 3"),
        ({"digits": "2"}, "--digits: expected one of 1, 2, got '2'"),
        ({"conjunction": "or"}, "--conjunction: expected one of and, to, both, got 'or'"),
        ({"diversity": "middle"}, "--diversity: expected one of low, high, got 'middle'"),
        ({"subpixel": 3}, "--subpixel: expected one of 1, 2, 4, 8, 16, got 3"),
    ],
    ids=str,
)
def test_the_error_for_a_wrong_type_names_the_expected_type(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        datasets.make_options("mnist-motion", values)


@pytest.mark.parametrize("values", [{"digits": True}, {"digits": 2.0}, {"subpixel": True}], ids=str)
def test_what_only_equals_a_choice_is_refused_too(values: dict[str, Any]) -> None:
    (name,) = values
    with pytest.raises(RequestError, match=f"--{name}: expected one of"):
        datasets.make_options("mnist-motion", values)


def test_an_unknown_option_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="no option of mnist-motion 'digit_sise'; did you mean 'digit_size'"):
        datasets.make_options("mnist-motion", {"digit_sise": 28})


def test_options_are_checked_together() -> None:
    with pytest.raises(RequestError, match="--holdout 31"):
        datasets.make_options("mnist-motion", {"holdout": 31})


def test_option_values_leave_out_paths_and_are_json() -> None:
    values = datasets.option_values(datasets.make_options("mnist-motion", {"n": 7, "mnist": Path("/somewhere")}))
    assert "mnist" not in values
    assert values["n"] == 7
    assert json.loads(json.dumps(values)) == values


def test_an_added_option_is_in_the_spec_only_if_it_is_set() -> None:
    assert "deinterlace" not in datasets.option_values(datasets.make_options("table", {}))
    assert "deinterlace" not in datasets.option_values(datasets.make_options("table", {"deinterlace": False}))
    assert datasets.option_values(datasets.make_options("table", {"deinterlace": True}))["deinterlace"] is True


def test_a_whole_number_for_a_float_is_the_same_build() -> None:
    integer, floating = (BuildSpec("mnist-motion", {"fps": fps}) for fps in (30, 30.0))
    assert integer == floating
    assert json.dumps(integer.as_json()) == json.dumps(floating.as_json())


def test_help_is_the_text_under_each_option() -> None:
    texts = datasets.option_help(datasets.load("mnist-motion"))
    assert texts["n"] == "Training clips."
    assert texts["frames"] == "Frames in a clip."
    assert texts["diversity"].startswith("`low`: ten images of each digit")

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from basis_pipeline.domain.errors import ConfigError
from basis_pipeline.orchestration.instance import (
    dagster_home,
    instance_config,
    prepare_instance,
    prepare_workspace,
    workspace_config,
)

ROOT = Path(__file__).resolve().parents[2]


def test_the_projects_own_file_is_what_is_generated_for_the_default_home() -> None:
    assert yaml.safe_load((ROOT / "dagster.yaml").read_text()) == instance_config("data/dagster")


def test_a_home_and_the_project_load_the_same_code_location() -> None:
    own = yaml.safe_load((ROOT / "workspace.yaml").read_text())
    assert own["load_from"][0]["python_module"].pop("working_directory") == "."
    assert own == workspace_config()


def test_every_folder_of_an_instance_lies_in_its_home(tmp_path: Path) -> None:
    directory = prepare_instance(tmp_path / "home")
    assert directory == tmp_path / "home" / "dagster"
    config = yaml.safe_load((directory / "dagster.yaml").read_text())
    folders = [
        config["storage"]["sqlite"]["base_dir"],
        config["compute_logs"]["config"]["base_dir"],
        config["local_artifact_storage"]["config"]["base_dir"],
    ]
    assert all(Path(folder).is_relative_to(directory) for folder in folders)


def test_a_moved_home_gets_a_new_configuration_and_an_unmoved_one_keeps_its_file(tmp_path: Path) -> None:
    before = prepare_instance(tmp_path / "before") / "dagster.yaml"
    written = before.stat().st_ino
    prepare_instance(tmp_path / "before")
    assert before.stat().st_ino == written
    (tmp_path / "before").rename(tmp_path / "after")
    after = prepare_instance(tmp_path / "after") / "dagster.yaml"
    assert str(tmp_path / "before") not in after.read_text()
    assert sorted(path.name for path in after.parent.iterdir()) == ["dagster.yaml"]


def test_an_instance_that_cannot_be_written_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "dagster").write_text("in the way")
    with pytest.raises(ConfigError, match=r"cannot write .*dagster.yaml"):
        prepare_instance(tmp_path)


def test_dagster_home_is_set_only_while_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    with dagster_home(tmp_path) as directory:
        assert os.environ["DAGSTER_HOME"] == str(directory)
    assert "DAGSTER_HOME" not in os.environ


def test_a_workspace_is_written_beside_the_instance(tmp_path: Path) -> None:
    assert yaml.safe_load(prepare_workspace(tmp_path).read_text()) == workspace_config()

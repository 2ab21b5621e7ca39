"""Starter checkpoints: every stage is a command that is understood, names agree, and the path runs at its smallest."""

from pathlib import Path

import pytest

from selip import cli, starter
from selip.arguments import parse_config
from selip.model_cards.publishing.config import PublishConfig
from selip.stages import Stage
from selip.training.missing import RESULT_NAME

CONFIG = starter.StarterConfig(Path("starters"), owner="my-group", steps=2)


def every_stage(config: starter.StarterConfig) -> list[Stage]:
    return [
        stage
        for make in (starter.tiny_stages, starter.small_stages, starter.structurer_stages)
        for stage in make(config)
    ]


@pytest.mark.parametrize("config", [CONFIG, starter.StarterConfig(Path("starters"))], ids=["short", "whole"])
def test_each_stage_is_a_command_that_is_understood(config: starter.StarterConfig) -> None:
    """The words of every stage make a configuration, and each can be made to run anew."""
    for stage in every_stage(config):
        command = cli.find_command(stage.words)
        words = stage.words[len(command.words) :]
        parsed = parse_config(cli.load(command.config), words, prog="selip", config_first=command.config_first)
        assert hasattr(parsed, "overwrite"), stage.name


def test_what_is_staged_is_what_was_made(tmp_path: Path) -> None:
    """Each folder is published once, after its card, under the name of its card, and pushed by the same words."""
    stages = every_stage(CONFIG)
    published = [stage for stage in stages if stage.words[0] == "publish"]
    assert len(published) == 4
    for stage in published:
        config = parse_config(PublishConfig, stage.words[1:], prog="selip publish")
        card = stages[stages.index(stage) - 1].words
        assert card[:2] == ("card", str(config.folder))
        assert card[card.index("--name") + 1] == config.repo
        assert config.dry_run
        assert config.out == Path("starters/published") / config.repo.rpartition("/")[2]
        pushed = parse_config(PublishConfig, starter._push_line(stage.words).split()[2:], prog="selip publish")
        assert not pushed.dry_run
        assert (pushed.folder, pushed.repo, pushed.out) == (config.folder, config.repo, config.out)


def test_cards_of_models_show_what_missing_sequences_cost() -> None:
    """Of whole studies where enough are judged; the file named is the one that is written."""
    for make in (starter.tiny_stages, starter.small_stages):
        stages = make(starter.StarterConfig(Path("starters")))
        [missing] = [stage for stage in stages if stage.words[0] == "missing"]
        assert missing.output == Path(missing.words[3]) / RESULT_NAME
        [card] = [stage.words for stage in stages if stage.words[0] == "card"]
        assert card[1] == missing.words[1]
        assert str(missing.output) in cli_option(card, "--results").split(",")
        [publish] = [stage.words for stage in stages if stage.words[0] == "publish"]
        assert cli_option(card, "--studies") == cli_option(publish, "--studies") == missing.words[2]
        few = make(starter.StarterConfig(Path("starters"), studies=60, tiny_studies=60))
        assert all(stage.words[0] != "missing" for stage in few)


def test_base_and_adapter_are_judged_on_the_same_reports_and_say_so_on_their_cards() -> None:
    """Both have a result on the held-out writer, the adapter on its base."""
    words = [stage.words for stage in starter.structurer_stages(CONFIG)]
    judged = {each[1]: each for each in words if each[0] == "evaluate"}
    cards = [each for each in words if each[0] == "card"]
    assert [card[1] for card in cards] == list(judged)
    for card in cards:
        evaluate = judged[card[1]]
        assert evaluate[2] == cli_option(words[0], 1)
        assert cli_option(card, "--results") == cli_option(evaluate, "--out")
    base, adapter = judged
    assert cli_option(judged[adapter], "--base") == base


def cli_option(words, flag) -> str:
    """The value of an option, or the word at a place."""
    return words[flag] if isinstance(flag, int) else words[words.index(flag) + 1]


def test_wrong_settings_are_refused() -> None:
    """Nothing to make, and too few studies for three splits."""
    with pytest.raises(ValueError, match="expected some of tiny, small, structurer"):
        starter.StarterConfig(Path("x"), only=())
    with pytest.raises(ValueError, match="at least 60 studies"):
        starter.StarterConfig(Path("x"), studies=10)


def test_smallest_structurer_is_ready_to_push_and_not_made_twice(tmp_path: Path) -> None:
    """Two steps of training: two folders with cards and results; a second run skips all stages."""
    config = starter.StarterConfig(tmp_path / "starters", only=("structurer",), steps=2)
    first = starter.make_starters(config)
    published = tmp_path / "starters" / "published"
    assert {path.name for path in published.iterdir() if path.is_dir()} == {
        "selip-structurer-tiny",
        "selip-structurer-tiny-lora",
    }
    for folder in ("selip-structurer-tiny", "selip-structurer-tiny-lora"):
        assert "finding F1" in (published / folder / "README.md").read_text()
    again = starter.make_starters(config)
    assert again.minutes == first.minutes

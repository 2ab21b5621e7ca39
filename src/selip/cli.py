"""The `selip` command: one subcommand per stage, each importing its part when it is called."""

import dataclasses
import importlib
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from selip import __version__
from selip.arguments import parse_config
from selip.training.configuration import nearest


@dataclass(frozen=True)
class Command:
    """A subcommand.

    Attributes:
        words: What is typed after `selip`.
        summary: One line of what it does.
        config: `module:class` of its arguments.
        run: `module:function` that takes them.
        example: A command that works.
        config_first: The first argument is a YAML file.
        option: An option and its value, by which this subcommand is told from another one of the same words.
    """

    words: tuple[str, ...]
    summary: str
    config: str
    run: str
    example: str
    config_first: bool = False
    option: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What is typed after `selip` to get this subcommand."""
        return " ".join((*self.words, *self.option))


COMMANDS = (
    Command(
        ("demo",),
        "run every stage below on simulated studies and write one HTML page",
        "selip.demo:DemoConfig",
        "selip.demo:run_demo",
        "selip demo demo",
    ),
    Command(
        ("simulate",),
        "write simulated head MRI studies with reports and their truth, in BIDS layout",
        "selip.processing.sources.simulated.config:SimulationConfig",
        "selip.processing.sources.simulated.writer:simulate_studies",
        "selip simulate data/bids --studies 600 --seed 0 --preview",
    ),
    Command(
        ("convert-dicom",),
        "convert DICOM studies from an archive to a BIDS folder with pseudonyms, their reports beside them",
        "selip.processing.sources.dicom.config:DicomConfig",
        "selip.processing.sources.dicom.convert:convert_dicom",
        "selip convert-dicom data/dicom data/bids --reports data/reports.csv",
    ),
    Command(
        ("ingest", "bids"),
        "read a BIDS folder into a studies table (files are referred to, never copied)",
        "selip.processing.sources.config:IngestConfig",
        "selip.processing.sources.bids:ingest_bids",
        "selip ingest bids data/bids data/studies",
    ),
    Command(
        ("export-parquet",),
        "write a studies table as Parquet with embedded NIfTI, for the Hub",
        "selip.processing.sources.config:ExportConfig",
        "selip.processing.sources.parquet:export_parquet",
        "selip export-parquet data/studies data/parquet",
    ),
    Command(
        ("structure",),
        "turn the free-text reports into structured findings",
        "selip.processing.sources.config:StructureConfig",
        "selip.structure:structure",
        "selip structure data/studies data/findings.parquet",
    ),
    Command(
        ("pseudo-reports",),
        "write simulated reports with their findings, to tune a structurer on or to judge one",
        "selip.training.structuring.config:PseudoReportsConfig",
        "selip.training.structuring.report_files:write_pseudo_reports",
        "selip pseudo-reports pseudo.jsonl --reports 4000 --language mixed",
    ),
    Command(
        ("tune-structurer",),
        "tune a language model to read findings out of reports (LoRA, QLoRA, full, from scratch)",
        "selip.training.structuring.config:TuneConfig",
        "selip.tune:tune",
        "selip tune-structurer CONFIG.yaml --output runs/structurer --data.group-data corrected.jsonl",
        config_first=True,
    ),
    Command(
        ("similar",),
        "show which texts the soft targets of training call similar, on one HTML page",
        "selip.training.similarity_config:SimilarConfig",
        "selip.similar:show_similar",
        "selip similar data/findings.parquet similar.html --sequence FLAIR",
    ),
    Command(
        ("prepare",),
        "put every series on the model's grid, once, into a memory-mapped volumes table",
        "selip.training.volumes_config:PrepareConfig",
        "selip.training.volumes:prepare_volumes",
        "selip prepare data/studies data/volumes --size tiny",
    ),
    Command(
        ("pretrain",),
        "pretrain the volume and text encoders together",
        "selip.training.config:PretrainConfig",
        "selip.training.pretrain:pretrain",
        "selip pretrain CONFIG.yaml --output runs/tiny --optimization.steps 100",
        config_first=True,
    ),
    Command(
        ("finetune",),
        "train a head for labels of studies or masks of lesions on a pretrained checkpoint",
        "selip.training.finetuning.config:FinetuneConfig",
        "selip.training.finetuning.run:finetune",
        "selip finetune CONFIG.yaml --output runs/labels --model.checkpoint runs/tiny/best --data.label-share 0.1",
        config_first=True,
    ),
    Command(
        ("evaluate",),
        "evaluate a checkpoint and write a result file with intervals",
        "selip.training.evaluation.config:EvaluateConfig",
        "selip.report:evaluate_with_page",
        "selip evaluate runs/tiny/best data/studies --volumes data/volumes --html retrieval.html",
    ),
    Command(
        ("evaluate",),
        "judge a structurer on reports whose findings are known",
        "selip.training.evaluation.structuring_config:StructuringEvaluateConfig",
        "selip.judge:judge_structurer",
        "selip evaluate rules gold.jsonl --task structuring --html gold.html",
        option=("--task", "structuring"),
    ),
    Command(
        ("missing",),
        "evaluate with each sequence alone, and with each one missing",
        "selip.training.evaluation.config:MissingConfig",
        "selip.report:missing_with_page",
        "selip missing runs/tiny/best data/studies missing --task probe --volumes data/volumes",
    ),
    Command(
        ("report",),
        "write results of a checkpoint as one page to read, with plots and the worst cases first",
        "selip.model_cards.pages.report_config:ReportConfig",
        "selip.report:write_report",
        "selip report retrieval.json,probe.json evaluation.html",
    ),
    Command(
        ("compare",),
        "compare two evaluations on the same studies: differences with intervals",
        "selip.training.evaluation.comparison_config:CompareConfig",
        "selip.compare:compare_results",
        "selip compare selip-retrieval.json clip-retrieval.json --out comparison.json",
    ),
    Command(
        ("embed",),
        "embed a file, a study or all studies of a table into one Parquet file",
        "selip.training.search.config:EmbedConfig",
        "selip.training.search.embed:embed",
        "selip embed runs/tiny/best data/studies embeddings.parquet --volumes data/volumes",
    ),
    Command(
        ("index",),
        "make embeddings searchable, with findings for filters and files for pictures",
        "selip.training.search.config:IndexConfig",
        "selip.training.search.index:index_embeddings",
        "selip index embeddings.parquet index --studies data/studies --findings data/findings.parquet",
    ),
    Command(
        ("search",),
        "find studies or series by a text, a study, a series or a file, filtered by findings",
        "selip.training.search.config:SearchConfig",
        "selip.search:search_index",
        "selip search index --text 'left thalamus shows hemorrhage' --finding hemorrhage --html search.html",
    ),
    Command(
        ("predict",),
        "score studies label by label, by prompts or a fine-tuned head, with calibrated probabilities",
        "selip.training.prediction.config:PredictConfig",
        "selip.training.prediction.predict:predict",
        "selip predict runs/tiny/best data/studies scores.parquet --protocol simulated-simple --volumes data/volumes",
    ),
    Command(
        ("segment",),
        "write the lesion mask of a study on its own grid, by a fine-tuned checkpoint",
        "selip.training.segment_config:SegmentConfig",
        "selip.training.segment:segment",
        "selip segment runs/masks/best data/bids/sub-0001/ses-01 lesions.nii.gz",
    ),
    Command(
        ("heatmap",),
        "write where the series of a study speak for a text, on their own grids and as pictures",
        "selip.training.heatmap_config:HeatmapConfig",
        "selip.training.heatmap:heatmap",
        "selip heatmap runs/tiny/best data/bids/sub-0001/ses-01 'FLAIR: left thalamus shows hemorrhage.' heatmaps",
    ),
    Command(
        ("annotate", "sample"),
        "draw reports for readers to annotate, of all kinds in equal numbers",
        "selip.processing.annotation.config:AnnotateSampleConfig",
        "selip.processing.annotation.sampling:sample_reports",
        "selip annotate sample data/studies gold/sample.jsonl --reports 100",
    ),
    Command(
        ("annotate", "export"),
        "write pages on which a reader corrects findings, without server or network",
        "selip.processing.annotation.config:AnnotateExportConfig",
        "selip.model_cards.pages.annotation_page:export_pages",
        "selip annotate export gold/sample.jsonl gold/pages",
    ),
    Command(
        ("annotate", "import"),
        "check what a reader saved and write it as gold findings",
        "selip.processing.annotation.config:AnnotateImportConfig",
        "selip.processing.annotation.saved_findings:import_findings",
        "selip annotate import batch-01-R1.json,batch-02-R1.json gold/sample.jsonl gold/R1.jsonl",
    ),
    Command(
        ("annotate", "agree"),
        "compare the gold findings of two readers and list where they differ",
        "selip.processing.annotation.config:AnnotateAgreeConfig",
        "selip.readers:compare_readers",
        "selip annotate agree gold/R1.jsonl gold/R2.jsonl gold/agreement.json",
    ),
    Command(
        ("benchmark", "simulated"),
        "compare objectives on simulated studies, between a floor and a ceiling",
        "selip.benchmark:BenchmarkConfig",
        "selip.benchmark:run_benchmark",
        "selip benchmark simulated benchmark --seeds 0,1,2",
    ),
    Command(
        ("leaderboard", "init"),
        "freeze studies and tasks as a benchmark: splits, protocols, references, fingerprints",
        "selip.training.leaderboard.config:LeaderboardInitConfig",
        "selip.leaderboard:init_leaderboard",
        "selip leaderboard init board/benchmark data/studies --tasks retrieval,probe",
    ),
    Command(
        ("leaderboard", "submit"),
        "make a submission of the result files of one system",
        "selip.training.leaderboard.config:LeaderboardSubmitConfig",
        "selip.leaderboard:submit",
        "selip leaderboard submit retrieval.json,probe.json board/submissions/mine --benchmark board/benchmark "
        "--system Mine",
    ),
    Command(
        ("leaderboard", "check"),
        "say whether a submission would be taken, and every reason why not",
        "selip.training.leaderboard.config:LeaderboardCheckConfig",
        "selip.leaderboard:check",
        "selip leaderboard check board/submissions/mine --benchmark board/benchmark",
    ),
    Command(
        ("leaderboard", "build"),
        "recompute every metric of all submissions, rank them and write the pages",
        "selip.training.leaderboard.config:LeaderboardBuildConfig",
        "selip.leaderboard:build",
        "selip leaderboard build board/benchmark board/submissions board/pages",
    ),
    Command(
        ("leaderboard", "serve"),
        "show a leaderboard as an app on this machine, with a check of submissions",
        "selip.training.leaderboard.config:LeaderboardServeConfig",
        "selip.leaderboard:serve",
        "selip leaderboard serve board/pages --benchmark board/benchmark",
    ),
    Command(
        ("leaderboard", "space"),
        "write the app as a Space of the Hub",
        "selip.training.leaderboard.config:LeaderboardSpaceConfig",
        "selip.leaderboard:write_space",
        "selip leaderboard space board/pages board/benchmark board/space",
    ),
    Command(
        ("card",),
        "write the card of a checkpoint, a structurer, a data set or a benchmark from its files and results",
        "selip.model_cards.cards.config:CardConfig",
        "selip.model_cards.cards.card:write_card",
        "selip card runs/tiny/best --datasets simulated --results result.json",
    ),
    Command(
        ("publish",),
        "verify a checkpoint as its users will find it, and push it to the Hub",
        "selip.model_cards.publishing.config:PublishConfig",
        "selip.model_cards.publishing.publish:publish",
        "selip publish runs/tiny/best my-group/selip-tiny --trained-on selip-simulated --dry-run",
    ),
    Command(
        ("publish-dataset",),
        "verify studies as Parquet with their volumes inside, and push them to the Hub",
        "selip.model_cards.publishing.config:PublishDatasetConfig",
        "selip.model_cards.publishing.dataset:publish_dataset",
        "selip publish-dataset data/studies my-group/simulated-mri --source selip-simulated --dry-run",
    ),
    Command(
        ("starter",),
        "make checkpoints that are ready to push from simulated studies, with cards and results",
        "selip.starter:StarterConfig",
        "selip.starter:make_starters",
        "selip starter starters --owner my-group --only tiny,structurer",
    ),
)

# Callers' mistakes, and files that are not there or in the way. Anything else is a defect and keeps its traceback.
EXPECTED_ERRORS = (ValueError, KeyError, OSError, ModuleNotFoundError)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the `selip` command.

    Args:
        arguments: Words after `selip`; those of the process by default.

    Returns:
        Exit code: 0 done, 2 the request cannot be carried out, 130 interrupted.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    show_traceback = "--traceback" in words
    words = [word for word in words if word != "--traceback"]
    if not words or words[0] in ("-h", "--help"):
        print(overview())
        return 0
    if words[1:] in (["-h"], ["--help"]) and any(command.words[:-1] == (words[0],) for command in COMMANDS):
        print(overview(words[0]))
        return 0
    if words[0] == "--version":
        print(f"selip {__version__}")
        return 0
    try:
        command = find_command(words)
        result = run(command, words[len(command.words) :])
    except EXPECTED_ERRORS as error:
        if show_traceback:
            raise
        print(f"selip: error: {describe(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("selip: interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    if result is not None:
        print(shown(result))
    return 0


def overview(group: str = "") -> str:
    """The text of `selip --help`, or of `selip GROUP --help`: the commands that start with that word."""
    shown = [command for command in COMMANDS if group in ("", command.words[0])]
    width = max(len(command.name) for command in shown)
    lines = [
        f"usage: selip {group or 'COMMAND'} ...",
        "",
        "Language-image pretraining for head MRI: from studies on disk to a checkpoint of the Hub.",
        "Not a medical device.",
        "",
        "commands, in the order in which they are used:",
        *(f"  {command.name:<{width}}  {command.summary}" for command in shown),
        "",
        "an example of each:",
        *(f"  {command.example}" for command in shown),
        "",
        "`selip COMMAND --help` lists the options; each can also stand in a YAML file (--config FILE.yaml).",
        "options of selip: --version, --help, and --traceback with any command to see the whole error.",
    ]
    return "\n".join(lines)


def find_command(words: Sequence[str]) -> Command:
    """The subcommand that a command line starts with.

    Raises:
        ValueError: There is none; the message names the nearest one.
    """
    found = [command for command in COMMANDS if tuple(words[: len(command.words)]) == command.words]
    for command in sorted(found, key=lambda command: not command.option):
        if _has_option(words, command.option):
            return command
    below = [command.words[1] for command in COMMANDS if command.words[0] == words[0]]
    if below:
        given = words[1] if len(words) > 1 else ""
        raise ValueError(f"expected `selip {words[0]} KIND ...`, got {given!r}{nearest(given, below)}")
    raise ValueError(f"unknown command {words[0]!r}{nearest(words[0], [' '.join(item.words) for item in COMMANDS])}")


def _has_option(words: Sequence[str], option: tuple[str, ...]) -> bool:
    """Whether a command line has an option with its value, in either form; no option is always there."""
    return not option or "=".join(option) in words or any(pair == option for pair in pairwise(words))


def run(command: Command, arguments: Sequence[str]) -> Any:
    """Read the arguments of a subcommand and run it."""
    config = parse_config(
        load(command.config),
        arguments,
        prog=f"selip {command.name}",
        description=command.summary[0].upper() + command.summary[1:] + ".",
        epilog=f"example: {command.example}",
        config_first=command.config_first,
    )
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    return load(command.run)(config)


def load(target: str) -> Any:
    """Import what `module:name` names."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def shown(result: Any) -> str:
    """What a stage returned, as lines for a person; its own text if it has one."""
    inherited: object = object.__str__
    if type(result).__str__ is not inherited:
        return str(result)
    if dataclasses.is_dataclass(result):
        result = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    if not isinstance(result, dict):
        return str(result)
    return "\n".join(
        f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}" for name, value in result.items()
    )


def describe(error: BaseException) -> str:
    """An error in one line."""
    if isinstance(error, KeyError) and error.args:
        return str(error.args[0])  # str() of a KeyError is the repr of its message
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.strerror}: {error.filename}"
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())

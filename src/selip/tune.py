"""`selip tune-structurer`: tune a structurer, and write the card of what came out."""

import logging

from selip.model_cards.cards.card import write_card
from selip.model_cards.cards.config import CardConfig
from selip.training.checkpoint import read_state
from selip.training.structuring.config import TuneConfig
from selip.training.structuring.dry_run import DryRun
from selip.training.structuring.tuning import TuningSummary, tune_structurer

logger = logging.getLogger(__name__)


def tune(config: TuneConfig) -> TuningSummary | DryRun:
    """Tune a structurer; its folder gets a card, unless the licence of what it was tuned on is not known yet.

    Raises:
        FileExistsError: `config.output` holds another run.
        FileNotFoundError: The base or a file of group data is not there.
        ValueError: The configuration does not fit the base, the data or this machine.
    """
    summary = tune_structurer(config)
    if isinstance(summary, DryRun):
        return summary
    for folder in filter(None, (summary.best, summary.merged)):
        if (read_state(folder).environment or {})["group_reports"]:
            logger.info("no card yet: `selip card %s --datasets NAME=LICENCE` names what it was tuned on", folder)
        else:
            write_card(CardConfig(folder, overwrite=True))
    return summary

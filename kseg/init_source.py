"""What --init names: a run, a weights file or a published model. Standard library only."""

import os
from pathlib import Path
from typing import Any, NamedTuple

from kseg import config as configs
from kseg import published_models, run_folder
from kseg.config import Config
from kseg.errors import InputError
from kseg.labels import LabelSet

# The Config fields on which the weights of a model depend.
ARCHITECTURE = ("model", "encoder_alpha", "output_stride", "decoder_channels")


class InitSource(NamedTuple):
    """A weights file, and the Config and classes of its run; None for a file outside a run."""

    weights: Path
    config: Config | None = None
    labels: LabelSet | None = None


def find(init: str) -> InitSource:
    """Returns the source that `init` of a Config names; of a run, its best weights.

    Raises InputError when there is none, or when it has no weights yet.
    """
    path = Path(init)
    if path.is_file():
        if not path.name.endswith(".weights.h5"):
            raise InputError(f"init {init}: expected a run folder or a .weights.h5 file")
        # RUN/best.weights.h5 or RUN/last/*.weights.h5.
        runs = [run for run in path.absolute().parents[:2] if (run / "config.json").is_file()]
        return InitSource(path, *(run_folder.read_run(runs[0]) if runs else ()))
    path = published_models.find_run(init)
    if not (path / "config.json").is_file():
        raise InputError(
            f"init {init}: no run folder, .weights.h5 file or published model of that name "
            f"(published: {', '.join(published_models.names())})"
        )
    weights = path / run_folder.BEST
    if not weights.is_file():
        raise InputError(f"init {init}: has no {run_folder.BEST}; train it for at least one epoch")
    return InitSource(weights, *run_folder.read_run(path))


def architecture(init: str, out: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Returns the ARCHITECTURE fields of `settings`."""
    return {key: value for key, value in settings(init, out).items() if key in ARCHITECTURE}


def settings(init: str, out: str | os.PathLike[str] | None = None) -> dict[str, Any]:
    """Returns ARCHITECTURE and size of the run that `init` names; {} for a file outside a run.

    out: run folder of the training. If it has started from `init` already, its own config.json
    counts, so that it resumes even when the source is gone. Raises InputError as `find` does.
    """
    started = Path(out) / "config.json" if out else None
    config = configs.read(started) if started and started.is_file() else None
    if config is None or config.init != init:
        config = find(init).config
    return {key: getattr(config, key) for key in (*ARCHITECTURE, "size")} if config else {}

"""Child process that builds every model once, before days of training are spent on the first.

python -m kseg.compare.preflight JSON SPLIT

JSON: {name: Config as a dict}. Exit code 2 and one line on stderr where a model cannot be built.
"""

import sys

from kseg import config as configs
from kseg.errors import InputError, run


def main() -> None:
    path, split = sys.argv[1:]
    rows = configs.read_values(path)

    import keras

    from kseg.data import pipeline
    from kseg.training import build_training

    for name, values in rows.items():
        config = configs.merge(configs.Config(), values, where=name)
        try:
            for needed in ("train", "val", split):
                manifest, _ = pipeline.open_split(config, needed)
            steps = pipeline.steps_per_epoch(config, manifest)
            model = build_training.build_compiled_model(config, manifest, steps)
            build_training.initialize(model, config, manifest)
        except InputError as error:
            raise InputError(f"{name}: {error}") from error
        keras.backend.clear_session(free_memory=True)


if __name__ == "__main__":
    sys.exit(run(main))

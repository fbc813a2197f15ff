"""The models that the studio offers. A request names one of them; no path of a request is ever opened."""

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from limner.core.errors import UserError
from limner.exporting.groups import attribute_groups
from limner.model.sampler import read_sampler_config
from limner.model.shipped import CONFIG, find_model
from limner.runs.run import MODEL, is_run

if TYPE_CHECKING:
    from limner.model.model import Model

MOST_LOADED = 4
SAID = {"recipe", "kind", "size", "images_seen", "licence"}  # of config.json, on the page


class _Loaded(NamedTuple):
    written: int
    """When its config.json was written, in nanoseconds: a run writes its model anew at every checkpoint."""
    model: "Model"


class Shelf:
    """Models by name, as they were given; the last few that were asked for stay loaded."""

    def __init__(self, models: Sequence[str], runs: Path | None, device: str) -> None:
        self.models, self.runs, self.device = tuple(models), runs, device
        self._loaded: OrderedDict[str, _Loaded] = OrderedDict()
        self._lock = Lock()

    def names(self) -> list[str]:
        """The models that were given, and those of the runs that have one by now."""
        of_runs = sorted(self.runs.iterdir()) if self.runs is not None and self.runs.is_dir() else []
        found = [str(path) for path in of_runs if is_run(path) and (path / MODEL / CONFIG).is_file()]
        return list(dict.fromkeys([*self.models, *found]))

    def describe(self, name: str) -> dict[str, Any]:
        """What there is to say of the model of this name, or the problem that it has."""
        try:
            config = read_sampler_config(find_model(Path(name)))  # without the network, hence no import of torch
        except UserError as error:
            return {"name": name, "problem": str(error)}
        return {
            "name": name,
            **config.model_dump(include=SAID),
            "attributes": grouped(config.attribute_names),
            "of_run": is_run(Path(name)),
            "loaded": name in self._loaded,
        }

    def open(self, name: str) -> "Model":
        """The model of this name, loaded if need be.

        Raises UserError where none has it, or its files are broken.
        """
        from limner.model.model import Model

        if name not in (names := self.names()):
            raise UserError(f"There is no model {name!r} here; there are {', '.join(names)}.")
        written = (find_model(Path(name)) / CONFIG).stat().st_mtime_ns
        with self._lock:
            if name not in self._loaded or self._loaded[name].written != written:
                self._loaded[name] = _Loaded(written, Model.load(name, self.device))
            self._loaded.move_to_end(name)
            while len(self._loaded) > MOST_LOADED:
                self._loaded.popitem(last=False)
            return self._loaded[name].model


def grouped(names: Sequence[str]) -> dict[str, list[str]]:
    """The attributes in groups that belong together."""
    return {group["title"]: [names[place] for place in group["positions"]] for group in attribute_groups(names)}

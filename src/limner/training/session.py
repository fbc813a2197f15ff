"""Starting a training, and going on with one: everything around the loop."""

import shlex
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from limner.core.arguments import checked
from limner.core.device import all_finite
from limner.core.distributed import start_engine
from limner.core.errors import Interrupted, MachineError, UserError
from limner.core.faults import fault_line
from limner.core.files import write_file
from limner.core.memory import freed_memory_kept
from limner.core.process import process_rank
from limner.core.randomness import sole_training
from limner.core.signals import stop_and_save_requests
from limner.data.packed import PackedFaces
from limner.recipes.load import load_recipe
from limner.recipes.schema import Recipe
from limner.runs.run import CHECKPOINTS, LOG, RECIPE, Run, how_ended, sweep_run
from limner.training.faults import what_is_kept
from limner.training.init import Init, check_init, initialise
from limner.training.loop import MAX_ROLLBACKS, run_loop
from limner.training.modality import Modality, open_modality
from limner.training.recorder import Recorder
from limner.training.schedule import Budget
from limner.training.setup import (
    attribute_names,
    check_shares,
    make_room,
    run_facts,
    warn_of_changes,
    write_info,
)
from limner.training.state import State, checkpoints, read_newest, restore
from limner.training.terminal import Terminal
from limner.training.training import Training

# On GPUs, processes agree on stopping only every so many steps: each time, the host waits for the device.
STEPS_BETWEEN_VOTES = 10


@checked
@sole_training()
def train(
    recipe: str | Path,
    data: PackedFaces | str | Path | None,
    out: str | Path,
    *,
    images: int | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    overrides: Sequence[str] = (),
    seed: int = 0,
    device: str = "auto",
    init: str | Path | None = None,
    stop: threading.Event | None = None,
    force: bool = False,
    quiet: bool = False,
) -> Run:
    """Train `recipe` (a shipped name or a TOML file, with `key=value` overrides) on `data` and leave a run in `out`.

    `data` is `None` for a recipe that samples its own curves.
    It lasts `images` shown, `epochs` of the training split or `minutes` of training; by default as long as the recipe
    says. It starts from the weights of the model `init` (a run, a model folder or the name of a shipped model), or from
    random ones. The same seed on the same machine gives the same weights to the last bit, except with `minutes`: then
    the end, and learning rates that fall towards it, follow the clock. Signals reach a program's main thread alone:
    in another thread, set `stop` to have the training save its state and end.

    Raises:
        UserError: something given is wrong, `out` exists (without `force`), another training runs in this process, or
            the training diverged for good.
        Interrupted: Ctrl-C, SIGTERM, SIGHUP or `stop`; the state is saved and the message is the command that goes on.
        MachineError: the disk is full, say, or memory is; the message says which checkpoint is whole.
    """
    chosen = load_recipe(recipe, overrides)
    check_init(chosen, init)
    modality = open_modality(chosen, data)
    if seed < 0:
        raise UserError(f"--seed is {seed}; it must be at least 0.")
    budget = Budget.choose(chosen.schedule.images, modality.facts.get("train"), images, epochs, minutes)
    engine = start_engine(device, chosen.engine.precision, chosen.engine.graphs)
    check_shares(chosen, engine)
    precision = chosen.engine.model_copy(update={"precision": engine.precision})
    chosen = chosen.model_copy(update={"engine": precision})

    run = Run(Path(out))
    names = attribute_names(chosen, modality)
    state = State.fresh(chosen, seed, engine.device, len(names))
    begun = None if init is None else initialise(state, init, chosen, names)
    _check_start(state)
    training = Training(chosen, state, modality, engine, seed, begun)

    def make_folder() -> None:
        make_room(run, force, held)
        try:
            write_info(run, run_facts(training, budget))  # first: --force knows a run by it
            write_file(run.path / RECIPE, chosen.to_toml().encode())
        except OSError:
            shutil.rmtree(run.path, ignore_errors=True)
            raise

    with ExitStack() as held:
        with engine.watched(_loss(run, state)):
            engine.once(make_folder)
            ended = _go_on(run, training, budget, quiet, stop, broken=None)
        return _end(run, training, ended)


@checked
@sole_training()
def resume(
    run: str | Path,
    *,
    recipe: str | Path | None = None,
    overrides: Sequence[str] = (),
    data: PackedFaces | str | Path | None = None,
    images: int | None = None,
    epochs: float | None = None,
    minutes: float | None = None,
    device: str = "auto",
    stop: threading.Event | None = None,
    quiet: bool = False,
) -> Run:
    """Go on with a run from its newest whole checkpoint, exactly as if it had never stopped.

    Exact are runs of `images` or `epochs`; with `minutes` the end, and learning rates that fall towards it, follow the
    clock. A budget given here replaces the run's own, so that a finished run can be made longer. `data` says where the
    prepared data are now, if they moved.

    Raises:
        UserError: there is nothing to resume, the recipe or the data are not those of the run (the message names what
            changed), the budget is spent, or the training diverged for good.
        Interrupted: as for `train`.
    """
    old = Run.open(run)
    with old.sole_writer() if process_rank() == 0 else nullcontext():
        training, record, broken = _reopen(old, recipe, overrides, data, device)
        info, engine = old.info, training.engine
        budget = Budget(**info["budget"])
        stopped = how_ended(old.log)
        # Interrupted at its own end, it gave up its last measurement, and goes on with that.
        unmeasured = stopped == "interrupted" and budget.finished(training.state)
        if (images, epochs, minutes) != (None, None, None):
            budget = Budget.choose(0, training.modality.facts.get("train"), images, epochs, minutes)
        if budget.finished(training.state) and (not old.log or (stopped and not unmeasured)):
            raise UserError(
                f"{old.path} is finished ({training.state.images_seen:,} images): say --images, more than that, to go "
                "on."
            )

        def mend_folder() -> None:
            sweep_run(old.path)
            _cut_log(old.path / LOG, record["log_bytes"])
            write_info(old, info | {"budget": vars(budget)})
            if not quiet:
                warn_of_changes(info, engine)

        with engine.watched(_loss(old, training.state)):
            engine.once(mend_folder)
            ended = _go_on(old, training, budget, quiet, stop, [path.name for path in broken])
        return _end(old, training, ended)


def _reopen(
    old: Run, recipe: str | Path | None, overrides: Sequence[str], data: PackedFaces | str | Path | None, device: str
) -> tuple[Training, dict[str, Any], list[Path]]:
    """The training of a run as its newest whole checkpoint left it, that one's record, and the broken later ones."""
    record, tensors, broken = read_newest(old.path / CHECKPOINTS)
    try:
        trained = Recipe.model_validate(record["recipe"])
    except ValidationError:
        raise UserError(f"{old.path} was written by another version of Limner: go on with that one.") from None
    graphs = trained.engine.graphs
    if recipe is not None or overrides:
        asked = load_recipe(old.path / RECIPE if recipe is None else recipe, overrides)
        graphs = asked.engine.graphs  # may change: it changes nothing but speed
        kept: dict[str, Any] = {"graphs": trained.engine.graphs}
        if asked.engine.precision == "auto":
            kept["precision"] = trained.engine.precision
        asked = asked.model_copy(update={"engine": asked.engine.model_copy(update=kept)})
    else:
        asked = old.recipe
    changed = asked.differences(trained)
    if changed:
        words = "; ".join(f"{key} is {now!r} and was {before!r}" for key, (now, before) in changed.items())
        raise UserError(f"{old.path} was trained with another recipe: {words}. Start a new run for a changed recipe.")

    info = old.info
    modality = open_modality(trained, data if data is not None else info["data"].get("path"))
    if modality.facts.get("content_hash") != record["content_hash"]:
        raise UserError(
            f"{modality.facts['path']} is not what {old.path} was trained on (its content has another hash)."
        )
    engine = start_engine(device, trained.engine.precision, graphs)
    check_shares(trained, engine)
    state = State.fresh(trained, info["seed"], engine.device, len(attribute_names(trained, modality)))
    try:
        restore(state, record, tensors)
    except (KeyError, RuntimeError):
        raise UserError(f"The newest checkpoint of {old.path} is not one of its recipe: start the run anew.") from None
    begun = Init(**info["init"]) if info.get("init") else None
    return Training(trained, state, modality, engine, info["seed"], begun), record, broken


def _go_on(
    run: Run, training: Training, budget: Budget, quiet: bool, stop: threading.Event | None, broken: list[str] | None
) -> str:
    """Loop until the end, and say which; `broken`: the checkpoints a resumed run passed over, `None` for a new run."""
    recipe, state, modality, engine = training.recipe, training.state, training.modality, training.engine
    source = modality.source(training.seed, engine.device)
    with (
        stop_and_save_requests(stop or threading.Event()) as requests,
        Terminal(recipe.name, str(budget), quiet or not engine.is_main, lambda: requests.stop) as terminal,
        _threads_for(modality),
    ):

        def votes() -> bool:
            every = STEPS_BETWEEN_VOTES if engine.world > 1 and engine.device.type != "cpu" else 1
            return state.images_seen // recipe.schedule.batch % every == 0

        done = budget.progress(state)

        def progress() -> float:
            nonlocal done  # every process has a clock of its own, and all must set the same learning rates
            if budget.seconds is None:
                done = budget.progress(state)
            elif votes():
                done = engine.mean(budget.progress(state))
            return done

        def saving() -> bool:
            requested = votes() and engine.any(requests.save)
            if requested:
                requests.save = False
            return requested

        recorder = Recorder(run, training, budget, terminal, lambda: requests.stop, saving)
        try:
            if broken is None:
                _say_what_is_new(training, terminal)
                recorder.start()
            else:
                for name in broken:
                    terminal.say(f"The checkpoint {name} is broken; going on from the one before.")
                recorder.resumed(broken)
            with freed_memory_kept() if engine.device.type == "cpu" else nullcontext():
                ended = run_loop(
                    training,
                    source,
                    recorder,
                    progress=progress,
                    interrupted=lambda: votes() and engine.any(requests.stop),
                )
            recorder.stop(ended)
        except Exception as error:
            if (line := fault_line(error)) is None:
                raise
            raise MachineError(what_is_kept(run, training, source, recorder.saved, error, line)) from error
        return ended


def _end(run: Run, training: Training, ended: str) -> Run:
    """The run, where it is finished; raises UserError where it diverged, Interrupted where it was asked to stop."""
    if ended == "diverged":
        networks = " and ".join(f"optimizer.{name}.lr" for name in training.state.optimizers)
        raise UserError(
            f"{run.path} diverged at {training.state.images_seen:,} images, and {MAX_ROLLBACKS} returns with halved "
            f"learning rates did not help: lower {networks}."
        )
    if ended == "interrupted":
        raise Interrupted(f"limner train --resume {shlex.quote(str(run.path))}")
    return run


def _say_what_is_new(training: Training, terminal: Terminal) -> None:
    if training.init:
        terminal.say(f"Starts from {training.init}: its {' and '.join(training.init.networks)}.")
    made_for, crop = training.recipe.data.crop, training.modality.facts.get("crop", "none")
    if crop not in (made_for, "none"):
        terminal.say(f"Note: the recipe is made for the crop {made_for}, the images have {crop}.")


def _loss(run: Run, state: State) -> Callable[[str], str]:
    """Makes the line that ends all processes where one is lost, of the reason."""

    def describe(why: str) -> str:
        path = shlex.quote(str(run.path))
        hint = f"Its checkpoints are whole; go on with: limner train --resume {path}"
        if not checkpoints(run.path / CHECKPOINTS):
            hint = "It had no checkpoint yet: start it again, with --force."
        return f"{run.path} stopped at {state.images_seen:,} images: {why}. {hint}"

    return describe


def _check_start(state: State) -> None:
    for name, network in state.networks.items():
        if not all_finite(network.state_dict().values()):
            raise UserError(f"The weights of the {name} are not finite at the start: lower {name}.init_std.")


def _cut_log(log: Path, length: int) -> None:
    """Take back the log lines that a killed run wrote after its last checkpoint: they will be written again."""
    with log.open("ab") as file:
        file.truncate(min(length, file.tell()))


@contextmanager
def _threads_for(modality: Modality) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(modality.threads or threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)

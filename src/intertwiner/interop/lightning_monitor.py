"""Conservation laws watched by a Lightning callback.

Lightning hands out the optimisers when the fit begins, leaves the gradients in place until the next batch, and calls
back once per batch whether or not the optimiser stepped: the callback looks only where ``global_step`` has moved on.
"""

from __future__ import annotations

from typing import Any

from intertwiner.errors import WrongUse
from intertwiner.training.monitor import KEPT, ConservationMonitor


class Watching:
    """The hooks, for a class that is a Lightning callback as well.

    Args:
        laws: The laws.
        attribute: Where in the module the network is.
        log: Name under which the largest drift is logged; empty for nothing.
        options: Handed to the monitor.
    """

    def __init__(self, laws: Any, attribute: str, log: str, options: dict[str, Any]) -> None:
        super().__init__()
        self._laws, self._attribute, self._log_as, self._options = laws, attribute, log, options
        self._monitor: ConservationMonitor | None = None
        self._seen = 0

    @property
    def monitor(self) -> ConservationMonitor:
        """The monitor of the last fit.

        Raises:
            WrongUse: No fit has begun.
        """
        if self._monitor is None:
            raise WrongUse("the monitor begins with Trainer.fit, and no fit has begun. Nothing was computed.")
        return self._monitor

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        optimizers = trainer.optimizers
        if len(optimizers) != 1:
            raise WrongUse(
                f"the callback watches one optimiser, and the module has {len(optimizers)}. Next step: a "
                "ConservationMonitor inside the training step. Nothing was trained."
            )
        model = pl_module.get_submodule(self._attribute)
        self._monitor = ConservationMonitor(model, self._laws, optimizer=optimizers[0], **self._options)
        self._seen = trainer.global_step

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step > self._seen:
            self._seen = trainer.global_step
            self.monitor.step()

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self._log_as:
            pl_module.log(self._log_as, max(drift.worst for drift in self.monitor.drift))

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.monitor.close()


def conservation_callback(
    laws: Any, *, attribute: str = "", every: int = 1, history: int = KEPT, log: str = "conservation_drift"
) -> Any:
    """A ``ConservationMonitor`` as a callback for ``lightning.Trainer``.

    Args:
        laws: What ``conservation_laws`` found, for the LightningModule itself or for the part that ``attribute`` names.
        attribute: Where in the LightningModule the network of the laws is, as ``"net"``; empty for itself.
        every: Look at every so many steps of the optimiser.
        history: Most moments that are kept.
        log: Under this name the largest drift, over the size of its terms, is logged after every epoch; empty for
            nothing.

    Returns:
        A ``lightning.pytorch.Callback``, its monitor as ``.monitor`` from the beginning of the fit.

    Raises:
        WrongUse: Lightning is not installed; at the beginning of a fit: several optimisers.

    Example::

        callback = conservation_callback(iw.conservation_laws(module.net, example=x), attribute="net")
        lightning.Trainer(callbacks=[callback]).fit(module, data)
        print(callback.monitor)
    """
    try:
        from lightning.pytorch.callbacks import Callback  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise WrongUse("this needs Lightning: pip install 'intertwiner[lightning]'. Nothing was computed.") from error
    kind = type("ConservationCallback", (Watching, Callback), {"__doc__": conservation_callback.__doc__})
    return kind(laws, attribute, log, {"every": every, "history": history})

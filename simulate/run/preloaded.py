"""What every process that trains imports, once for all in the server from which they start."""

from contextlib import suppress

import lrplan.simulate.run.here  # noqa: F401
import lrplan.simulate.run.on_card  # noqa: F401

# torch imports it when a derivative is first asked for with a direction. It is not public, and only
# saves time: a torch without it may go on without.
with suppress(ImportError):
    import torch.fx.experimental.symbolic_shapes  # noqa: F401

"""What every process that trains imports, once for all in the server from which they start."""

# torch imports it when a derivative is first asked for with a direction.
import torch.fx.experimental.symbolic_shapes  # noqa: F401

import lrplan.simulate.run.here  # noqa: F401
import lrplan.simulate.run.on_card  # noqa: F401

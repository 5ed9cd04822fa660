"""What every process that trains imports, once for all in the server from which they start."""

import lrplan.simulate.run.here
import lrplan.simulate.run.on_card  # noqa: F401

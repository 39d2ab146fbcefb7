"""What the host runs as streamkeep-host."""

import sys

from streamkeep_host.cli import main

sys.exit(main(sys.argv[1:]))

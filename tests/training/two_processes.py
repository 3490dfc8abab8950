"""What torchrun starts in test_processes: the command, once for each list of its arguments."""

import json
import sys

from sae_widgets.cli import app

for arguments in json.loads(sys.argv[1]):
    app(arguments, standalone_mode=False)

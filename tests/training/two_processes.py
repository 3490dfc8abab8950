"""What torchrun starts in test_processes: the command, once for each list of its arguments.

RANK in an argument is the number of the process, for a folder that each has alone.
"""

import json
import os
import sys
import time

from sae_widgets.cli import app

for arguments in json.loads(sys.argv[1]):
    told = [each.replace("RANK", os.environ["RANK"]) for each in arguments]
    if status := app(told, standalone_mode=False):
        time.sleep(3)  # torchrun ends the other as soon as this one has: it may have more to say
        sys.exit(status)

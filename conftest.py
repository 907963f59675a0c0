"""The project's own tests drive pytest itself."""

import os
import signal

from hypothesis import settings

pytest_plugins = ["pytester"]

# Sessions that tests start are not to be told of by a job that runs these, and have no terminal of a width.
for variable in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "COLUMNS"):
    os.environ.pop(variable, None)
    os.unsetenv(variable)  # readline, which pytest imports, sets COLUMNS where only children see it

# A shell's background job ignores Ctrl-C, and so would all that is started from it: tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test is about how fast this machine is, which others may use as well.
settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")

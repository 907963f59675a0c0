"""The project's own tests drive pytest itself."""

import signal

from hypothesis import settings

pytest_plugins = ["pytester"]

# A shell's background job ignores Ctrl-C, and so would all that is started from it: tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No test is about how fast this machine is, which others may use as well.
settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")

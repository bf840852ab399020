"""Long forms of tests that are short in ``make test``.

They are not collected by ``trial tests``; run them by name::

    .venv/bin/trial tests.soak.cuts      # about 6 minutes
    .venv/bin/trial tests.soak.frames    # about 4 minutes
    .venv/bin/trial tests.soak.broker_kills  # about 45 minutes
"""

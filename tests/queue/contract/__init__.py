"""What every queue adapter owes: one set of tests, run over every backend.

The tests stand in mixins (``topics``, ``named``, ``attempts``, …) and know an engine's
public surface only: workers, triggers, ``enqueue``, ``engine::queue::…``.  A *backend*
(``backend.Backend``) says how an engine is configured for an adapter, what the adapter
can do, and its attempt counts (03 §1.12), which differ on purpose.

A new adapter ``x``:

1. ``contract/x.py`` with a subclass of ``Backend``: ``adapter`` gives the ``adapter:``
   block of a configuration, ``prepare`` starts what the adapter needs, ``abilities`` is
   everything unless something is left out.
2. ``contract/test_x.py``: ``globals().update(over(X, __name__))``.

A test marked ``@needs(ABILITY)`` exists only over backends that have it.  What an adapter
leaves out must be refused with ``not_supported``: ``refusals`` checks that.

Tests run in real time with short back-offs.  They wait for events, with a limit, and
never for time to pass: nothing here fails because a machine is slow.
"""

from __future__ import annotations

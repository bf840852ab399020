"""The scripts by which one engine of many listens to the channel of a topic."""

from __future__ import annotations

from iii.modules.queue.adapters.redis.script_parts import HEAD
from iii.redis import Script

#: Take or renew leases.  After the head: how long, and queues (their number first).  Which of
#: them this engine has (1 or 0).
HOLD = Script(
    HEAD
    + """
local lasts, held = num(), {}
for n = 1, num() do
  local key = P .. ':{q:' .. arg() .. '}:legacy'
  if call('SET', key, me, 'NX', 'PX', lasts) then
    held[n] = 1
  elseif call('GET', key) == me then
    call('PEXPIRE', key, lasts)
    held[n] = 1
  else
    held[n] = 0
  end
end
return held
""",
    0,
)

#: Give them back.  After the head: queues (their number first).
LET_GO = Script(
    HEAD
    + """
for _ = 1, num() do
  local key = P .. ':{q:' .. arg() .. '}:legacy'
  if call('GET', key) == me then call('DEL', key) end
end
""",
    0,
)

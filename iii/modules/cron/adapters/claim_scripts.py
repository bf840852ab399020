"""What the claims of ticks do inside Redis, each in one step.

Per tick there is a record ``cron_tick:<job key>:<tick>`` with the token of who claimed it.
``cron_open`` is a sorted set of the claims whose run goes on: ``<job key>:<tick>`` with the
time at which the lease runs out.  A record without an entry there is a run that ended.

``cron_last:<job key>`` is the newest tick ever claimed: it stands in for records that have
been forgotten.  ``cron_busy:<job key>`` is there while a run goes on that no other one of
the job may overlap.  It lasts longer than the lease: when its engine has died, the tick
that was left behind comes before any later one.
"""

from __future__ import annotations

from iii.redis import Script

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# 0: not for you, 1: yours, 2: yours, it was another engine's that is gone.
# KEYS open record last lock busy; ARGV token tick lease keep mark exclusive member
TAKE = Script(
    _NOW
    + """
local token, tick = ARGV[1], tonumber(ARGV[2])
local lease, keep, mark = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local last = tonumber(redis.call('GET', KEYS[3]) or '-1')
local ends = redis.call('ZSCORE', KEYS[1], ARGV[7])
local gone = false
if ends then
  if tonumber(ends) > now then return 0 end
  gone = redis.call('GET', KEYS[2])
elseif redis.call('EXISTS', KEYS[2]) == 1 then
  return 0
else
  -- The record of an old tick may have been forgotten.
  local age = now - tick * 1000
  if age >= mark or (age >= keep and last >= tick) then return 0 end
end
-- A lock of the original's engines: theirs don't begin with our name.
local lock = redis.call('GET', KEYS[4])
if lock and string.sub(lock, 1, 4) ~= 'iii:' then return 0 end
if ARGV[6] == '1' then
  local busy = redis.call('GET', KEYS[5])
  if busy and busy ~= gone then return 0 end
  redis.call('SET', KEYS[5], token, 'PX', math.floor(lease * 3 / 2))
end
redis.call('SET', KEYS[4], token, 'PX', lease)
redis.call('SET', KEYS[2], token, 'PX', math.max(keep, tick * 1000 + keep - now))
redis.call('ZADD', KEYS[1], now + lease, ARGV[7])
if tick > last then redis.call('SET', KEYS[3], tick, 'PX', mark) end
if ends then return 2 end
return 1
""",
    5,
)

_ENDED = """
local record = redis.call('GET', KEYS[2])
for i = 3, 4 do
  if redis.call('GET', KEYS[i]) == ARGV[1] then redis.call('DEL', KEYS[i]) end
end
-- Another engine may have it by now.
if record and record ~= ARGV[1] then return 0 end
"""

# The run has ended.  KEYS open record lock busy; ARGV token member
CLOSE = Script(_ENDED + "return redis.call('ZREM', KEYS[1], ARGV[2])", 4)

# There was no run: who looks next may have it.  The same.
GIVE_BACK = Script(_NOW + _ENDED + "return redis.call('ZADD', KEYS[1], 'XX', now, ARGV[2])", 4)

# 1 for each claim that is still ours.
# KEYS open, and record lock busy of each; ARGV lease, and token member keep of each
RENEW = Script(
    _NOW
    + """
local lease, outcomes = tonumber(ARGV[1]), {}
for i = 1, (#KEYS - 1) / 3 do
  local at = 3 * i - 1
  local token, member, keep = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local record = redis.call('GET', KEYS[at])
  local open = redis.call('ZSCORE', KEYS[1], member)
  if open and (record == token or not record) then
    -- As with a new claim: never shorter than it was.
    local left = redis.call('PTTL', KEYS[at])
    redis.call('SET', KEYS[at], token, 'PX', math.max(keep, left))
    redis.call('ZADD', KEYS[1], now + lease, member)
    for lock, lasts in pairs({[at + 1] = lease, [at + 2] = math.floor(lease * 3 / 2)}) do
      if redis.call('GET', KEYS[lock]) == token then
        redis.call('PEXPIRE', KEYS[lock], lasts)
      end
    end
    outcomes[i] = 1
  else
    outcomes[i] = 0
  end
end
return outcomes
""",
    None,
)

# Open claims whose lease has run out.  KEYS open; ARGV forget offset count
ORPHANS = Script(
    _NOW
    + """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[1]))
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', ARGV[2], ARGV[3])
""",
    1,
)

# The newest tick counts.  KEYS runs; ARGV key tick
REMEMBER = Script(
    """
local known = tonumber(redis.call('HGET', KEYS[1], ARGV[1]) or '-1')
if tonumber(ARGV[2]) > known then redis.call('HSET', KEYS[1], ARGV[1], ARGV[2]) end
""",
    1,
)

SCRIPTS = (TAKE, CLOSE, GIVE_BACK, RENEW, ORPHANS, REMEMBER)

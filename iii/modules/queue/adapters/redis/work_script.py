"""The script that works a queue off: outcomes in, messages out, in one step.

An outcome counts only if the message is still leased to who tells it.  There is one
exception: work that was done is done, also when the lease ran out meanwhile and the
message waits again.
"""

from __future__ import annotations

from iii.modules.queue.adapters.redis.script_parts import HEAD, SWEEPS, WAITING
from iii.redis import Script

_LEASES = """
local time = call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)

-- An attempt is over: its key may run another one.
local function release(q, st)
  local busy = q.base .. 'busy:' .. st[GEN]
  if q.mode == '' and st[GEN] == q.gen then return end
  if call('HINCRBY', busy, st[KEY], -1) <= 0 then call('HDEL', busy, st[KEY]) end
  local parked = q.base .. 'parked:' .. st[GEN] .. ':' .. st[KEY]
  local rows = call('SMEMBERS', parked)
  if #rows == 0 then return end
  call('DEL', parked)
  if st[GEN] ~= q.gen then return end
  for _, row in ipairs(rows) do make_ready(q, row) end
end

-- As if nothing had been: back in its place.
local function give_back(q, id, st)
  call('ZREM', q.active, id)
  st[OWNER] = ''
  save(q, id, st)
  push(q, id, st)
  release(q, st)
end
"""

_OUTCOMES = """
local function failed(q, id, st, due, past)
  call('ZREM', q.active, id)
  call('HSET', q.past, id, past)
  st[OWNER], st[DUE] = '', due
  if st[GEN] == q.gen and (q.mode == 'o' or q.mode == 's') then
    -- In order: nothing of its row runs before it.
    save(q, id, st)
    call('ZREM', q.ready, st[ROW])
    call('ZADD', q.blocked, due, st[ROW])
    push(q, id, st)
  else
    -- Before every fresh one, in the order they are due.
    local urgency = math.floor(st[SCORE] / URGENCY)
    st[SCORE] = urgency * URGENCY + (due - EPOCH) * 256 + st[SCORE] % 256
    save(q, id, st)
    call('ZADD', q.delayed, due, id)
    if st[EXPIRES] > 0 then call('ZADD', q.expiry, st[EXPIRES], id) end
  end
  release(q, st)
end

local function outcome(q, kind, id, token, due, past)
  local st = load(q, id)
  if not st then return end
  if st[OWNER] ~= token then
    if kind == 'D' and pull(q, id, st) then finish(q, id) end
    return
  end
  if kind == 'D' then
    call('ZREM', q.active, id)
    finish(q, id)
    release(q, st)
    delivered = delivered + 1
  elseif kind == 'F' then
    failed(q, id, st, due, past)
    failures = failures + 1
  elseif kind == 'B' then
    call('ZREM', q.active, id)
    call('HSET', q.past, id, past)
    bury(q, id, st, '')
    release(q, st)
    failures = failures + 1
  else
    if kind == 'A' then give_token(q, st[KEY]) end
    give_back(q, id, st)
  end
end
"""

_RATE = """
local function bucket(q, key)
  local name = q.base .. 'bucket:' .. (by_key and key or '')
  local tokens, since = count, now
  local held = call('GET', name)
  if held then
    local had, before = struct.unpack('<dd', held)
    since = math.max(before, now)
    tokens = math.min(count, had + (since - before) * count / per)
  end
  return name, tokens, since
end

local function keep_tokens(name, tokens, since)
  call('SET', name, struct.pack('<dd', tokens, since), 'PX', 2 * per + 60000)
end

function give_token(q, key)
  if count == 0 then return end
  local name, tokens, since = bucket(q, key)
  keep_tokens(name, math.min(count, tokens + 1), since)
end

-- 0: taken; else so many ms until there is one.
local function take_token(q, key)
  local name, tokens, since = bucket(q, key)
  if tokens < 1 - 1e-6 then return math.max(1, math.ceil((1 - tokens) * per / count)) end
  keep_tokens(name, tokens - 1, since)
  return 0
end
"""

_TAKE = """
local SCAN = 200
local soon = -1
local function within(ms)
  if ms and (soon < 0 or ms < soon) then soon = math.max(0, ms) end
end

local function give(q, id, st, row, body)
  call('ZREM', row, id)
  call('ZREM', q.waiting, id)
  if st[EXPIRES] > 0 then call('ZREM', q.expiry, id) end
  call('ZADD', q.active, clock + lease, id)
  st[OWNER] = token
  save(q, id, st)
  given[#given + 1] = id
  given[#given + 1] = body
  given[#given + 1] = has_past and call('HGET', q.past, id) or ''
  given[#given + 1] = score_text(st[SCORE])
  given[#given + 1] = score_text(st[DUE])
  given[#given + 1] = score_text(st[EXPIRES])
  given[#given + 1] = st[KEY]
  bytes = bytes - #body
  want = want - 1
end

-- The rows to look at, first ones first.
local function candidates(q)
  if q.mode ~= '' then return call('ZRANGE', q.ready, 0, SCAN - 1) end
  return call('ZRANGE', q.ready, 0, skipped)
end

-- Take one message of a row.  Returns what became of it:
-- 'given', 'again' (look at the row once more), 'next' (another row), 'stop'.
local function from_row(q, name)
  local row = q.base .. 'row:' .. q.gen .. ':' .. name
  local head = call('ZRANGE', row, 0, 0, 'WITHSCORES')
  local id = head[1]
  if not id then
    call('ZREM', q.ready, name)
    return 'again'
  end
  if q.mode == '' then
    local known = call('ZSCORE', q.ready, name)
    if tonumber(known) < tonumber(head[2]) then
      -- What was first is gone: others may come before it now.
      call('ZADD', q.ready, head[2], name)
      return 'again'
    end
  end
  local st, body = load(q, id), call('HGET', q.jobs, id)
  if not st or not body then
    -- Somebody else was here.
    call('ZREM', row, id)
    call('ZREM', q.waiting, id)
    finish(q, id)
    return 'again'
  end
  if without[st[TARGET]] then
    if q.mode ~= '' then call('ZADD', q.ready, call('HINCRBY', q.meta, 'turn', 1), name) end
    return 'next'
  end
  if st[EXPIRES] > 0 and st[EXPIRES] <= now then
    pull(q, id, st)
    bury(q, id, st, 'expired')
    return 'again'
  end
  if q.mode ~= '' then
    local runs = tonumber(call('HGET', q.base .. 'busy:' .. q.gen, st[KEY]) or '0')
    if runs >= per_key then
      call('ZREM', q.ready, name)
      call('SADD', q.base .. 'parked:' .. q.gen .. ':' .. st[KEY], name)
      return 'next'
    end
    if st[DUE] > now and q.mode ~= 'k' then
      call('ZREM', q.ready, name)
      call('ZADD', q.blocked, st[DUE], name)
      return 'next'
    end
  end
  if count > 0 then
    local wait = take_token(q, st[KEY])
    if wait > 0 then
      if q.mode == '' or not by_key then
        within(wait)
        return 'stop'
      end
      call('ZREM', q.ready, name)
      call('ZADD', q.blocked, now + wait, name)
      return 'next'
    end
  end
  give(q, id, st, row, body)
  local following = call('ZRANGE', row, 0, 0, 'WITHSCORES')
  if not following[1] then
    call('ZREM', q.ready, name)
  elseif q.mode == '' then
    call('ZADD', q.ready, following[2], name)
  else
    call('ZADD', q.ready, call('HINCRBY', q.meta, 'turn', 1), name)
  end
  if q.mode ~= '' then call('HINCRBY', q.base .. 'busy:' .. q.gen, st[KEY], 1) end
  return 'given'
end

-- Take up to ``want``; returns whether there may be more.
local function take(q)
  local looked = 0
  while want > 0 and bytes > 0 do
    local rows = candidates(q)
    local found = false
    for _, name in ipairs(rows) do
      if want == 0 or bytes <= 0 then return true end
      if not (q.mode == '' and without[name]) then
        local what = from_row(q, name)
        looked = looked + 1
        if what == 'stop' then return false end
        if looked >= SCAN then return true end
        if what ~= 'next' then found = true end
        -- Without keys the first row comes next, whichever that is now.
        if q.mode == '' and what ~= 'next' then break end
      end
    end
    if not found then return false end
  end
  return want > 0
end
"""

#: What follows the head in ARGV: queue, token, lease, whether leases that ran out count,
#: slots of a key, rate limit (count, 0: none; its period; '1': per key),
#: messages wanted, bytes wanted, targets that nobody here can run (their number first),
#: outcomes (their number first): kind, id, token, due, past;
#: and, if the engine isn't sure what it holds, '1' and what it knows of (their number first).
#:
#: Kinds: D done, F failed, B failed for the last time, R returned, A absent.
#:
#: The answer: 1 if there is more to do at once, ms until there is (-1: nothing in sight),
#: 1 if rows have to be made anew, and seven parts of each message that was given.
WORK = Script(
    "local delivered, failures, given, bytes, want, token, lease, per_key = 0, 0, {}\n"
    "local count, per, by_key, without, skipped, has_past, give_token\n"
    + HEAD
    + WAITING
    + SWEEPS
    + _LEASES
    + _RATE
    + _OUTCOMES
    + _TAKE
    + """
local q = open(arg())
token, lease = arg(), num()
local judge = arg() == '1'
per_key, count, per, by_key = num(), num(), num(), arg() == '1'
if q.mode == 'o' or q.mode == 's' then per_key = 1 end
want, bytes, without, skipped = num(), num(), {}, num()
for _ = 1, skipped do without[arg()] = true end

for _ = 1, num() do
  local kind, id, held, due, past = arg(), arg(), arg(), num(), arg()
  outcome(q, kind, id, held, due, past)
end
if delivered > 0 then call('HINCRBY', q.meta, 'delivered', delivered) end
if failures > 0 then call('HINCRBY', q.meta, 'failed', failures) end

if arg() == '1' then
  -- What was given to this engine without its knowing.
  local known = {}
  for _ = 1, num() do known[arg()] = true end
  for _, id in ipairs(call('ZRANGE', q.active, 0, -1)) do
    local st = load(q, id)
    if st and not known[id] and string.sub(st[OWNER], 1, #me) == me then give_back(q, id, st) end
  end
end

local more = sweep(q)
if judge then
  local lost = call('ZRANGEBYSCORE', q.active, '-inf', clock, 'LIMIT', 0, SWEEP)
  for _, id in ipairs(lost) do
    local st = load(q, id)
    if st then give_back(q, id, st) else call('ZREM', q.active, id) end
  end
  more = more or #lost == SWEEP
end

if want > 0 and not q.paused and not q.rekey then
  has_past = call('EXISTS', q.past) == 1
  more = take(q) or more
end

wake(q)
if want > 0 and q.hungry ~= me and q.hungry ~= '*' then
  call('HSET', q.meta, 'hungry', q.hungry == '' and me or '*')
end
local function head(zset, from, least)
  local first = call('ZRANGE', zset, 0, 0, 'WITHSCORES')[2]
  if first then within(math.max(least, tonumber(first) - from)) end
end
if call('EXISTS', q.delayed, q.expiry, q.blocked) > 0 then
  head(q.delayed, now, 0)
  head(q.blocked, now, 0)
  head(q.expiry, now, 0)
end
head(q.active, clock, 1000)
return {more and 1 or 0, soon, q.rekey and 1 or 0, unpack(given)}
""",
    0,
)

"""The scripts for what people ask of messages that are there.

What may be much is done in pieces: a script goes through so many messages and is asked
again.
"""

from __future__ import annotations

from iii.modules.queue.adapters.redis.script_parts import HEAD, SWEEPS, WAITING
from iii.redis import Script

#: After the head: queue.  Waiting, delayed, active, dead, delivered, failed, paused.
COUNTS = Script(
    HEAD
    + WAITING
    + SWEEPS
    + """
local q = open(arg())
sweep(q)
local totals = call('HMGET', q.meta, 'delivered', 'failed')
return {
  call('ZCARD', q.waiting), call('ZCARD', q.delayed), call('ZCARD', q.active),
  call('ZCARD', q.dlq), tonumber(totals[1] or 0), tonumber(totals[2] or 0),
  q.paused and 1 or 0
}
""",
    0,
)

_ROW = """
local rows = {}
local function show(q, id, rank)
  local st, body = load(q, id), call('HGET', q.jobs, id)
  if not st or not body then return end
  rows[#rows + 1] = id
  rows[#rows + 1] = body
  rows[#rows + 1] = call('HGET', q.past, id) or ''
  rows[#rows + 1] = score_text(st[SCORE])
  rows[#rows + 1] = score_text(st[DUE])
  rows[#rows + 1] = score_text(st[EXPIRES])
  rows[#rows + 1] = st[KEY]
  rows[#rows + 1] = st[REASON]
  rows[#rows + 1] = rank
end
"""

#: Some messages.  After the head: queue, set (waiting, delayed, active, dlq), '1' for the last
#: ones first, how many.  Nine parts of each; the last is its place in the set.
LIST = Script(
    HEAD
    + WAITING
    + SWEEPS
    + _ROW
    + """
local q, zset, last_first, limit = open(arg()), arg(), arg() == '1', num()
sweep(q)
local command = last_first and 'ZREVRANGE' or 'ZRANGE'
local found = call(command, q[zset], 0, limit - 1, 'WITHSCORES')
for n = 1, #found, 2 do show(q, found[n], found[n + 1]) end
return rows
""",
    0,
)

#: Dead letters, oldest first.  After the head: queue, behind which place, up to which, how many.
DEAD = Script(
    HEAD
    + _ROW
    + """
local q, after, up_to, limit = open(arg()), arg(), arg(), num()
local found = call('ZRANGEBYSCORE', q.dlq, '(' .. after, up_to, 'WITHSCORES', 'LIMIT', 0, limit)
for n = 1, #found, 2 do show(q, found[n], found[n + 1]) end
return rows
""",
    0,
)

#: Dead letters by receipt.  After the head: queue, receipts (their number first).
DEAD_BY_ID = Script(
    HEAD
    + _ROW
    + """
local q = open(arg())
local twins = tonumber(call('HGET', q.meta, 'twins') or '0')
for _ = 1, num() do
  local id = arg()
  for twin = 0, twins do
    local member = twin == 0 and id or id .. '~' .. twin
    local rank = call('ZSCORE', q.dlq, member)
    if rank then show(q, member, rank) end
  end
end
return rows
""",
    0,
)

#: Dead letters wait again, at the end.  After the head: queue, how many, and id and new message
#: ('' : the old one) of each.  The answer: which of them did (1 or 0).
REDRIVE = Script(
    HEAD
    + WAITING
    + """
local SEQ = P .. ':q:seq'
local q, done = open(arg()), {}
for n = 1, num() do
  local id, body = arg(), arg()
  local st = load(q, id)
  done[n] = call('ZREM', q.dlq, id)
  if done[n] == 1 then
    local urgency = math.floor(st[SCORE] / URGENCY)
    st[SCORE] = urgency * URGENCY + FRESH + call('INCR', SEQ)
    st[EXPIRES], st[DUE], st[OWNER], st[REASON] = 0, 0, '', ''
    call('HDEL', q.past, id)
    if body ~= '' then
      call('HSET', q.jobs, id, body)
      -- Its key may be another one.
      if q.keyfield ~= '' then st[GEN] = -1 end
    end
    save(q, id, st)
    push(q, id, st)
  end
end
wake(q)
return done
""",
    0,
)

#: Dead letters go.  After the head: queue, ids (their number first).  Which did (1 or 0).
DISCARD = Script(
    HEAD
    + WAITING
    + """
local q, done = open(arg()), {}
for n = 1, num() do
  local id = arg()
  done[n] = call('ZREM', q.dlq, id)
  if done[n] == 1 then finish(q, id) end
end
return done
""",
    0,
)

#: The oldest dead letters go.  After the head: queue, how many may stay (-1: all), up to which
#: place they are too old (-1: none), how many at most.  How many went.
TRIM = Script(
    HEAD
    + WAITING
    + """
local q, most, old, limit = open(arg()), num(), num(), num()
local gone = 0
while gone < limit do
  local first = call('ZRANGE', q.dlq, 0, 0, 'WITHSCORES')
  if not first[1] then break end
  local too_many = most >= 0 and call('ZCARD', q.dlq) > most
  if not too_many and tonumber(first[2]) > old then break end
  call('ZREM', q.dlq, first[1])
  finish(q, first[1])
  gone = gone + 1
end
return gone
""",
    0,
)

#: Messages go.  After the head: queue, set (waiting, delayed, dlq), how many at most.
PURGE = Script(
    HEAD
    + WAITING
    + SWEEPS
    + """
local q, zset, limit = open(arg()), arg(), num()
sweep(q)
local ids = call('ZRANGE', q[zset], 0, limit - 1)
for _, id in ipairs(ids) do
  local st = load(q, id)
  if zset == 'dlq' then call('ZREM', q.dlq, id) else pull(q, id, st) end
  finish(q, id)
end
return #ids
""",
    0,
)

#: Messages go to other queues, the first gets the message, the others copies.  After the head:
#: queue, set (waiting, delayed), how many at most, queues (their number first).
MOVE = Script(
    HEAD
    + WAITING
    + SWEEPS
    + """
local source, zset, limit = open(arg()), arg(), num()
local targets = {}
for n = 1, num() do targets[n] = open(arg()) end
sweep(source)
local ids = call('ZRANGE', source[zset], 0, limit - 1)
for _, id in ipairs(ids) do
  local st, body, past = load(source, id), call('HGET', source.jobs, id),
    call('HGET', source.past, id)
  pull(source, id, st)
  finish(source, id)
  for _, q in ipairs(targets) do
    local member, twin = id, 0
    while call('HSETNX', q.jobs, member, body) == 0 do
      twin = twin + 1
      member = id .. '~' .. twin
    end
    if twin > 0 then call('HSET', q.meta, 'twins', twin) end
    if past then call('HSET', q.past, member, past) end
    local key = q.keyfield == '' and '' or st[KEY]
    -- A key that was made from another field has to be made anew.
    local gen = (q.keyfield == '' or q.keyfield == source.keyfield) and q.gen or -1
    local copy = {st[SCORE], gen, row_of(q.mode, key, st[TARGET]), key, st[TARGET],
      st[EXPIRES], st[DUE], '', ''}
    save(q, member, copy)
    if zset == 'waiting' then
      push(q, member, copy)
    else
      call('ZADD', q.delayed, st[DUE], member)
      if st[EXPIRES] > 0 then call('ZADD', q.expiry, st[EXPIRES], member) end
    end
  end
end
for _, q in ipairs(targets) do
  wake(q)
  if zset == 'delayed' then call('PUBLISH', P .. ':q:wake', me .. ' ' .. q.name) end
end
return #ids
""",
    0,
)

_COPIES = """
local id, copies, state = arg(), {}, 'unknown'
local sweeping = {}
for _ = 1, num() do
  local q = open(arg())
  local twins = tonumber(call('HGET', q.meta, 'twins') or '0')
  for twin = 0, twins do
    local member = twin == 0 and id or id .. '~' .. twin
    local st = load(q, member)
    if st then
      if not sweeping[q.name] then
        sweeping[q.name] = true
        sweep(q)
        st = load(q, member)
      end
      copies[#copies + 1] = {q, member, st}
    end
  end
end
local function each(change)
  for _, copy in ipairs(copies) do
    local q, member, st = copy[1], copy[2], copy[3]
    if call('ZSCORE', q.active, member) then
      if state == 'unknown' then state = 'active' end
    elseif call('ZSCORE', q.dlq, member) then
      if state == 'unknown' then state = 'dead' end
    else
      state = pull(q, member, st) or state
      change(q, member, st)
    end
  end
  return state
end
"""

#: Copies that wait or are delayed go.  After the head: receipt, all queues (their number first).
#: The answer: the state they were in.
CANCEL = Script(
    HEAD
    + WAITING
    + SWEEPS
    + _COPIES
    + """
return each(finish)
""",
    0,
)

#: They are due at another time, which stands before the receipt.
RESCHEDULE = Script(
    HEAD
    + WAITING
    + SWEEPS
    + "local due = num()\n"
    + _COPIES
    + """
return each(function(q, member, st)
  st[DUE] = due > now and due or 0
  save(q, member, st)
  if due > now then
    call('ZADD', q.delayed, due, member)
    if st[EXPIRES] > 0 then call('ZADD', q.expiry, st[EXPIRES], member) end
    call('PUBLISH', P .. ':q:wake', me .. ' ' .. q.name)
  else
    push(q, member, st)
    wake(q)
  end
end)
""",
    0,
)

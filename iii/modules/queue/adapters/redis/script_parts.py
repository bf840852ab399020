"""What the Lua scripts of the queue have in common, and how a queue lies in Redis.

All keys of a queue begin with ``<prefix>:{q:<queue>}:``.

``jobs``       hash  id → the message as the engines write it; never read here
``past``       hash  id → what its failed attempts were; never read here
``state``      hash  id → what the scripts have to know about it (``_S`` below)
``waiting``    zset  id, by its score: urgency, then order; everything that may run
``delayed``    zset  id, by the time it is due
``expiry``     zset  id, by the time it is good until; what waits or is delayed only
``active``     zset  id, by the time its lease runs out (Redis's clock)
``dlq``        zset  id, by the time it died
``row:<gen>:<row>``  zset  a part of ``waiting``: one target, or one key
``ready``      zset  rows that have something to run: by their first message, or taking turns
``blocked``    zset  rows of which nothing may run before a time
``busy:<gen>``       hash  key → how many of its messages run
``parked:<gen>:<key>``  set  rows that are not ready because their key runs as many as it may
``bucket:<key>``     tokens of the rate limit
``engines``    zset  engines with triggers for it, by the time their lease runs out
``meta``       hash  settings and counters

``waiting`` is the truth, rows are an index of it.  How they are made is the queue's mode:
``''`` one per target, ``k`` one per key and target, ``o`` one per key, in order, ``s`` one
for all, in order.  Another mode is another *generation*: nothing runs until every waiting
message was given its row of the new one: ``rekey`` in ``meta`` is the cursor through
``waiting``, and what came into it since without a row is in the zset ``late`` as well.

Times that people give are the engines'; only leases go by Redis's clock.
"""

from __future__ import annotations

#: ARGV: prefix, the engine's time, the engine, and what the script takes.
HEAD = """
local P, now, me = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local call = redis.call
local at = 3
local function arg() at = at + 1 return ARGV[at] end
local function num() return tonumber(arg()) end

-- A state: score, generation, row, key, target, expires, due, owner, reason.
local SCORE, GEN, ROW, KEY, TARGET, EXPIRES, DUE, OWNER, REASON = 1, 2, 3, 4, 5, 6, 7, 8, 9
local URGENCY, FRESH, EPOCH = 562949953421312, 281474976710656, 1600000000000

local opened = {}
local function open(name)
  local q = opened[name]
  if q then return q end
  local base = P .. ':{q:' .. name .. '}:'
  local meta = base .. 'meta'
  local m = call('HMGET', meta, 'gen', 'mode', 'keyfield', 'delay', 'ttl', 'paused', 'rekey',
    'hungry')
  q = {
    name = name, base = base, meta = meta, jobs = base .. 'jobs', past = base .. 'past',
    state = base .. 'state', waiting = base .. 'waiting', delayed = base .. 'delayed',
    expiry = base .. 'expiry', active = base .. 'active', dlq = base .. 'dlq',
    ready = base .. 'ready', blocked = base .. 'blocked', late = base .. 'late',
    gen = tonumber(m[1] or 0), mode = m[2] or '', keyfield = m[3] or '',
    delay = tonumber(m[4] or 0), ttl = tonumber(m[5] or 0), paused = m[6] == '1',
    rekey = m[7], hungry = m[8] or ''
  }
  opened[name] = q
  return q
end

local function load(q, id)
  local packed = call('HGET', q.state, id)
  return packed and cmsgpack.unpack(packed)
end
local function save(q, id, st) call('HSET', q.state, id, cmsgpack.pack(st)) end
local function row_key(q, st) return q.base .. 'row:' .. st[GEN] .. ':' .. st[ROW] end
local function row_of(mode, key, target)
  if mode == '' then return target end
  if mode == 'k' then return key .. '\\0' .. target end
  if mode == 'o' then return key end
  return ''
end
local function score_text(score) return string.format('%.0f', score) end
"""

#: A message comes into ``waiting`` or leaves it; rows become ready.
WAITING = """
local function make_ready(q, row)
  if not call('ZSCORE', q.ready, row) and not call('ZSCORE', q.blocked, row) then
    call('ZADD', q.ready, call('HINCRBY', q.meta, 'turn', 1), row)
  end
end

local function push(q, id, st)
  local score = st[SCORE]
  call('ZADD', q.waiting, score, id)
  if st[EXPIRES] > 0 then call('ZADD', q.expiry, st[EXPIRES], id) end
  if st[GEN] ~= q.gen then
    call('ZADD', q.late, score, id)
    if not q.rekey then
      q.rekey = '+inf'
      call('HSET', q.meta, 'rekey', q.rekey)
    end
    return
  end
  call('ZADD', row_key(q, st), score, id)
  if q.mode ~= '' then return make_ready(q, st[ROW]) end
  local first = call('ZSCORE', q.ready, st[ROW])
  if not first or score < tonumber(first) then call('ZADD', q.ready, score, st[ROW]) end
end

local function unblock(q, row)
  call('ZREM', q.blocked, row)
  if call('EXISTS', q.base .. 'row:' .. q.gen .. ':' .. row) == 1 then make_ready(q, row) end
end

-- Out of where it waits or is delayed; true if it was there.
local function pull(q, id, st)
  if st[EXPIRES] > 0 then call('ZREM', q.expiry, id) end
  if call('ZREM', q.delayed, id) == 1 then return 'delayed' end
  if call('ZREM', q.waiting, id) == 0 then return false end
  call('ZREM', row_key(q, st), id)
  if st[GEN] ~= q.gen then call('ZREM', q.late, id) end
  if (q.mode == 'o' or q.mode == 's') and st[GEN] == q.gen then unblock(q, st[ROW]) end
  return 'waiting'
end

local function finish(q, id)
  call('HDEL', q.jobs, id)
  call('HDEL', q.state, id)
  call('HDEL', q.past, id)
end

local function bury(q, id, st, reason)
  local rank = now * 1000 + call('HINCRBY', q.meta, 'buried', 1) % 1000
  st[OWNER], st[REASON] = '', reason
  call('ZADD', q.dlq, rank, id)
  save(q, id, st)
end

-- Wake engines that would run more than they were given.  ``hungry`` names the one, or says
-- '*'; this one needs no call: it asks behind whatever it puts.
local function wake(q)
  if q.hungry == '' or q.hungry == me or q.paused then return end
  if call('EXISTS', q.waiting) == 0 then return end
  q.hungry = ''
  call('HSET', q.meta, 'hungry', '')
  call('PUBLISH', P .. ':q:wake', me .. ' ' .. q.name)
end
"""

#: What only the time changes.  Each returns whether there is more to do.
SWEEPS = """
local SWEEP = 500

local function promote(q)
  local due = call('ZRANGEBYSCORE', q.delayed, '-inf', now, 'LIMIT', 0, SWEEP)
  for _, id in ipairs(due) do
    call('ZREM', q.delayed, id)
    local st = load(q, id)
    if st then
      st[DUE] = 0
      save(q, id, st)
      push(q, id, st)
    end
  end
  return #due == SWEEP
end

local function expire(q)
  local over = call('ZRANGEBYSCORE', q.expiry, '-inf', now, 'LIMIT', 0, SWEEP)
  for _, id in ipairs(over) do
    local st = load(q, id)
    call('ZREM', q.expiry, id)
    if st and pull(q, id, st) then bury(q, id, st, 'expired') end
  end
  return #over == SWEEP
end

local function unblock_due(q)
  local due = call('ZRANGEBYSCORE', q.blocked, '-inf', now, 'LIMIT', 0, SWEEP)
  for _, row in ipairs(due) do unblock(q, row) end
  return #due == SWEEP
end

local function sweep(q)
  if call('EXISTS', q.delayed, q.expiry, q.blocked) == 0 then return false end
  local more = promote(q)
  more = expire(q) or more
  return unblock_due(q) or more
end
"""

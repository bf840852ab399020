"""The scripts about queues as such: what is known of them, and how their rows are made."""

from __future__ import annotations

from iii.modules.queue.adapters.redis.script_parts import HEAD, WAITING
from iii.redis import Script

#: After the head: queue, its text, its topic ('' : a named queue), lease of this engine,
#: what other engines are told, and facts (their number first): name, JSON.
#:
#: ``subscribed`` false is not written while another engine has triggers for the queue;
#: then 0 is answered.
REMEMBER = Script(
    HEAD
    + """
local q = open(arg())
local text, topic, lease, news = arg(), arg(), num(), arg()
local time = call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
local engines, facts = q.base .. 'engines', P .. ':q:facts'
local changes = {'queue ' .. text, q.name}
for _ = 1, num() do
  local name, value = arg(), arg()
  if name == 'subscribed' then
    if value == 'true' then
      call('ZADD', engines, clock + lease, me)
      call('SADD', P .. ':q:groups:' .. topic, q.name)
    else
      call('ZREM', engines, me)
      if call('ZCOUNT', engines, clock, '+inf') > 0 then return 0 end
      call('SREM', P .. ':q:groups:' .. topic, q.name)
    end
  elseif name == 'paused' then
    call('HSET', q.meta, 'paused', value == 'true' and '1' or '0')
    -- Whoever has slots is to look again.
    call('PUBLISH', P .. ':q:wake', me .. ' ' .. q.name)
  end
  changes[#changes + 1] = name .. ' ' .. text
  changes[#changes + 1] = value
end
call('HSET', facts, unpack(changes))
call('PUBLISH', P .. ':q:news', me .. ' ' .. news)
return 1
""",
    0,
)

#: Forget a queue that has nothing any more.  After the head: queue, text, news, the names of
#: all facts (their number first).  1: it is forgotten.
FORGET = Script(
    HEAD
    + """
local q = open(arg())
local text, news = arg(), arg()
for _, zset in ipairs({q.waiting, q.delayed, q.active, q.dlq}) do
  if call('EXISTS', zset) == 1 then return 0 end
end
local facts = P .. ':q:facts'
call('HDEL', facts, 'queue ' .. text)
for _ = 1, num() do call('HDEL', facts, arg() .. ' ' .. text) end
call('DEL', q.meta, q.ready, q.blocked, q.expiry, q.late, q.base .. 'engines')
call('PUBLISH', P .. ':q:news', me .. ' ' .. news)
return 1
""",
    0,
)

#: How a queue is worked off.  After the head: queue, mode, key field, delay, ttl.
CONSUME = Script(
    HEAD
    + """
local q = open(arg())
local mode, field, delay, ttl = arg(), arg(), arg(), arg()
call('HSET', q.meta, 'delay', delay, 'ttl', ttl)
if mode == q.mode and field == q.keyfield then return 0 end
call('HSET', q.meta, 'mode', mode, 'keyfield', field, 'rekey', '-inf')
call('HINCRBY', q.meta, 'gen', 1)
call('DEL', q.ready, q.blocked)
return 1
""",
    0,
)

#: Messages that need a row of the present generation.  After the head: queue, how many.
#: The answer: the key field, the generation, the part of the work that they are, and id and
#: message of each.  The parts: ``late``, and then everything that waits, by its score.
UNKEYED = Script(
    HEAD
    + """
local q, limit = open(arg()), num()
local found = {q.keyfield, tostring(q.gen), ''}
if not q.rekey then return found end
local ids = call('ZRANGE', q.late, 0, limit - 1)
found[3] = 'late'
if #ids == 0 then
  found[3] = q.rekey
  ids = call('ZRANGEBYSCORE', q.waiting, q.rekey, '+inf', 'LIMIT', 0, limit)
end
for _, id in ipairs(ids) do
  found[#found + 1] = id
  found[#found + 1] = call('HGET', q.jobs, id)
end
return found
""",
    0,
)

#: Give them their rows.  After the head: queue, generation, part, how many were asked for, how
#: many there are, and id and key of each.  1: there are more.
REKEY = Script(
    HEAD
    + WAITING
    + """
local q, gen, part, limit, n = open(arg()), arg(), arg(), num(), num()
if not q.rekey then return 0 end
if tostring(q.gen) ~= gen then return 1 end
local last = tonumber(part)
for _ = 1, n do
  local id, key = arg(), arg()
  local st = call('ZSCORE', q.waiting, id) and load(q, id)
  call('ZREM', q.late, id)
  if st then
    if st[GEN] ~= q.gen then call('ZREM', row_key(q, st), id) end
    st[GEN], st[KEY], st[ROW] = q.gen, key, row_of(q.mode, key, st[TARGET])
    save(q, id, st)
    push(q, id, st)
    if last and st[SCORE] > last then last = st[SCORE] end
  end
end
-- Another engine may be further.
if part == q.rekey then
  q.rekey = n == limit and score_text(last + 1) or '+inf'
  call('HSET', q.meta, 'rekey', q.rekey)
end
if q.rekey ~= '+inf' or call('EXISTS', q.late) == 1 then return 1 end
call('HDEL', q.meta, 'rekey')
q.rekey = false
wake(q)
return 0
""",
    0,
)

#: Leases go on.  After the head: lease, how many, and queue, id and token of each.  The
#: answer: the numbers of those that are held no more.
RENEW = Script(
    HEAD
    + """
local lease = num()
local time = call('TIME')
local clock = time[1] * 1000 + math.floor(time[2] / 1000)
local lost = {}
for n = 1, num() do
  local q, id, token = open(arg()), arg(), arg()
  if token == '' then
    call('ZADD', q.base .. 'engines', clock + lease, me)
  else
    local st = load(q, id)
    if st and st[OWNER] == token then
      call('ZADD', q.active, clock + lease, id)
    else
      lost[#lost + 1] = n
    end
  end
end
return lost
""",
    0,
)

"""The script that keeps new messages: many at once, each in all its queues or in none."""

from __future__ import annotations

from iii.modules.queue.adapters.redis.script_parts import HEAD, WAITING
from iii.redis import Script

#: What follows the head in ARGV: how many messages, and of each
#: id, body, target, due, ttl ('' : the queue's), urgency,
#: idempotency key ('' : none), how long it counts,
#: topic ('' : a named queue), queues (their number first),
#: pairs of key field and key (their number first).
#:
#: The answer has one entry for each: '' (kept), the id of the first message with its
#: idempotency key, or a list of the field that a queue's keys are made from, when that was
#: not among the pairs; then nothing was done for this message.
PUT = Script(
    HEAD
    + WAITING
    + """
local SEQ = P .. ':q:seq'
local seq = tonumber(call('GET', SEQ) or '0')
local touched, outcomes = {}, {}

local function keep(q, id, body, target, due, ttl, urgency, keys)
  if q.delay > 0 then due = math.max(due, now) + q.delay end
  if ttl == '' then ttl = q.ttl else ttl = tonumber(ttl) end
  local expires = ttl > 0 and math.max(due, now) + ttl or 0
  seq = seq + 1
  local key = q.keyfield ~= '' and keys[q.keyfield] or ''
  local member, twin = id, 0
  while call('HSETNX', q.jobs, member, body) == 0 do
    twin = twin + 1
    member = id .. '~' .. twin
  end
  if twin > 0 and twin > tonumber(call('HGET', q.meta, 'twins') or '0') then
    call('HSET', q.meta, 'twins', twin)
  end
  local st = {urgency * URGENCY + FRESH + seq, q.gen, row_of(q.mode, key, target), key, target,
    expires, due > now and due or 0, '', ''}
  save(q, member, st)
  touched[q.name] = q
  if due <= now then return push(q, member, st) end
  call('ZADD', q.delayed, due, member)
  if expires > 0 then call('ZADD', q.expiry, expires, member) end
  if call('ZRANGE', q.delayed, 0, 0)[1] == member then
    -- Whoever waits for a later one has to know.
    call('PUBLISH', P .. ':q:wake', me .. ' ' .. q.name)
  end
end

for n = 1, num() do
  local id, body, target, due, ttl, urgency = arg(), arg(), arg(), num(), arg(), num()
  local once, once_ms, topic = arg(), num(), arg()
  local names, keys = {}, {}
  for i = 1, num() do names[i] = arg() end
  for i = 1, num() do
    local field = arg()
    keys[field] = arg()
  end
  local outcome = ''
  local once_key = P .. ':q:once:' .. once
  if once ~= '' then
    local known = call('GET', once_key)
    local until_ms, first = string.match(known or '', '^(%d+) (.*)$')
    if until_ms and tonumber(until_ms) > now then outcome = first end
  end
  if outcome == '' then
    if topic ~= '' then
      -- The groups that there are, not those that the sender knew of.
      local groups = call('SMEMBERS', P .. ':q:groups:' .. topic)
      if #groups > 0 then names = groups end
    end
    for _, name in ipairs(names) do
      local field = open(name).keyfield
      if field ~= '' and not keys[field] then outcome = {field} end
    end
  end
  if outcome == '' then
    for _, name in ipairs(names) do
      keep(open(name), id, body, target, due, ttl, urgency, keys)
    end
    if once ~= '' then
      call('SET', once_key, score_text(now + once_ms) .. ' ' .. id, 'PX', once_ms)
    end
  end
  outcomes[n] = outcome
end
call('SET', SEQ, score_text(seq))
for _, q in pairs(touched) do wake(q) end
return outcomes
""",
    0,
)

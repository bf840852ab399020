"""What a store of hashes does inside Redis, each in one step.

A bucket is a hash, as engines of the original have it: field → value.  Beside it stands a
sorted set of its fields, in the order in which they were first written, which the
original does not know.  What it wrote or took out meanwhile is found when the bucket is
read, and entered there behind everything else.

KEYS of all: the hash, its order, the counter of positions.
"""

from __future__ import annotations

from typing import NamedTuple

from iii.redis.script import Script

KEYS = 3
#: Answer of ``swap``: it was done.  Otherwise the answer is a list with what is there.
SWAPPED = 1

_SET = """
local old = redis.call('HGET', KEYS[1], ARGV[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if not old then
  redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[3]), ARGV[1])
end
{tell}
return old
"""

_DELETE = """
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old then
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
  {tell}
end
return old
"""

# ARGV field, was there one, which, is there to be one, which, and what is to be told:
# a channel, messages.
_SWAP = """
local old = redis.call('HGET', KEYS[1], ARGV[1])
if old ~= (ARGV[2] == '1' and ARGV[3]) then return {{old}} end
if ARGV[4] == '1' then
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[5])
  if not old then
    redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[3]), ARGV[1])
  end
else
  redis.call('HDEL', KEYS[1], ARGV[1])
  redis.call('ZREM', KEYS[2], ARGV[1])
end
for i = 7, #ARGV do redis.call('PUBLISH', ARGV[6], ARGV[i]) end
return {swapped}
"""

_ADOPT = """
local function adopt()
  for _, field in ipairs(redis.call('ZRANGE', KEYS[2], 0, -1)) do
    if redis.call('HEXISTS', KEYS[1], field) == 0 then
      redis.call('ZREM', KEYS[2], field)
    end
  end
  for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
    if not redis.call('ZSCORE', KEYS[2], field) then
      redis.call('ZADD', KEYS[2], redis.call('INCR', KEYS[3]), field)
    end
  end
end
"""

# All values, or all keys (ARGV 'keys'), oldest key first.
LIST = Script(
    _ADOPT
    + """
local function list()
  local held, found = {}, {}
  local all = redis.call('HGETALL', KEYS[1])
  for i = 1, #all, 2 do held[all[i]] = all[i + 1] end
  local order = redis.call('ZRANGE', KEYS[2], 0, -1)
  if #order * 2 ~= #all then return false end
  for i, field in ipairs(order) do
    local value = held[field]
    if not value then return false end
    found[i] = value
  end
  if ARGV[1] == 'keys' then return order end
  return found
end
local found = list()
if not found then
  adopt()
  found = list()
end
return found
""",
    KEYS,
)

# A part of it: whether it is the last, how many keys there are, then key, position and
# value of each.  ARGV: behind this position, at most so many, before so many bytes.
PAGE = Script(
    _ADOPT
    + """
local limit, most = tonumber(ARGV[2]), tonumber(ARGV[3])
local total = redis.call('HLEN', KEYS[1])
local function page()
  if redis.call('ZCARD', KEYS[2]) ~= total then return false end
  local found, size = {1, total}, 0
  local order = redis.call(
    'ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[1], '+inf', 'WITHSCORES', 'LIMIT', 0, limit + 1)
  for i = 1, #order, 2 do
    size = size + #order[i] + redis.call('HSTRLEN', KEYS[1], order[i])
    if i > 1 and (i > 2 * limit or size > most) then
      found[1] = 0
      break
    end
    local value = redis.call('HGET', KEYS[1], order[i])
    if not value then return false end
    found[#found + 1] = order[i]
    found[#found + 1] = order[i + 1]
    found[#found + 1] = value
  end
  return found
end
local found = page()
if not found then
  adopt()
  found = page()
end
return found
""",
    KEYS,
)


# Which of the keys exist.
EXIST = Script(
    """
local exist = {}
for i, key in ipairs(KEYS) do exist[i] = redis.call('EXISTS', key) end
return exist
""",
    None,
)


class HashScripts(NamedTuple):
    """The writes of one kind of store.

    :ivar set: ARGV field, value, and what its ``tell`` takes; gives the old value
    :ivar delete: ARGV field, and what its ``tell`` takes; gives the old value
    :ivar swap: a compare-and-set, see above
    """

    set: Script
    delete: Script
    swap: Script

    @property
    def all(self) -> tuple[Script, ...]:
        """What Redis has to know."""
        return (*self, LIST, PAGE, EXIST)


def hash_scripts(*, written: str = "", deleted: str = "") -> HashScripts:
    """Scripts for a kind of store.

    :param written: Lua that runs after a set; ``old`` is what was there, false for nothing
    :param deleted: Lua that runs when something was taken out
    """
    return HashScripts(
        Script(_SET.format(tell=written), KEYS),
        Script(_DELETE.format(tell=deleted), KEYS),
        Script(_SWAP.format(swapped=SWAPPED), KEYS),
    )

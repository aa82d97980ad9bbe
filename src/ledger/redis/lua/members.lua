-- The servers that share this ledger: KEYS[1], a sorted set, has the end of each one's lease, in ms
-- by Redis' own clock; KEYS[2], a hash, when each joined and what it publishes.
--
-- ARGV[1] is the command: 'renew' the lease of ARGV[2], which joined at ARGV[3] (or joins now, if
-- that is empty) and publishes ARGV[4]; 'leave', to end that lease; or only 'look'. Each call
-- removes expired leases.
--
-- Reply: time, and whether the lease did not exist. The members are read after it, by commands of
-- their own: a text that passes through Lua is hashed, which would cost many times as much.
local LEASES, MEMBERS, call = KEYS[1], KEYS[2], redis.call
local verb, own = ARGV[1], ARGV[2]
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ends = string.format('%.0f', now + LEASE_MS)

local gone = call('ZRANGEBYSCORE', LEASES, '-inf', string.format('%.0f', now))
if verb == 'leave' then gone[#gone + 1] = own end
for _, id in ipairs(gone) do
  call('HDEL', MEMBERS, id)
  call('ZREM', LEASES, id)
end
-- Redis' clock was set back: no lease gets longer by that.
for _, id in ipairs(call('ZRANGEBYSCORE', LEASES, '(' .. ends, '+inf')) do
  call('ZADD', LEASES, ends, id)
end
if verb ~= 'renew' then return {now, 0} end

if not call('HGET', MEMBERS, own) and #call('ZRANGE', LEASES, 0, -1) >= MEMBERS_MAX then
  return redis.error_reply('STAMPEDE there are ' .. MEMBERS_MAX .. ' members already')
end
local since = ARGV[3] == '' and string.format('%.0f', now) or ARGV[3]
call('HSET', MEMBERS, own, since .. ' ' .. ARGV[4])
local is_new = call('ZADD', LEASES, ends, own)
if is_new == 1 then
  -- If leases were deleted by hand, the texts of missing members are removed too.
  local lives, all = {}, call('HGETALL', MEMBERS)
  for _, id in ipairs(call('ZRANGE', LEASES, 0, -1)) do lives[id] = true end
  for i = 1, #all, 2 do
    if not lives[all[i]] then call('HDEL', MEMBERS, all[i]) end
  end
end
return {now, is_new}

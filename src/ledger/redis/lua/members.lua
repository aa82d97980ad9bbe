-- The servers that share this ledger: a field of the hash KEYS[1] each, its id. The value is the end
-- of its lease and when it came, in ms by Redis' own clock, and what it says of itself.
--
-- ARGV[1] is what to do: 'renew' the lease of ARGV[2], which came at ARGV[3] (or comes now, if that
-- is empty) and says ARGV[4] of itself; 'leave', to end that lease; or only 'look'. Whoever comes
-- takes out those whose lease is over, and what is no member.
--
-- Reply: time, whether the lease was not there, then id, ms left, when it came and what it says, of
-- each.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local verb, own = ARGV[1], ARGV[2]

local count, known, reply = 0, false, {now, 0}

local function keep(id, ends, since, says)
  redis.call('HSET', KEYS[1], id, string.format('%.0f %.0f %s', ends, since, says))
end

local function tell(id, ends, since, says)
  count = count + 1
  reply[#reply + 1] = id
  reply[#reply + 1] = ends - now
  reply[#reply + 1] = since
  reply[#reply + 1] = says
end

local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local id = all[i]
  local ends, since, says = string.match(all[i + 1], '^(%d+) (%d+) (.*)$')
  ends, since = tonumber(ends), tonumber(since)
  if not ends or ends <= now or (id == own and verb == 'leave') then
    redis.call('HDEL', KEYS[1], id)
  elseif id == own then
    known = true
  else
    if ends > now + LEASE_MS then
      -- Redis' clock was set back: nobody's lease is longer for it.
      ends = now + LEASE_MS
      keep(id, ends, since, says)
    end
    tell(id, ends, since, says)
  end
end
if verb ~= 'renew' then return reply end

if count >= MEMBERS_MAX then
  return redis.error_reply('STAMPEDE there are ' .. count .. ' members already')
end
if not known then reply[2] = 1 end
local since = tonumber(ARGV[3]) or now
keep(own, now + LEASE_MS, since, ARGV[4])
tell(own, now + LEASE_MS, since, ARGV[4])
return reply

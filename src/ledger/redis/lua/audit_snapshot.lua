-- The counts of a sale, its stream and the groups that read it, and single entries of its other
-- keys, all at one point in time. Reads only. KEYS as in every script; ARGV[1], ARGV[2] are the
-- counters' fields, ARGV[3], ARGV[4] the numbers of claims and of users that follow; the other
-- arguments are members of the deadlines.
local call, unpack = redis.call, unpack
local claims, users = tonumber(ARGV[3]), tonumber(ARGV[4])

local function get(key, from, count)
  if count == 0 then return {} end
  return call('HMGET', key, unpack(ARGV, from, from + count - 1))
end

local function map(list)
  local map = {}
  for i = 1, #list, 2 do map[list[i]] = list[i + 1] end
  return map
end

local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stream, groups = {0, '0-0', 0}, {}
if call('EXISTS', KEYS[7]) == 1 then
  local info = map(call('XINFO', 'STREAM', KEYS[7]))
  stream = {info['length'], info['last-generated-id'], info['entries-added']}
  for i, group in ipairs(call('XINFO', 'GROUPS', KEYS[7])) do
    group = map(group)
    local pending = group['pending'] > 0 and call('XPENDING', KEYS[7], group['name'])[2]
    groups[i] = {group['name'], group['last-delivered-id'], pending or ''}
  end
end
local scores = {}
for i = 5 + claims + users, #ARGV do
  scores[#scores + 1] = call('ZSCORE', KEYS[6], ARGV[i])
end
return {now, call('EXISTS', KEYS[1]), call('HMGET', KEYS[1], ARGV[1], ARGV[2]),
  call('HMGET', KEYS[2], 'held', 'hold_ms', 'opens_at_ms', 'closes_at_ms', 'limit_per_user',
    'quantity_max', 'stream_trimmed', 'repairs', 'stream_retold', 'format', 'extend_max_ms',
    'quantity_min', 'reservations_max', 'reservations_per_user_max', 'types', 'by_type'),
  stream, groups, get(KEYS[4], 5, claims), get(KEYS[5], 5 + claims, users), scores}

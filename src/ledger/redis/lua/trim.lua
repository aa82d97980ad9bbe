-- Trims from a sale's stream (KEYS[2]) the entries that every group has processed and that are older
-- than ARGV[1] ms: only whole nodes of the stream, and at most about ARGV[2] entries, so that the
-- script does not block other clients for long. The number of trimmed entries is counted in the
-- sale's hash (KEYS[1]): with it, the audit distinguishes this trimming from entries that were deleted
-- by hand. ARGV[3] and on are the groups that read all streams: a group that has not begun to read
-- this one has not processed it either.
if redis.call('EXISTS', KEYS[2]) == 0 then return 0 end
local time = redis.call('TIME')
local min_ms, min_seq = time[1] * 1000 + math.floor(time[2] / 1000) - tonumber(ARGV[1]), 0

-- Entries from this one on stay.
local function keep(ms, seq)
  if ms < min_ms or ms == min_ms and seq < min_seq then min_ms, min_seq = ms, seq end
end

local groups = redis.call('XINFO', 'GROUPS', KEYS[2])
if #groups == 0 then return 0 end
local begun = {}
for _, group in ipairs(groups) do
  local map = {}
  for i = 1, #group, 2 do map[group[i]] = group[i + 1] end
  begun[map['name']] = true
  local ms, seq = string.match(map['last-delivered-id'], '^(%d+)-(%d+)$')
  keep(tonumber(ms), tonumber(seq) + 1)
  if map['pending'] > 0 then
    ms, seq = string.match(redis.call('XPENDING', KEYS[2], map['name'])[2], '^(%d+)-(%d+)$')
    keep(tonumber(ms), tonumber(seq))
  end
end
for i = 3, #ARGV do
  if not begun[ARGV[i]] then return 0 end
end
if min_ms <= 0 then return 0 end
-- A write to a key that is no hash, or without the right to it, would fail after the trimming.
redis.call('HLEN', KEYS[1])
local check = redis.acl_check_cmd
if check and not check('HINCRBY', KEYS[1], 'stream_trimmed', '1') then
  return redis.error_reply('NOPERM this user may not HINCRBY ' .. KEYS[1])
end
local id = string.format('%.0f-%.0f', min_ms, min_seq)
local trimmed = redis.call('XTRIM', KEYS[2], 'MINID', '~', id, 'LIMIT', ARGV[2])
if trimmed > 0 then redis.call('HINCRBY', KEYS[1], 'stream_trimmed', trimmed) end
return trimmed

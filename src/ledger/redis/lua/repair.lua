-- Repairs one kind of finding of an audit. KEYS as in every script; ARGV[1] is the prefix of a
-- reservation's field in characters, ARGV[2] the kind, ARGV[3] the number of repairs that the audit
-- had seen: after another one this audit is outdated, and nothing is done (reply: -1). Otherwise
-- the reply is the number of repaired things. Each one is checked again before it is written.
-- Counts are changed by their difference, not set: the sale goes on meanwhile, and every other
-- change of a count is by a difference as well.
local call, tonumber, find, sub, match = redis.call, tonumber, string.find, string.sub, string.match
local COUNTERS, SALE, RESERVATIONS, CLAIMS, USERS, DEADLINES, STREAM =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local PREFIX, what = tonumber(ARGV[1]), ARGV[2]

if (call('HGET', SALE, 'repairs') or '0') ~= ARGV[3] then return -1 end
if call('EXISTS', COUNTERS) == 0 then return -1 end
-- A right that is missing half way would leave half a repair.
local check = redis.acl_check_cmd
for _, write in ipairs({{'HSET', SALE, 'a', 'b'}, {'HSETNX', SALE, 'a', 'b'}, {'HDEL', SALE, 'a'},
  {'HINCRBY', SALE, 'a', '1'}, {'ZADD', DEADLINES, '0', 'a'}, {'ZREM', DEADLINES, 'a'},
  {'XADD', STREAM, '*', 'a', 'b'}}) do
  if check and not check(unpack(write)) then
    return redis.error_reply('STAMPEDE this user may not run ' .. write[1] .. ': nothing is repaired')
  end
end

local texts = {}
local function text(name)
  texts[name] = texts[name] or call('HGET', RESERVATIONS, name) or ''
  return texts[name]
end

-- The line of a reservation, its place and its field.
local function line(id)
  local name = sub(id, 1, PREFIX)
  local all = text(name)
  local at = find('\n' .. all, '\n' .. id .. ' ', 1, true)
  if not at then return nil, name end
  local to = (find(all, '\n', at, true) or #all + 1) - 1
  return sub(all, at, to), name, at, to
end

local function readable(line)
  local status, rest = match(line, '^%w+ (%l+) %d+ %d+(.*)$')
  return (status == 'held' or status == 'confirmed' or status == 'cancelled' or status == 'expired'
    or status == 'refunded')
    and (rest == '' or sub(rest, 1, 1) == ' ')
end

-- User, or user, tab, key, as in a claim; without the details after it.
local function owner(line)
  local text = match(line, '^%w+ %l+ %d+ %d+ (.*)$') or ''
  local claim = match(text, '^([^\t]*\t[^\t]*)\t') or text
  return match(claim, '^([^\t]*)\t$') or claim
end

local function add(key, field, difference)
  local n = tonumber(call('HGET', key, field) or '0') + tonumber(difference)
  if n < 0 then n = 0 end
  call('HSET', key, field, string.format('%d', n))
end

local repaired = 0

if what == 'counts' then
  -- ARGV[4] sold field, ARGV[5], ARGV[6] differences of sold and held; a count that is no number
  -- begins at ARGV[7], ARGV[8], which are empty if it is one.
  if ARGV[7] ~= '' then call('HSET', COUNTERS, ARGV[4], ARGV[7]) end
  if ARGV[8] ~= '' then call('HSET', SALE, 'held', ARGV[8]) end
  if ARGV[5] ~= '0' then add(COUNTERS, ARGV[4], ARGV[5]) end
  if ARGV[6] ~= '0' then add(SALE, 'held', ARGV[6]) end
  -- The checks of a count that was set by hand start again from these.
  call('HDEL', SALE, 'confirmed')
  repaired = 1
elseif what == 'types' then
  -- ARGV[4] is the new by_type, if it can't be read; otherwise, of each type, the differences of
  -- held and confirmed.
  local text = ARGV[4]
  if text == '' then
    local pieces, at = {}, 5
    for held, confirmed in string.gmatch(call('HGET', SALE, 'by_type') or '', '(%d+):(%d+)') do
      held, confirmed = held + (ARGV[at] or 0), confirmed + (ARGV[at + 1] or 0)
      pieces[#pieces + 1] = string.format('%d:%d', math.max(held, 0), math.max(confirmed, 0))
      at = at + 2
    end
    text = table.concat(pieces, ',')
  end
  call('HSET', SALE, 'by_type', text)
  repaired = 1
elseif what == 'users' then
  for i = 4, #ARGV, 2 do
    add(USERS, ARGV[i], ARGV[i + 1])
    if call('HGET', USERS, ARGV[i]) == '0' then call('HDEL', USERS, ARGV[i]) end
    repaired = repaired + 1
  end
elseif what == 'users_set' then
  for i = 4, #ARGV, 2 do
    call('HSET', USERS, ARGV[i], ARGV[i + 1])
    repaired = repaired + 1
  end
elseif what == 'claims' then
  for i = 4, #ARGV, 2 do
    local now = line(ARGV[i + 1])
    if now and owner(now) == ARGV[i] then
      repaired = repaired + call('HSETNX', CLAIMS, ARGV[i], ARGV[i + 1])
    end
  end
elseif what == 'orphans' then
  for i = 4, #ARGV, 2 do
    local now = line(ARGV[i + 1])
    if call('HGET', CLAIMS, ARGV[i]) == ARGV[i + 1] and not (now and owner(now) == ARGV[i]) then
      repaired = repaired + call('HDEL', CLAIMS, ARGV[i])
    end
  end
elseif what == 'deadlines' then
  for i = 4, #ARGV do
    call('ZADD', DEADLINES, match(ARGV[i], ':(%d+)$'), ARGV[i])
    repaired = repaired + 1
  end
elseif what == 'no_deadlines' then
  for i = 4, #ARGV do
    if not match(ARGV[i], '^%w+:%d+$') then repaired = repaired + call('ZREM', DEADLINES, ARGV[i]) end
  end
elseif what == 'lines' then
  -- A line that the stream has and the reservations lack, or have unreadable.
  for i = 4, #ARGV do
    local id = match(ARGV[i], '^(%w+) ')
    local now, name, from, to = line(id)
    if not now then
      local all = text(name)
      if all ~= '' and sub(all, -1) ~= '\n' then all = all .. '\n' end
      texts[name] = all .. ARGV[i] .. '\n'
    elseif not readable(now) then
      texts[name] = sub(texts[name], 1, from - 1) .. ARGV[i] .. '\n' .. sub(texts[name], to + 2)
    end
    if not now or not readable(now) then
      call('HSET', RESERVATIONS, name, texts[name])
      repaired = repaired + 1
    end
  end
elseif what == 'edited' then
  -- A line that another program has changed, as it was read, and the line in the stream.
  for i = 4, #ARGV, 2 do
    local now, name, from, to = line(match(ARGV[i], '^(%w+) '))
    if now == ARGV[i] then
      texts[name] = sub(texts[name], 1, from - 1) .. ARGV[i + 1] .. '\n' .. sub(texts[name], to + 2)
      call('HSET', RESERVATIONS, name, texts[name])
      repaired = repaired + 1
    end
  end
elseif what == 'stream' then
  -- The current lines of these reservations, added to the stream again.
  local lines = {}
  for i = 4, #ARGV do lines[#lines + 1] = line(ARGV[i]) end
  if #lines > 0 then
    -- From now on the stream no longer has every change of the sale.
    call('HSET', SALE, 'stream_retold', '1')
    local time = call('TIME')
    call('XADD', STREAM, '*', 'at_ms',
      string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)),
      'reservations', table.concat(lines, '\n') .. '\n')
    repaired = #lines
  end
elseif what == 'deleted' then
  -- The contents of ARGV[4] missing entries were added to the stream again.
  call('HINCRBY', SALE, 'stream_trimmed', ARGV[4])
  repaired = 1
end

call('HINCRBY', SALE, 'repairs', 1)
return repaired
